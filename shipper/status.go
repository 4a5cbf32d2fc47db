package shipper

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// StreamStatus tells how one job that is followed fares.
type StreamStatus struct {
	SubmissionID string
	Status       string // of the job, as last listed
	Transport    string // by which its log is read; none before the first
	State        string // reading, or waiting to try again
	LastRead     time.Time
	// Error is why the last read failed, maxShownError bytes of it at most; empty
	// once one went well, and where a log merely had to be asked for anew.
	Error string
	// Lines and Bytes are what the sink has taken since the log's start; bytes
	// count without line ends.
	Lines, Bytes uint64
}

// maxShownError bounds what is shown of an error: thousands of streams can have one.
const maxShownError = 300

// shownError is the start of an error's text, of whole characters.
func shownError(err error) string {
	text := strings.ToValidUTF8(err.Error(), "\uFFFD")
	if len(text) <= maxShownError {
		return text
	}
	const more = "…"
	return strings.ToValidUTF8(text[:maxShownError-len(more)], "") + more
}

// shown is what others may see of a stream's place: its way and whether it reads.
type shown struct {
	way     way
	reading bool
}

// Streams tells how each job that is followed fares, sorted by id. It is safe
// for concurrent use.
func (s *Shipper) Streams() []StreamStatus {
	s.mu.Lock()
	streams := make([]*stream, 0, len(s.streams))
	for _, st := range s.streams {
		streams = append(streams, st)
	}
	s.mu.Unlock()
	out := make([]StreamStatus, 0, len(streams))
	for _, st := range streams {
		job := st.current()
		at := StreamStatus{
			SubmissionID: job.SubmissionID, Status: string(job.Status), Transport: wayNone.String(), State: streamState(false),
			LastRead: st.lastRead.get(),
		}
		if p := st.failed.Load(); p != nil {
			at.Error = *p
		}
		if p := st.shown.Load(); p != nil {
			at.Transport, at.State = p.way.String(), streamState(p.reading)
		}
		at.Lines, at.Bytes = s.out.positions.shipped(logKey{s.opts.Cluster, st.session, job.SubmissionID})
		out = append(out, at)
	}
	slices.SortFunc(out, func(a, b StreamStatus) int { return cmp.Compare(a.SubmissionID, b.SubmissionID) })
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
	return e.pos.lines, e.pos.content
}

// File gives the file of the positions; "": they are in memory.
func (p *Positions) File() string { return p.file }

// LastSaved gives the time of the last save; zero before the first.
func (p *Positions) LastSaved() time.Time { return p.lastSaved() }
