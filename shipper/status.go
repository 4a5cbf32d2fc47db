package shipper

import (
	"cmp"
	"slices"

	"raytap/shipper/checkpoint"
	"raytap/shipper/tail"
)

// Tails returns the status of each running tail, sorted by submission id. It is safe
// for concurrent use.
func (s *Shipper) Tails() []tail.Status {
	s.mu.Lock()
	tails := make([]*tail.Tail, 0, len(s.running))
	for _, t := range s.running {
		tails = append(tails, t)
	}
	s.mu.Unlock()
	out := make([]tail.Status, 0, len(tails))
	for _, t := range tails {
		at := t.Status()
		at.Lines, at.Bytes = s.out.Positions.Shipped(checkpoint.Key{Cluster: s.opts.ID, Session: t.Session(), SubmissionID: at.SubmissionID})
		out = append(out, at)
	}
	slices.SortFunc(out, func(a, b tail.Status) int { return cmp.Compare(a.SubmissionID, b.SubmissionID) })
	return out
}
