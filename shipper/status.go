package shipper

import (
	"cmp"
	"slices"
)

// Tails returns the status of each log that is tailed, sorted by id. It is safe
// for concurrent use.
func (s *Shipper) Tails() []TailStatus {
	s.mu.Lock()
	tails := make([]*tail, 0, len(s.running))
	for _, t := range s.running {
		tails = append(tails, t)
	}
	s.mu.Unlock()
	out := make([]TailStatus, 0, len(tails))
	for _, t := range tails {
		at := t.Status()
		at.Lines, at.Bytes = s.out.positions.shipped(logKey{s.opts.Cluster, t.Session(), at.SubmissionID})
		out = append(out, at)
	}
	slices.SortFunc(out, func(a, b TailStatus) int { return cmp.Compare(a.SubmissionID, b.SubmissionID) })
	return out
}
