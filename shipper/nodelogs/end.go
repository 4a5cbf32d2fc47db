package nodelogs

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/ray"
	"raytap/shipper/nodelogs/names"
	"raytap/shipper/record"
)

// ending is one log whose files cannot be read any more.
type ending struct {
	file  *checkpoint.FileEntry
	state *checkpoint.FileState
	// complete: it was read to its end after its worker's death.
	complete bool
	// atEnd: the last look has reached its end, as far as known.
	atEnd bool
}

const nodeDead = "the node is dead: its logs cannot be read any more"

// endFields are the keys of an end event.
func endFields(lines, content uint64, complete bool) []record.Field {
	return []record.Field{{Key: "lines", Value: lines}, {Key: "content_bytes", Value: content}, {Key: "complete", Value: complete}}
}

// end writes the ends of all logs of a session that is over, and forgets it. run has
// returned.
func (s *session) end(ctx context.Context) {
	now := time.Now()
	var all []ending
	for _, d := range s.list() {
		all = append(all, d.endings()...)
	}
	s.c.dropSession(ctx, s, all, now)
}

// endSaved is end for a session of which only the positions are known.
func (c *Cluster) endSaved(ctx context.Context, id string) {
	s := newSession(c, id, func() {})
	var all []ending
	for _, file := range s.files.Entries() {
		all = append(all, ending{file: file, state: file.State(), atEnd: true})
	}
	c.dropSession(ctx, s, all, time.Now())
}

// EndSaved writes the ends of all logs of which there are positions, with the reason why they
// cannot be read any more. It is called instead of Run, without a client.
func (c *Cluster) EndSaved(ctx context.Context, why error) {
	c.mu.Lock()
	c.over = why
	c.mu.Unlock()
	for _, session := range c.out.Positions.FileSessions(c.opts.ID) {
		c.endSaved(ctx, session)
	}
}

func (c *Cluster) dropSession(ctx context.Context, s *session, all []ending, now time.Time) {
	why := tail.ErrSessionOver
	if over := c.reason(); over != nil {
		why = over
	}
	err := s.writeEnds(ctx, all, why.Error(), now)
	if err == nil {
		err = c.out.Checkpoint(ctx, nil, checkpoint.State{})
	}
	if err != nil {
		return // the next start does it
	}
	c.out.Positions.DropFiles(c.opts.ID, s.id)
}

// endings returns the directory's logs that have something shipped. Its goroutine has ended.
func (d *directory) endings() []ending {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]ending, 0, len(d.entries))
	for _, e := range d.entries {
		if e.state != nil {
			out = append(out, ending{e.file, e.state, e.dead > 0 && e.atEnd, e.atEnd})
		}
	}
	return out
}

// endDirectory ends a directory whose nodes are all dead.
func (s *session) endDirectory(ctx context.Context, d *directory) {
	d.stop()
	<-d.stopped
	if s.writeEnds(ctx, d.endings(), nodeDead, time.Now()) != nil || s.c.out.Checkpoint(ctx, nil, checkpoint.State{}) != nil {
		return
	}
	d.mu.Lock()
	for _, e := range d.entries {
		d.remove(e)
	}
	d.mu.Unlock()
	s.files.DropDirectory(d.stored.ID())
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.directories, d.stored.ID())
	for node, of := range s.of {
		if of == d {
			delete(s.of, node)
		}
	}
}

// gone ends a log whose files were deleted. The caller holds d.mu.
func (d *directory) gone(ctx context.Context, e *entry) {
	if e.state != nil {
		all := []ending{{e.file, e.state, e.dead > 0 && e.atEnd, false}}
		if d.s.writeEnds(ctx, all, "the files of the log were deleted", time.Now()) != nil {
			return
		}
	}
	d.remove(e)
}

// writeEnds writes the end events of logs. Those that were quiet, and of which nothing is
// known to be unread, share one record for each directory.
func (s *session) writeEnds(ctx context.Context, all []ending, reason string, now time.Time) error {
	slices.SortFunc(all, func(a, b ending) int { return cmp.Compare(a.state.Name, b.state.Name) })
	quiet := map[quietLogs]uint64{}
	for _, e := range all {
		st := *e.state
		st.Finished = true
		f, known := names.Parse(st.Name)
		owes := !st.Ended && st.Lines > 0 && st.Decided && st.LastTime > 0
		if owes && !e.complete && e.atEnd && now.UnixNano()-st.LastTime > int64(quietAfter) {
			quiet[quietLogs{st.Directory, f.Kind}]++
			owes = false
		}
		b := &writer.Batch{}
		if owes && known && !e.file.Found().Has(record.EventEnd, st.Epoch, st.Lines) {
			message := reason
			if e.complete {
				message = completeReason(f.Kind)
			}
			var err error
			if b, err = s.c.out.Batch(ctx, false); err != nil {
				return err
			}
			b.Buf = s.encoder(f, st).AppendEvent(b.Buf, now.UnixNano(), record.Event{
				Type: record.EventEnd, Seq: st.Lines, Message: message, Skipped: st.Skipped, Fields: endFields(st.Lines, st.Content, e.complete),
			})
			b.Records++
			s.c.metrics.Events(record.EventEnd).Inc()
		}
		st.Ended = true
		b.File, b.NextFile = e.file, &st
		if err := s.c.out.Put(ctx, b); err != nil {
			return err
		}
	}
	return s.writeQuiet(ctx, quiet, reason, now)
}

// completeReason says why a log that was read to its end has ended.
func completeReason(k names.Kind) string {
	if k == names.KindWorker {
		return "the worker is dead and its log was read to its end"
	}
	return "the job is over and its log was read to its end"
}

// quietLogs are logs that share an end: those of a kind in a directory.
type quietLogs struct {
	node string
	kind names.Kind
}

// writeQuiet writes one record for the quiet logs of each directory and kind.
func (s *session) writeQuiet(ctx context.Context, quiet map[quietLogs]uint64, reason string, now time.Time) error {
	of := slices.SortedFunc(maps.Keys(quiet), func(a, b quietLogs) int {
		return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.kind, b.kind))
	})
	for _, logs := range of {
		source := logs.kind.String()
		b, err := s.c.out.Batch(ctx, false)
		if err != nil {
			return err
		}
		enc := record.NewEncoder(record.Options{
			Cluster: s.c.opts.Cluster, Session: s.id, Labels: s.c.opts.Record.Labels, ClusterLabels: s.c.opts.Record.ClusterLabels,
			Origin: record.Origin{Log: names.NodeLog(logs.node, source), Source: source, NodeID: logs.node},
		})
		b.Buf = enc.AppendEvent(b.Buf, now.UnixNano(), record.Event{
			Type: record.EventEnd, Message: "quiet logs of the source " + source + ": " + reason,
			Fields: []record.Field{{Key: "logs", Value: quiet[logs]}, {Key: "complete", Value: false}},
		})
		b.Records++
		s.c.metrics.Events(record.EventEnd).Inc()
		if err := s.c.out.Put(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// encoder returns the encoder of a log in a state.
func (s *session) encoder(f names.File, st checkpoint.FileState) *record.Encoder {
	o := s.c.opts.Record
	metadata := map[string]string{}
	if job, ok := s.c.jobs.find(st.JobID); ok {
		for _, key := range o.Metadata {
			if v, ok := job.Metadata[key]; ok {
				metadata[key] = v
			}
		}
	}
	if f.Kind == names.KindWorker {
		f.Application, f.Deployment, _ = names.ServeReplica(st.ActorName)
		f.Replica = st.Replica
	}
	node := st.NodeID
	if f.Kind == names.KindEvent {
		node = "" // an event names the node that it is about
	}
	enc := record.NewEncoder(record.Options{
		Cluster: s.c.opts.Cluster, Session: s.id, SubmissionID: st.SubmissionID, JobID: st.JobID, JobName: st.JobName,
		Origin: record.Origin{
			Log: f.Log(st.Directory), Source: f.Kind.String(), Stream: f.Stream, WorkerID: f.ID, PID: f.PID, NodeID: node,
			ActorName: st.ActorName, TaskName: st.TaskName, Application: f.Application, Deployment: f.Deployment, Replica: f.Replica,
		},
		Labels: o.Labels, ClusterLabels: o.ClusterLabels, Metadata: metadata, LineTime: o.LineTime, Location: o.Location, StripANSI: o.StripANSI, Structured: o.Structured,
		Events: f.Kind == names.KindEvent,
	})
	enc.SetEpoch(st.Epoch)
	enc.SetLastTime(st.LastTime)
	return enc
}

// selected reports whether a log is shipped. Of a job that no list has named only what is
// given is known; what is not known does not exclude it.
func (s *session) selected(job ray.Job, name string) bool {
	if known, ok := s.c.jobs.find(job.JobID); ok {
		return s.c.opts.Selects(known)
	}
	if job.SubmissionID == "" {
		return true
	}
	if name != "" && job.Metadata == nil {
		job.Metadata = map[string]string{"job_name": name}
	}
	return s.c.opts.Selects(job)
}
