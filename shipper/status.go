package shipper

import (
	"cmp"
	"slices"
	"time"
)

// TailStatus is the status of one log that is tailed.
type TailStatus struct {
	SubmissionID string
	Status       string // of the job, as last listed
	Transport    string // over which it is read; none before the first read
	State        string // reading, or waiting to try again
	LastRead     time.Time
	// Error is why the last read failed, maxShownError bytes of it at most; empty
	// once one went well, and where a log merely had to be asked for anew.
	Error string
	// Lines and Bytes are what the sink has taken since the log's start; bytes
	// count without line ends.
	Lines, Bytes uint64
}

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
		job, state := t.job.current(), tailState{}
		if p := t.status.Load(); p != nil {
			state = *p
		}
		at := TailStatus{
			SubmissionID: job.SubmissionID, Status: string(job.Status), Transport: state.transport.String(), State: state.label(),
			LastRead: t.health.lastRead.get(), Error: t.health.currentError(),
		}
		at.Lines, at.Bytes = s.out.positions.shipped(logKey{s.opts.Cluster, t.job.session, job.SubmissionID})
		out = append(out, at)
	}
	slices.SortFunc(out, func(a, b TailStatus) int { return cmp.Compare(a.SubmissionID, b.SubmissionID) })
	return out
}

// shipped gives how many lines and content bytes of a log the sink has taken.
func (p *Positions) shipped(k logKey) (lines, bytes uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.logs[k]
	if e == nil {
		return 0, 0
	}
	return e.pos.Lines, e.pos.Content
}

// File gives the file of the positions; "": they are in memory.
func (p *Positions) File() string { return p.file }

// LastSaved gives the time of the last save; zero before the first.
func (p *Positions) LastSaved() time.Time { return p.lastSaved() }
