package checkpoint

import (
	"time"

	"raytap/lines"
	"raytap/ray"
	"raytap/shipper/rotation"
)

// State is what the positions hold of a log. It is a value: a batch carries the state that
// is true once the sink has accepted its records.
type State struct {
	Epoch    uint64
	Node     string  // the driver's node
	Run      ray.Job // the last run, as far as known
	Begun    bool    // its start event is written
	Done     bool    // it was read to its end, or abandoned
	AtEnd    bool    // done, and it was read to its end
	Checks   int     // number of checks made after that end
	Tally    RunTally
	Pos      lines.Position // in the generation Gen of a rotated log, except for its Lines
	Gen      Generation
	Framings Framings // of the messages of a Synapse agent
	Verification
	LastTime int64          // time of the last record, Unix nanoseconds
	Skipped  uint64         // lines before Pos that no record has counted yet
	Pending  []PendingEvent // events that are decided and not written
}

// Generation is which file of a rotated log a position is in. The zero value: that is not
// known.
type Generation struct {
	// Position is in the same file, and not after the log's position. Its head may be longer
	// than its Raw.
	rotation.Position
	Before uint64 // content bytes of the epoch in the files before it
	Oldest bool   // nothing was read of the log: it begins with its oldest file
}

// Verification is how far a log's position is proven to be right.
type Verification struct {
	// LastVerified is the last position whose content was verified in full. It is valid only
	// while Unverified is true: then a search in a window of the log's last lines found the
	// position, which is very likely right but not proven. It is never changed in place.
	LastVerified *lines.Position
	Unverified   bool
	Ambiguous    bool // such a position was wrong: no more windows on this log
}

// PendingEvent is an event that must be neither lost nor duplicated: it is saved before it
// is written.
type PendingEvent struct {
	Event      string
	Epoch, Seq uint64
	Record     []byte // as it is written, with its line end
}

// RunTally is what an end record counts of a run outside the epoch in which the run ends.
type RunTally struct {
	// Lines and Content (bytes) are what the run had in epochs before the current one,
	// less what other runs had in the current one before the run began: they are negative
	// if the run continues the log of another one.
	Lines, Content int64
	Gap            bool // a gap event was written in the run
}

// BeginRun starts the tally of a run whose first line has the number line in the epoch.
func (l *Log) BeginRun(acceptLines uint64) {
	l.Tally = RunTally{Lines: -int64(acceptLines), Content: -int64(l.Content())}
}

// Content returns how many content bytes of the epoch are before the position.
func (s *State) Content() uint64 { return s.Gen.Before + s.Pos.Content }

// LeaveEpoch adds to the tally what the run had in the epoch that it leaves, before it
// continues in the next epoch at another position. line is the number of the next line in
// the old epoch.
func (l *Log) LeaveEpoch(acceptLines uint64, at lines.Position) {
	l.Tally.Lines += int64(acceptLines) - int64(at.Lines)
	l.Tally.Content += int64(l.Content()) - int64(at.Content)
}

// Log is the state of a log while it is tailed. It outlives the tails of its runs and
// belongs to one goroutine at a time.
type Log struct {
	State
	Entry    *Entry            // receives the accepted state
	Reached  uint64            // largest content offset seen, partial lines included
	Admitted uint64            // content offset up to which lines have counted against the limits
	Size     int64             // largest raw size seen (bytes); 0 if none
	Written  map[uint64]uint64 // epoch -> the seq after the lines that the sink has already
	Found    []FoundEvent      // events that the sink has already
}

// Restart starts the next epoch at a position of another file, or of other content.
func (l *Log) Restart(at lines.Position, in Generation) {
	l.Epoch++
	l.Gen = in
	l.Pos, l.Reached, l.Admitted, l.Unverified, l.Size = at, at.Content, at.Content, false, 0
}

// Framings are the framings of a Synapse agent's messages, by transport.
type Framings struct{ WebSocket, SSE lines.Framing }

// SameRun reports whether two start times of one submission id can belong to one run: they
// are equal, or one of them is not known (zero).
func SameRun(a, b time.Time) bool { return a.IsZero() || b.IsZero() || a.Equal(b) }
