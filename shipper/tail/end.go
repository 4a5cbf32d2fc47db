package tail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"raytap/shipper/checkpoint"
	"raytap/shipper/clock"
	"raytap/shipper/rotation"

	"raytap/lines"
	"raytap/ray"
	"raytap/shipper/record"
)

// replaced starts a new epoch, if the session and the run are still the same.
func (t *Tail) replaced(ctx context.Context) error {
	session, err := t.cl.CurrentSession(ctx, t.job.session)
	switch {
	case err != nil:
		return nil // the next read requests it again
	case session != t.job.session:
		return ErrSessionOver
	}
	if j, err := t.cl.api.Job(ctx, t.job.current().SubmissionID); err == nil && !checkpoint.SameRun(j.Start, t.job.started) {
		return ErrRunReplaced
	}
	p := t.p
	if p.log.Unverified {
		p.log.Ambiguous = true
		gap := p.gapEvent("the log repeats itself and its position was wrong: lines after the last verified position may be missing")
		return p.newEpoch(ctx, *p.log.LastVerified, p.log.Gen, "the log repeats itself: it is read again from the last verified position", gap)
	}
	if t.older {
		return p.newEpoch(ctx, lines.Start(), *t.restart, "the log was rotated before it was first read: it is read again from its oldest file")
	}
	gap := p.gapEvent("the log was replaced or truncated: unread lines of the old log are lost")
	var in checkpoint.Generation
	if t.restart != nil {
		in = *t.restart
	}
	return p.newEpoch(ctx, lines.Start(), in, "the log was replaced or truncated: it is read from its start", gap)
}

// finish writes the last events of a tail. err is why it is over.
func (t *Tail) finish(ctx context.Context, err error) error {
	defer t.slots.Ended(t.job.key)
	p := t.p
	if p.reopening {
		return t.finishReopening(ctx, err)
	}
	known := runEnd{status: true}
	switch {
	case errors.Is(err, errComplete):
		p.log.AtEnd, p.log.Checks, t.headLog = true, 0, t.findHeadLog(ctx)
		return p.commitEvents(ctx, true, p.endEvent("the log was read to its end", runEnd{status: true, complete: true, headLog: t.headLog}))
	case errors.Is(err, errNotStarted):
		p.log.AtEnd, p.log.Checks = true, 0
		return p.commitEvents(ctx, true, p.endEvent("the job ended before it had a log", runEnd{status: true, complete: true}))
	case errors.Is(err, errUnverified):
		return p.commitEvents(ctx, true, p.endEvent(err.Error(), known))
	case errors.Is(err, ErrRunReplaced):
		return p.commitEvents(ctx, true, p.endEvent(otherStart, runEnd{}))
	case errors.Is(err, ErrClusterDeleted) && t.job.readAfterEnd:
		// Whether its child processes have printed since is not known.
		return p.commitEvents(ctx, true, p.endEvent("the cluster was deleted right after the end of the run", known))
	case errors.Is(err, ErrSessionOver), errors.Is(err, ErrClusterDeleted), errors.Is(err, ErrDeletedAway):
		return p.commitEvents(ctx, true, p.gapEvent(err.Error()), p.endEvent(err.Error(), known))
	case errors.Is(err, errLost):
		if err := p.commitEvents(ctx, false, p.gapEvent(err.Error())); err != nil {
			return err
		}
		t.waitStatus(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return p.commitEvents(ctx, true, p.endEvent(err.Error(), known))
	}
	return nil // a limit, whose event is written; or the writer is closed
}

// finishReopening is finish for a tail that was reopened but has read no new line.
func (t *Tail) finishReopening(ctx context.Context, err error) error {
	if errors.Is(err, errLost) || errors.Is(err, ErrSessionOver) || errors.Is(err, ErrClusterDeleted) && !t.job.readAfterEnd {
		return t.p.commitEvents(ctx, true, t.p.gapEvent("output after the end of the run is lost: "+err.Error()))
	}
	return nil
}

// statusTicks is how many ticks waitStatus waits for. It counts ticks instead of time, since
// a process that is stopped misses them.
const statusTicks = 20

// waitStatus waits for at most LostAfter until a lost job's status is terminal: after its
// node died Ray leaves a job RUNNING for a while, or indefinitely.
func (t *Tail) waitStatus(ctx context.Context) {
	tick := time.NewTicker(max(t.cl.opts.LostAfter/statusTicks, time.Millisecond))
	defer tick.Stop()
	for left := statusTicks; left > 0 && !t.job.terminalAt.IsSet(); {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			left--
		case <-t.job.wake:
		}
	}
}

// runEnd is what an end event has in addition to the counts.
type runEnd struct {
	status   bool // the job's status is that of this run
	complete bool // the log was read to its end
	headLog  string
}

// runLines returns how many lines the run has so far, in all its epochs.
func (p *pipeline) runLines() int64 { return max(0, p.log.Tally.Lines+int64(p.nextLine())) }

// textField returns a field that is absent if text is empty.
func textField(key, text string) record.Field {
	if text == "" {
		return record.Field{Key: key}
	}
	return record.Field{Key: key, Value: text}
}

// endEvent returns the end event of a run. It drops what was not flushed.
func (p *pipeline) endEvent(message string, end runEnd) checkpoint.PendingEvent {
	p.drop()
	j := p.job.current()
	// Ray does not report how a run ended once another run has its id.
	status := end.status && (j.Status.Terminal() || !p.job.superseded.Load())
	fields := []record.Field{}
	if status && j.Status != "" {
		fields = append(fields, record.Field{Key: "status", Value: string(j.Status)})
	}
	run := &p.log.Tally
	fields = append(fields, record.Field{Key: "lines", Value: p.runLines()}, record.Field{Key: "content_bytes", Value: max(0, run.Content+int64(p.log.Content()))})
	if j.DriverExitCode != nil && status {
		fields = append(fields, record.Field{Key: "driver_exit_code", Value: int64(*j.DriverExitCode)})
	}
	if status && j.Status == ray.JobFailed {
		fields = append(fields, textField("status_message", firstBytes(j.Message)), textField("error_type", firstBytes(j.ErrorType)))
	}
	if end.complete {
		fields = append(fields, textField("head_log", end.headLog))
	}
	return p.newEvent(record.EventEnd, message, append(fields, record.Field{Key: "complete", Value: end.complete && !run.Gap})...)
}

// Ray stores the log of a job on the node of its driver. Its own messages about the job are
// on the head, in a file of the same name: a job that failed in its runtime_env, or whose
// supervisor never ran, has only that file, and no node (2.60.0).

const (
	// maxNodes is on how many nodes a log is searched for, if its job was deleted before
	// Ray reported its node.
	maxNodes = 64
	// maxHeadLog is how much of Ray's own messages an end record has (bytes).
	maxHeadLog = 8 << 10
	// maxPeek is how much of the end of a log is read to find them (bytes).
	maxPeek = 1 << 20
)

// findLog searches for the log of a run that is over and whose node Ray does not report. It
// returns nil once the run has a node, and errNotStarted if there is no log.
func (t *Tail) findLog(ctx context.Context) error {
	r := newRetry(&t.cl.opts)
	tried := clock.AwakeTime{Last: time.Now()}
	pause := t.cl.opts.PollInterval
	for {
		j := t.job.current()
		switch {
		case j.DriverNodeID != "" || !j.Status.Terminal() && !t.job.gone.Load():
			return nil // Ray reports its node, or that it runs
		case t.job.settled(time.Now()):
			err := t.searchNodes(ctx)
			if err == nil || errors.Is(err, errNotStarted) || errors.Is(err, errLost) || errors.Is(err, errUnverified) {
				return err
			}
			t.health.failure(None, err)
			tried.Step(time.Now(), pause+t.cl.opts.Timeout)
			if tried.Sum >= t.cl.opts.LostAfter && tried.Steps >= triesToLose {
				return fmt.Errorf("%w: no node has answered for %s whether it has the log: %v", errLost, tried.Sum.Round(time.Second), err)
			}
			pause = max(r.backoff.NextBackOff(), ray.RetryAfter(err))
		}
		if err := t.job.sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// searchNodes requests the log from the head. If Ray does not know the job any more, it
// also requests it from the other nodes: the job may have run on any.
func (t *Tail) searchNodes(ctx context.Context) error {
	nodes, err := t.cl.lists.Nodes(ctx)
	if err != nil {
		return err
	}
	var places []ray.LogRef
	head := false
	for _, n := range nodes {
		switch ref := nodeRef(n, t.job.current().SubmissionID); {
		case n.Head && n.State == ray.NodeAlive:
			places, head = append([]ray.LogRef{ref}, places...), true
		case t.job.gone.Load() && n.State == ray.NodeAlive && len(places) < maxNodes:
			places = append(places, ref)
		}
	}
	if !head {
		return &ray.Error{Op: "look for the log", Code: http.StatusServiceUnavailable, Detail: "the node list has no head"}
	}
	var failed error
	for _, ref := range places {
		_, err := t.peek(ctx, ref)
		switch {
		case err == nil:
			t.job.setFoundLog(ref)
			return nil
		case ray.Code(err) != http.StatusNotFound:
			failed = err
		}
	}
	switch {
	case ray.Code(failed) == http.StatusNotImplemented:
		return fmt.Errorf("%w: this Ray does not report whether the head has a log of the job: %v", errUnverified, failed)
	case failed != nil:
		return failed
	case t.job.gone.Load():
		return fmt.Errorf("%w: Ray deleted the job before it reported its node, and no node has its log", errLost)
	}
	return errNotStarted
}

// nodeRef returns the reference to a job's log on a node.
func nodeRef(n ray.Node, id string) ray.LogRef {
	ref := ray.LogRef{SubmissionID: id, NodeID: n.ID}
	if n.Stats != nil && n.Stats.DashboardAgent > 0 && n.IP != "" {
		ref.AgentURL = "http://" + net.JoinHostPort(n.IP, strconv.Itoa(n.Stats.DashboardAgent))
	}
	return ref
}

// peek reads the end of a log by its name, at most maxPeek bytes. Code 404: the node has no
// such log.
func (t *Tail) peek(ctx context.Context, ref ray.LogRef) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, t.cl.opts.Timeout)
	defer cancel()
	now := time.Now()
	if ref.AgentURL != "" && t.cl.opts.Protocol != ProtocolWebSocket && t.cl.agents.allow(ref.AgentURL, now) {
		text, err := t.peekAgent(ctx, ref)
		switch {
		case err == nil, ray.Code(err) == http.StatusNotFound:
			t.cl.agents.markUp(ref.AgentURL)
			return text, err
		case rejectsAllJobs(err), unreachable(ray.Code(err)):
			t.cl.agents.markDown(ref.AgentURL, err, now)
		}
	}
	if err := t.cl.load.waitFilePoll(ctx); err != nil {
		return nil, err
	}
	body, err := t.cl.client.LogLines(ctx, ref, windowLines)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(io.LimitReader(body, maxPeek))
}

// peekAgent is peek through the node's agent.
func (t *Tail) peekAgent(ctx context.Context, ref ray.LogRef) ([]byte, error) {
	part, err := t.cl.client.AgentLog(ctx, ref, 0)
	if err == nil && part.Size > maxPeek {
		part.Body.Close() // only its size is used
		part, err = t.cl.client.AgentLog(ctx, ref, part.Size-maxPeek)
	}
	if err != nil {
		return nil, err
	}
	defer part.Body.Close()
	return io.ReadAll(io.LimitReader(part.Body, maxPeek))
}

// findHeadLog returns the end of what Ray wrote on the head about a job that ran on another
// node; "" if there is nothing, or if both are the same file.
func (t *Tail) findHeadLog(ctx context.Context) string {
	if t.cl.messages != nil {
		return ""
	}
	nodes, err := t.cl.lists.Nodes(ctx)
	if err != nil {
		return ""
	}
	for _, n := range nodes {
		if !n.Head || n.State != ray.NodeAlive || n.ID == t.job.current().DriverNodeID {
			continue
		}
		text, err := t.peek(ctx, nodeRef(n, t.job.current().SubmissionID))
		if err != nil {
			return ""
		}
		if _, found := lines.Find(text, &t.p.log.Pos); found > 0 {
			return "" // nodes on one machine that share a log directory
		}
		return lastBytes(text)
	}
	return ""
}

// lastBytes returns the last maxHeadLog bytes of a text, from the start of a line on.
func lastBytes(text []byte) string {
	text = bytes.TrimSpace(text)
	if over := len(text) - maxHeadLog; over > 0 {
		text = text[over:]
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			text = text[i+1:]
		}
	}
	return string(bytes.ToValidUTF8(text, []byte("\uFFFD")))
}

// firstBytes returns the first maxHeadLog bytes of a text, without a partial character.
func firstBytes(text string) string {
	if len(text) <= maxHeadLog {
		return text
	}
	cut := maxHeadLog
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut]
}

// GrewAfterEnd reports whether the log has content after the position. It is for an ended
// run, instead of Run.
func (t *Tail) GrewAfterEnd(ctx context.Context) (bool, error) {
	if t.cl.messages != nil {
		size, err := t.snapshotSize(ctx)
		return size > t.p.log.Pos.Content, err
	}
	now := time.Now()
	if t.p.log.Pos.Raw >= 0 && t.cl.opts.Protocol != ProtocolWebSocket && t.selector.usable(NodeAgent, t.conditions(now)) {
		grown, err := t.grewAtAgent(ctx)
		switch {
		case err == nil:
			t.cl.agents.markUp(t.job.current().DriverAgentURL)
			return grown, nil
		case errors.Is(err, rotation.ErrRotating):
			return false, err // the current file alone does not show it
		case rejectsAllJobs(err) || unreachable(ray.Code(err)):
			t.cl.agents.markDown(t.job.current().DriverAgentURL, err, now)
		}
	}
	if err := t.cl.load.waitFilePoll(ctx); err != nil {
		return false, err
	}
	if t.cl.support(now).NoFile {
		body, release, err := t.openSnapshot(ctx, t.p.log.Pos.Content)
		if err != nil {
			return false, err
		}
		defer release()
		return hasMore(body, t.p.log.Pos.Content)
	}
	grown, err := t.grewInFile(ctx)
	t.cl.noteFileAPI(err, now)
	return grown, err
}

// grewAtAgent is GrewAfterEnd through the node's agent. While the log is not rotated, it
// requests what is after the position, usually nothing or a line end, and whether the file
// before it is still the same; else it reads on from the position's file.
func (s *source) grewAtAgent(ctx context.Context) (bool, error) {
	files, pos := driverFiles{s.cl.client, s.job.current().LogRef()}, &s.p.log.Pos
	part, err := files.Read(ctx, 0, pos.Raw, 0)
	if err != nil && ray.Code(err) != http.StatusNotFound { // NAME.1 may be all that there is
		return false, err
	}
	grown, absent := false, err
	if absent == nil {
		defer part.Body.Close()
		if _, err := io.CopyN(io.Discard, part.Body, pos.Raw-part.Offset); err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		if grown, err = hasContent(part.Body); err != nil {
			return false, err
		}
	}
	newest, err := rotation.At(ctx, files, 0, 0)
	switch same := newest.After == s.p.log.Gen.After; {
	case err != nil:
		return false, err
	case same && absent != nil:
		return false, absent
	case same && part.Size >= pos.Raw:
		return grown, nil
	}
	return s.grewInFiles(ctx, files)
}

// grewInFiles is grewAtAgent for a log that was rotated.
func (s *source) grewInFiles(ctx context.Context, files driverFiles) (bool, error) {
	at, pos := s.p.log.Gen.Position, &s.p.log.Pos
	if at == (rotation.Position{}) && pos.Content > 0 {
		from := pos.Tail.Start
		if !pos.HasShortTail() {
			if err := s.cl.load.waitReread(ctx, pos.Content); err != nil {
				return false, err
			}
			from = 0
		}
		var err error
		if at, err = (&nodeAgentReader{source: s}).search(ctx, files, from); err != nil {
			if errors.Is(err, errReplaced) {
				return true, nil // to read the log shows what is there now
			}
			return false, err
		}
	}
	r := rotation.NewReader(files, true, at)
	defer r.Close()
	for known := pos.Raw - at.Raw; ; {
		chunk, err := r.Next(ctx)
		switch {
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		case chunk.Lost || chunk.NewGeneration:
			known = 0
		}
		n := min(known, int64(len(chunk.Data)))
		known -= n
		if lines.ContentLen(chunk.Data[n:]) > 0 {
			return true, nil
		}
	}
}
