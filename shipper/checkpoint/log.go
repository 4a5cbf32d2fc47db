package checkpoint

import (
	"time"

	"raytap/lines"
	"raytap/ray"
)

// snapshot is what has to be remembered of a log. It is a value: a batch carries
// the one that holds once the sink has accepted its records.
type State struct {
	Epoch    uint64
	Node     string  // the driver's node
	Run      ray.Job // the last run, as far as it was known
	Begun    bool    // its start event is written
	Done     bool    // it was read to its end, or given up
	AtEnd    bool    // done, and it was read to its end
	Checks   int     // how many of the checks after that end were made
	Tally    RunTally
	Pos      lines.Position
	Framings Framings // of the messages
	// lastVerified is the last position whose content was verified in full. It is
	// kept apart from pos only while unverified is true: pos was then reached by
	// windows, which are good guesses and no proof.
	LastVerified *lines.Position // never changed
	Unverified   bool
	Ambiguous    bool           // a guess was wrong: no more windows on this log
	LastTime     int64          // the time of the last record, Unix nanoseconds
	Skipped      uint64         // lines before pos that no record has told of
	Pending      []PendingEvent // events that are decided and not written
}

// pendingEvent is an event that must be neither lost nor doubled: it is saved before it
// is written.
type PendingEvent struct {
	Event      string
	Epoch, Seq uint64
	Record     []byte
}

// runTally is what an end record says of a run beyond the epoch in which it ends.
type RunTally struct {
	// lines and content are what the run had in epochs before the current one, less
	// what other runs had in the current one before it began: negative where this
	// one continues the log of another.
	Lines, Content int64
	Gap            bool // a gap event was written in the run
}

// beginRun starts to count a run that begins in front of a line.
func (l *Log) BeginRun(line uint64) {
	l.Tally = RunTally{Lines: -int64(line), Content: -int64(l.Pos.Content)}
}

// leaveEpoch counts what a run has had, before it continues at another position in
// the next epoch. line is the number of the next line in the epoch that it leaves.
func (l *Log) LeaveEpoch(line uint64, at lines.Position) {
	l.Tally.Lines += int64(line) - int64(at.Lines)
	l.Tally.Content += int64(l.Pos.Content) - int64(at.Content)
}

// logState is a log's state: a file with its position. It outlives the streams
// of its runs and belongs to one goroutine at a time.
type Log struct {
	State
	Entry    *Entry            // where the accepted state goes
	Reached  uint64            // the largest content offset seen, half lines included
	Admitted uint64            // the content offset up to which lines were held against the limits
	Size     int64             // the largest raw size seen, 0 where none was
	Written  map[uint64]uint64 // epoch -> the seq behind the lines that the sink has already
	Found    []FoundEvent      // events that the sink has already
}

// restart goes on at a position of another file, or of another content.
func (l *Log) Restart(at lines.Position) {
	l.Epoch++
	l.Pos, l.Reached, l.Admitted, l.Unverified, l.Size = at, at.Content, at.Content, false, 0
}

// framings are those of the messages that come over WebSocket and over SSE.
type Framings struct{ WebSocket, SSE lines.Framing }

// sameRun reports whether two start times of one id may be those of one run. A time that an
// answer lacks is no other one.
func SameRun(a, b time.Time) bool { return a.IsZero() || b.IsZero() || a.Equal(b) }
