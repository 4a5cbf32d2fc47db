package shipper

import (
	"raytap/lines"
	"raytap/ray"
)

// snapshot is what has to be remembered of a log. It is a value: a batch carries
// the one that holds once the sink has accepted its records.
type snapshot struct {
	epoch    uint64
	node     string  // the driver's node
	run      ray.Job // the last run, as far as it was known
	begun    bool    // its start event is written
	done     bool    // it was read to its end, or given up
	atEnd    bool    // done, and it was read to its end
	checks   int     // how many of the checks after that end were made
	tally    runTally
	pos      lines.Position
	framings [transportCount]lines.Framing // of the messages, by transport
	// lastVerified is the last position whose content was verified in full. It is
	// kept apart from pos only while unverified is true: pos was then reached by
	// windows, which are good guesses and no proof.
	lastVerified *lines.Position // never changed
	unverified   bool
	ambiguous    bool           // a guess was wrong: no more windows on this log
	lastTime     int64          // the time of the last record, Unix nanoseconds
	skipped      uint64         // lines before pos that no record has told of
	pending      []pendingEvent // events that are decided and not written
}

// pendingEvent is an event that must be neither lost nor doubled: it is saved before it
// is written.
type pendingEvent struct {
	event      string
	epoch, seq uint64
	record     []byte
}

// runTally is what an end record says of a run beyond the epoch in which it ends.
type runTally struct {
	// lines and content are what the run had in epochs before the current one, less
	// what other runs had in the current one before it began: negative where this
	// one continues the log of another.
	lines, content int64
	gap            bool // a gap event was written in the run
}

// beginRun starts to count a run that begins in front of a line.
func (l *logState) beginRun(line uint64) {
	l.tally = runTally{lines: -int64(line), content: -int64(l.pos.Content)}
}

// leaveEpoch counts what a run has had, before it continues at another position in
// the next epoch. line is the number of the next line in the epoch that it leaves.
func (l *logState) leaveEpoch(line uint64, at lines.Position) {
	l.tally.lines += int64(line) - int64(at.Lines)
	l.tally.content += int64(l.pos.Content) - int64(at.Content)
}

// logState is a log's state: a file with its position. It outlives the streams
// of its runs and belongs to one goroutine at a time.
type logState struct {
	snapshot
	entry    *logEntry         // where the accepted state goes
	reached  uint64            // the largest content offset seen, half lines included
	admitted uint64            // the content offset up to which lines were held against the limits
	size     int64             // the largest raw size seen, 0 where none was
	written  map[uint64]uint64 // epoch -> the seq behind the lines that the sink has already
	found    []foundEvent      // events that the sink has already
}

// restart goes on at a position of another file, or of another content.
func (l *logState) restart(at lines.Position) {
	l.epoch++
	l.pos, l.reached, l.admitted, l.unverified, l.size = at, at.Content, at.Content, false, 0
}
