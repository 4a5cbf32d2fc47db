package checkpoint

import (
	"fmt"
	"slices"
	"time"

	"raytap/lines"
	"raytap/ray"
	"raytap/shipper/record"
)

// recoveredLog describes the records of a log that the sink file has after the saved
// position: they must not be written again.
type recoveredLog struct {
	next     map[uint64]uint64 // epoch -> the seq after the last line written
	events   []FoundEvent
	lastTime int64 // of the last record, Unix nanoseconds; 0 once the log's state has it
}

// FoundEvent is an event record that recovery found in the sink file.
type FoundEvent struct {
	Event      string
	epoch, seq uint64
	Start      string // the start_time of a start event
	node       string // of the run's driver
}

// Recovered adds a record that was found in the sink file after the saved watermark. It
// can be the callback of sink.Recover. It is an error if raytap did not write the record.
func (s *Store) Recovered(b []byte) error {
	r, err := record.Decode(b)
	if err != nil {
		return fmt.Errorf("a record that raytap did not write (%w): move the file away, or restore it from a copy", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Log != "" {
		s.recoveredFile(r)
		return nil
	}
	k := Key{Cluster: s.idOf(r.Cluster, r.Session), Session: r.Session, SubmissionID: r.SubmissionID}
	e := s.logs[k]
	if e == nil { // the process died before it saved anything of this log
		e = &Entry{key: k, State: State{Pos: lines.Start()}}
		e.Run = ray.Job{Type: ray.JobSubmission, SubmissionID: r.SubmissionID, DriverNodeID: r.NodeID}
		e.Run.Start, _ = time.Parse(time.RFC3339Nano, r.StartTime) // zero if the record has none
		s.logs[k] = e
	}
	if e.recovered == nil {
		e.recovered = newRecoveredLog()
	}
	s.markDirty(e)
	e.recovered.add(r)
	return nil
}

func newRecoveredLog() *recoveredLog { return &recoveredLog{next: map[uint64]uint64{}} }

// add adds a record.
func (l *recoveredLog) add(r record.Decoded) {
	l.lastTime = r.Time.UnixNano() // of the last record, not the latest: after a clock event it can be earlier
	if r.Event != "" {
		l.events = append(l.events, FoundEvent{r.Event, r.Epoch, r.Seq, r.StartTime, r.NodeID})
		if r.Seq > l.next[r.Epoch] {
			l.next[r.Epoch] = r.Seq // lines before it without a record were skipped, and it counts them
		}
		return
	}
	l.next[r.Epoch] = max(l.next[r.Epoch], r.Seq+max(r.Lines, 1))
}

// supersededBy reports whether a state includes all records of r.
func (r *recoveredLog) supersededBy(s State) bool {
	for epoch, next := range r.next {
		if epoch > s.Epoch || epoch == s.Epoch && s.Pos.Lines < next {
			return false
		}
	}
	for _, e := range r.events {
		start, err := time.Parse(time.RFC3339Nano, e.Start)
		if e.Event == record.EventStart && err == nil && (!s.Begun || s.Run.Start.Before(start)) {
			return false
		}
	}
	return len(s.Pending) == 0
}

// apply updates a log's state with what the sink has already.
func (r *recoveredLog) apply(l *Log) {
	if r.lastTime != 0 {
		l.LastTime, r.lastTime = r.lastTime, 0
	}
	if r.covers(l.Epoch, l.Pos.Lines) {
		l.Skipped = 0
	}
	l.Written = r.next
	l.Found = r.events
	before := l.Pending
	missing := l.Pending[:0:0]
	for _, p := range before {
		if r.contains(p.Event, p.Epoch, p.Seq) {
			if p.Event == record.EventEnd || p.Event == record.EventLimit {
				l.Done = true
			}
			continue
		}
		missing = append(missing, p)
	}
	l.Pending = missing
	for _, e := range r.events { // in the order in which they were written
		start, err := time.Parse(time.RFC3339Nano, e.Start)
		switch {
		case e.Event == record.EventStart && err == nil && (!l.Begun || l.Run.Start.Before(start)):
			l.begin(start, e)
		case e.Event == record.EventReopened: // the end before it was not the last one
			l.Done, l.AtEnd = false, false
		case (e.Event == record.EventEnd || e.Event == record.EventLimit) && slices.ContainsFunc(before, e.isPending):
			l.Done = true
		}
	}
}

// Is reports whether e, which the sink has, is the pending event.
func (p PendingEvent) Is(e FoundEvent) bool {
	return p.Event == e.Event && p.Epoch == e.epoch && p.Seq == e.seq
}

// isPending reports whether e is the pending event p.
func (e FoundEvent) isPending(p PendingEvent) bool { return p.Is(e) }

// begin starts a run of which only the start event is known. Its end event is still to be
// written.
func (l *Log) begin(start time.Time, e FoundEvent) {
	node := e.node
	if l.Node != "" && node != l.Node {
		l.Restart(lines.Start(), Generation{Oldest: true}) // another node, another file
	}
	if !l.Run.Start.Equal(start) || l.Run.DriverNodeID != node {
		l.Run = ray.Job{Type: ray.JobSubmission, SubmissionID: l.Run.SubmissionID, Start: start, DriverNodeID: node}
	}
	l.Node, l.Begun, l.Done, l.AtEnd = node, true, false, false
	l.BeginRun(e.seq)
}

// covers reports whether the sink has a record after line n of an epoch. The first such
// record counts the lines that were skipped before it.
func (r *recoveredLog) covers(epoch, n uint64) bool {
	for _, e := range r.events {
		if e.epoch == epoch && e.seq >= n {
			return true
		}
	}
	return r.next[epoch] > n
}

// contains reports whether the sink has an event.
func (r *recoveredLog) contains(event string, epoch, seq uint64) bool {
	for _, e := range r.events {
		if e.Event == event && e.epoch == epoch && e.seq == seq {
			return true
		}
	}
	return false
}

// FoundAfter is what the sink has of a log after its position. It must not be written
// again. The zero value is nothing.
type FoundAfter struct {
	log *recoveredLog
}

// Found returns what the sink has of the log after its position.
func (e *FileEntry) Found() FoundAfter {
	e.files.store.mu.Lock()
	defer e.files.store.mu.Unlock()
	if e.recovered == nil {
		return FoundAfter{}
	}
	c := *e.recovered // its maps and slices do not change any more
	return FoundAfter{&c}
}

// Lines returns the seq after the last line that the sink has of an epoch.
func (f FoundAfter) Lines(epoch uint64) uint64 {
	if f.log == nil {
		return 0
	}
	return f.log.next[epoch]
}

// LastTime returns the time of the last record (Unix nanoseconds), 0 if there is none.
func (f FoundAfter) LastTime() int64 {
	if f.log == nil {
		return 0
	}
	return f.log.lastTime
}

// Has reports whether the sink has an event.
func (f FoundAfter) Has(event string, epoch, seq uint64) bool {
	return f.log != nil && f.log.contains(event, epoch, seq)
}

// Covers reports whether the sink has a record after line n of an epoch: it has counted the
// lines that were skipped before.
func (f FoundAfter) Covers(epoch, n uint64) bool { return f.log != nil && f.log.covers(epoch, n) }

// supersededByFile reports whether a state includes all records of r. An end event belongs
// to a state that has it, or has lines behind it.
func (r *recoveredLog) supersededByFile(s *FileState) bool {
	for epoch, next := range r.next {
		if epoch > s.Epoch || epoch == s.Epoch && s.Lines < next {
			return false
		}
	}
	return s.Ended || !r.contains(record.EventEnd, s.Epoch, s.Lines)
}
