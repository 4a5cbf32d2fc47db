package checkpoint

import (
	"fmt"
	"slices"
	"time"

	"raytap/lines"
	"raytap/ray"
	"raytap/shipper/record"
)

// recoveredLog is what a sink file holds of a log behind the saved positions:
// records that must not be written again.
type recoveredLog struct {
	next     map[uint64]uint64 // epoch -> the seq behind the last line written
	events   []FoundEvent
	lastTime int64
}

type FoundEvent struct {
	Event      string
	epoch, seq uint64
	Start      string // the start_time of a start event
	node       string // where its run's driver is
}

// Recovered takes a record that was found in the sink file behind the saved
// watermark. It has the form of sink.Recover's callback.
func (p *Store) Recovered(b []byte) error {
	r, err := record.Decode(b)
	if err != nil {
		return fmt.Errorf("a record that raytap did not write (%w): move the file away, or restore it", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	k := Key{r.Cluster, r.Session, r.SubmissionID}
	e := p.logs[k]
	if e == nil { // the process died before it saved anything of this log
		e = &Entry{key: k, State: State{Pos: lines.Start()}}
		e.Run = ray.Job{Type: ray.JobSubmission, SubmissionID: r.SubmissionID, DriverNodeID: r.NodeID}
		e.Run.Start, _ = time.Parse(time.RFC3339Nano, r.StartTime) // zero where it is not told
		p.logs[k] = e
	}
	if e.recovered == nil {
		e.recovered = &recoveredLog{next: map[uint64]uint64{}}
	}
	p.touch(e)
	l := e.recovered
	l.lastTime = r.Time.UnixNano() // in order: after a clock event an earlier one is the last
	if r.Event != "" {
		l.events = append(l.events, FoundEvent{r.Event, r.Epoch, r.Seq, r.StartTime, r.NodeID})
		if r.Seq > l.next[r.Epoch] {
			l.next[r.Epoch] = r.Seq // lines before it that no record has were skipped, and it told of them
		}
		return nil
	}
	l.next[r.Epoch] = max(l.next[r.Epoch], r.Seq+max(r.Lines, 1))
	return nil
}

// passed reports whether a state that is about to be saved says all that r does.
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

// apply tells a log's state what the sink holds already.
func (r *recoveredLog) apply(l *Log) {
	if r.lastTime != 0 { // later than what was saved, until the state has it
		l.LastTime, r.lastTime = r.lastTime, 0
	}
	if r.covers(l.Epoch, l.Pos.Lines) {
		l.Skipped = 0
	}
	l.Written = r.next
	l.Found = r.events
	before := l.Pending
	kept := l.Pending[:0:0]
	for _, o := range before {
		if r.contains(o.Event, o.Epoch, o.Seq) {
			if o.Event == record.EventEnd || o.Event == record.EventLimit {
				l.Done = true
			}
			continue
		}
		kept = append(kept, o)
	}
	l.Pending = kept
	for _, e := range r.events { // in the order in which they were written
		start, err := time.Parse(time.RFC3339Nano, e.Start)
		switch {
		case e.Event == record.EventStart && err == nil && (!l.Begun || l.Run.Start.Before(start)):
			l.begin(start, e)
		case e.Event == record.EventReopened: // the end before it was not the last one
			l.Done, l.AtEnd = false, false
		case (e.Event == record.EventEnd || e.Event == record.EventLimit) && slices.ContainsFunc(before, e.was):
			l.Done = true
		}
	}
}

// is reports whether an event that the sink has is the one that is owed.
func (o PendingEvent) Is(e FoundEvent) bool {
	return o.Event == e.Event && o.Epoch == e.epoch && o.Seq == e.seq
}

// was reports whether an event that is owed is the one that the sink has.
func (e FoundEvent) was(o PendingEvent) bool { return o.Is(e) }

// begin takes over a run of which only its start event is known. An end is owed
// to it.
func (l *Log) begin(start time.Time, e FoundEvent) {
	node := e.node
	if l.Node != "" && node != l.Node {
		l.Restart(lines.Start()) // another node, another file
	}
	if !l.Run.Start.Equal(start) || l.Run.DriverNodeID != node {
		l.Run = ray.Job{Type: ray.JobSubmission, SubmissionID: l.Run.SubmissionID, Start: start, DriverNodeID: node}
	}
	l.Node, l.Begun, l.Done, l.AtEnd = node, true, false, false
	l.BeginRun(e.seq)
}

// tells reports whether the sink holds a record behind line n of an epoch: the
// first such one told of the lines skipped before.
func (r *recoveredLog) covers(epoch, n uint64) bool {
	for _, e := range r.events {
		if e.epoch == epoch && e.seq >= n {
			return true
		}
	}
	return r.next[epoch] > n
}

func (r *recoveredLog) contains(event string, epoch, seq uint64) bool {
	for _, e := range r.events {
		if e.Event == event && e.epoch == epoch && e.seq == seq {
			return true
		}
	}
	return false
}
