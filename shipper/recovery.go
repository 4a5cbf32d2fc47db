package shipper

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
	events   []foundEvent
	lastTime int64
}

type foundEvent struct {
	event      string
	epoch, seq uint64
	start      string // the start_time of a start event
	node       string // where its run's driver is
}

// Recovered takes a record that was found in the sink file behind the saved
// watermark. It has the form of sink.Recover's callback.
func (p *Positions) Recovered(b []byte) error {
	r, err := record.Decode(b)
	if err != nil {
		return fmt.Errorf("a record that raytap did not write (%w): move the file away, or restore it", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	k := logKey{r.Cluster, r.Session, r.SubmissionID}
	e := p.logs[k]
	if e == nil { // the process died before it saved anything of this log
		e = &logEntry{key: k, snapshot: snapshot{pos: lines.Start()}}
		e.run = ray.Job{Type: ray.JobSubmission, SubmissionID: r.SubmissionID, DriverNodeID: r.NodeID}
		e.run.Start, _ = time.Parse(time.RFC3339Nano, r.StartTime) // zero where it is not told
		p.logs[k] = e
	}
	if e.sinkHas == nil {
		e.sinkHas = &recoveredLog{next: map[uint64]uint64{}}
	}
	p.touch(e)
	l := e.sinkHas
	l.lastTime = r.Time.UnixNano() // in order: after a clock event an earlier one is the last
	if r.Event != "" {
		l.events = append(l.events, foundEvent{r.Event, r.Epoch, r.Seq, r.StartTime, r.NodeID})
		if r.Seq > l.next[r.Epoch] {
			l.next[r.Epoch] = r.Seq // lines before it that no record has were skipped, and it told of them
		}
		return nil
	}
	l.next[r.Epoch] = max(l.next[r.Epoch], r.Seq+max(r.Lines, 1))
	return nil
}

// passed reports whether a state that is about to be saved says all that r does.
func (r *recoveredLog) passed(s snapshot) bool {
	for epoch, next := range r.next {
		if epoch > s.epoch || epoch == s.epoch && s.pos.Lines < next {
			return false
		}
	}
	for _, e := range r.events {
		start, err := time.Parse(time.RFC3339Nano, e.start)
		if e.event == record.EventStart && err == nil && (!s.begun || s.run.Start.Before(start)) {
			return false
		}
	}
	return len(s.pending) == 0
}

// apply tells a log's state what the sink holds already.
func (r *recoveredLog) apply(l *logState) {
	if r.lastTime != 0 { // later than what was saved, until the state has it
		l.lastTime, r.lastTime = r.lastTime, 0
	}
	if r.tells(l.epoch, l.pos.Lines) {
		l.skipped = 0
	}
	l.written = r.next
	l.found = r.events
	before := l.pending
	kept := l.pending[:0:0]
	for _, o := range before {
		if r.has(o.event, o.epoch, o.seq) {
			if o.event == record.EventEnd || o.event == record.EventLimit {
				l.done = true
			}
			continue
		}
		kept = append(kept, o)
	}
	l.pending = kept
	for _, e := range r.events { // in the order in which they were written
		start, err := time.Parse(time.RFC3339Nano, e.start)
		switch {
		case e.event == record.EventStart && err == nil && (!l.begun || l.run.Start.Before(start)):
			l.begin(start, e)
		case e.event == record.EventReopened: // the end before it was not the last one
			l.done, l.atEnd = false, false
		case (e.event == record.EventEnd || e.event == record.EventLimit) && slices.ContainsFunc(before, e.was):
			l.done = true
		}
	}
}

// is reports whether an event that the sink has is the one that is owed.
func (o pendingEvent) is(e foundEvent) bool {
	return o.event == e.event && o.epoch == e.epoch && o.seq == e.seq
}

// was reports whether an event that is owed is the one that the sink has.
func (e foundEvent) was(o pendingEvent) bool { return o.is(e) }

// begin takes over a run of which only its start event is known. An end is owed
// to it.
func (l *logState) begin(start time.Time, e foundEvent) {
	node := e.node
	if l.node != "" && node != l.node {
		l.restart(lines.Start()) // another node, another file
	}
	if !l.run.Start.Equal(start) || l.run.DriverNodeID != node {
		l.run = ray.Job{Type: ray.JobSubmission, SubmissionID: l.run.SubmissionID, Start: start, DriverNodeID: node}
	}
	l.node, l.begun, l.done, l.atEnd = node, true, false, false
	l.beginRun(e.seq)
}

// tells reports whether the sink holds a record behind line n of an epoch: the
// first such one told of the lines skipped before.
func (r *recoveredLog) tells(epoch, n uint64) bool {
	for _, e := range r.events {
		if e.epoch == epoch && e.seq >= n {
			return true
		}
	}
	return r.next[epoch] > n
}

func (r *recoveredLog) has(event string, epoch, seq uint64) bool {
	for _, e := range r.events {
		if e.event == event && e.epoch == epoch && e.seq == seq {
			return true
		}
	}
	return false
}
