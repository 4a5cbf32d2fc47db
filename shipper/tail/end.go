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

	"raytap/lines"
	"raytap/ray"
	"raytap/shipper/record"
)

// replaced begins a new epoch, once session and run were found to be as before.
func (t *Tail) replaced(ctx context.Context) error {
	session, err := t.cl.CurrentSession(ctx, t.job.session)
	switch {
	case err != nil:
		return nil // asked again with the next read
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
		return p.newEpoch(ctx, *p.log.LastVerified, "the log repeats itself: it is read again from the last verified position", gap)
	}
	gap := p.gapEvent("the log was replaced or truncated: unread lines of the old log are lost")
	return p.newEpoch(ctx, lines.Start(), "the log was replaced or truncated: it is read from its start", gap)
}

// finish writes the last events of a tail that is over because of err.
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
	case errors.Is(err, errUnproven):
		return p.commitEvents(ctx, true, p.endEvent(err.Error(), known))
	case errors.Is(err, ErrRunReplaced):
		return p.commitEvents(ctx, true, p.endEvent(otherStart, runEnd{}))
	case errors.Is(err, ErrSessionOver):
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
	return nil // ended by a limit, which was reported; or the output is closed
}

// finishReopening ends a tail that was to read on after the end and got no further line.
func (t *Tail) finishReopening(ctx context.Context, err error) error {
	if errors.Is(err, errLost) || errors.Is(err, ErrSessionOver) {
		return t.p.commitEvents(ctx, true, t.p.gapEvent("output after the end of the run is lost: "+err.Error()))
	}
	return nil
}

// statusTicks is how many times waitStatus wakes before it stops: a process that is stopped
// meanwhile misses all but one of those that are due.
const statusTicks = 20

// waitStatus gives a lost job's status some time to become terminal: Ray leaves a job
// RUNNING for a while, or indefinitely, after its node died.
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

// runEnd is what an end event says besides the counts.
type runEnd struct {
	status   bool // the job's status is that of this run
	complete bool // the log was read to its end
	headLog  string
}

// runLines returns how many lines the run has had so far, over all of its epochs.
func (p *pipeline) runLines() int64 { return max(0, p.log.Tally.Lines+int64(p.nextLine())) }

// textField is a field of a text, absent where that is empty.
func textField(key, text string) record.Field {
	if text == "" {
		return record.Field{Key: key}
	}
	return record.Field{Key: key, Value: text}
}

// endEvent makes the event of a run's end.
func (p *pipeline) endEvent(message string, end runEnd) checkpoint.PendingEvent {
	p.drop()
	j := p.job.current()
	// Ray does not report how a run ended once another one has taken its id.
	status := end.status && (j.Status.Terminal() || !p.job.superseded.Load())
	fields := []record.Field{}
	if status && j.Status != "" {
		fields = append(fields, record.Field{Key: "status", Value: string(j.Status)})
	}
	run := &p.log.Tally
	fields = append(fields, record.Field{Key: "lines", Value: p.runLines()}, record.Field{Key: "content_bytes", Value: max(0, run.Content+int64(p.log.Pos.Content))})
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

// Ray keeps the log of a job on the node of its driver, and what it says of the job
// itself on the head, in a file of the same name: a job that failed in its
// runtime_env, or whose supervisor never ran, has no node and that file (2.60.0).

const (
	// maxNodes bounds on how many nodes the log of a job is looked for that was
	// deleted before its node was known.
	maxNodes = 64
	// maxHeadLog bounds what an end record says of Ray's own words (bytes).
	maxHeadLog = 8 << 10
	// maxPeek is how much of a log is read at once to find them (bytes).
	maxPeek = 1 << 20
)

// findLog looks for the log of a run that is over and of which Ray does not report a
// node. nil: it was found, and the run has a node from then on. errNotStarted: the
// head has answered that there is none.
func (t *Tail) findLog(ctx context.Context) error {
	r := newRetry(&t.cl.opts)
	tried := clock.AwakeTime{Last: time.Now()}
	pause := t.cl.opts.PollInterval
	for {
		j := t.job.current()
		switch {
		case j.DriverNodeID != "" || !j.Status.Terminal() && !t.job.gone.Load():
			return nil // it is known again
		case t.job.settled(time.Now()):
			err := t.searchNodes(ctx)
			if err == nil || errors.Is(err, errNotStarted) || errors.Is(err, errLost) || errors.Is(err, errUnproven) {
				return err
			}
			t.health.failure(None, err)
			tried.Step(time.Now(), pause+t.cl.opts.Timeout)
			if tried.Sum >= t.cl.opts.LostAfter && tried.Steps >= triesToLose {
				return fmt.Errorf("%w: no node has answered for %s whether it has the log: %v", errLost, tried.Sum.Round(time.Second), err)
			}
			pause = max(r.backoff.NextBackOff(), RetryAfter(err))
		}
		if err := t.job.sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// searchNodes asks the head for the log, and where Ray does not know the job any more
// the other nodes, too: it may have run on any.
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
			t.job.setHome(ref)
			return nil
		case ray.Code(err) != http.StatusNotFound:
			failed = err
		}
	}
	switch {
	case ray.Code(failed) == http.StatusNotImplemented:
		return fmt.Errorf("%w: this Ray does not report whether the head has a log of the job: %v", errUnproven, failed)
	case failed != nil:
		return failed
	case t.job.gone.Load():
		return fmt.Errorf("%w: Ray deleted the job before it reported its node, and no node has its log", errLost)
	}
	return errNotStarted
}

// nodeRef names the log of a job on a node.
func nodeRef(n ray.Node, id string) ray.LogRef {
	ref := ray.LogRef{SubmissionID: id, NodeID: n.ID}
	if n.Stats != nil && n.Stats.DashboardAgent > 0 && n.IP != "" {
		ref.AgentURL = "http://" + net.JoinHostPort(n.IP, strconv.Itoa(n.Stats.DashboardAgent))
	}
	return ref
}

// peek reads the end of a log by its name, at most maxPeek bytes of it. Code 404: the
// node has answered that it has none.
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

func (t *Tail) peekAgent(ctx context.Context, ref ray.LogRef) ([]byte, error) {
	part, err := t.cl.client.AgentLog(ctx, ref, 0)
	if err == nil && part.Size > maxPeek {
		part.Body.Close() // read for its size
		part, err = t.cl.client.AgentLog(ctx, ref, part.Size-maxPeek)
	}
	if err != nil {
		return nil, err
	}
	defer part.Body.Close()
	return io.ReadAll(io.LimitReader(part.Body, maxPeek))
}

// findHeadLog returns what Ray wrote on the head of a job that ran on another node:
// the last of it, "" where there is nothing, or where both are the same file.
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
			return "" // nodes of one machine that share the directory of their logs
		}
		return lastBytes(text)
	}
	return ""
}

// lastBytes returns the end of a text, whole lines where it is cut.
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

// firstBytes returns the start of a text, of whole characters.
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

// GrewAfterEnd reports whether the log holds content after the position.
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

// grewAtAgent asks the node's agent for what it has after the position: mostly
// nothing, or the last line's end.
func (s *source) grewAtAgent(ctx context.Context) (bool, error) {
	part, err := s.cl.client.AgentLog(ctx, s.job.current().LogRef(), s.p.log.Pos.Raw)
	if err != nil {
		return false, err
	}
	defer part.Body.Close()
	if _, err := io.CopyN(io.Discard, part.Body, s.p.log.Pos.Raw-part.Offset); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return hasContent(part.Body)
}

// hasContent reports whether there is anything but line ends in a body.
func hasContent(body io.Reader) (bool, error) {
	buf := make([]byte, 512)
	for {
		n, err := body.Read(buf)
		if lines.ContentLen(buf[:n]) > 0 {
			return true, nil
		}
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// grewInFile looks for the position in the log's last lines, and reads it as a
// whole where they do not show it.
func (s *source) grewInFile(ctx context.Context) (bool, error) {
	pos := &s.p.log.Pos
	if pos.Content > 0 && !s.p.log.Ambiguous {
		w, err := s.locate(ctx, pos, s.windowFor(2*lines.FingerprintSize))
		switch {
		case err != nil:
			return false, err
		case w.matches == 1:
			return lines.ContentLen(w.text[w.at:]) > 0, nil
		case w.whole:
			return hasMore(bytes.NewReader(w.text), pos.Content)
		}
		s.cl.load.chargeFilePoll()
	}
	if err := s.cl.load.waitReread(ctx, pos.Content); err != nil {
		return false, err
	}
	body, err := s.cl.client.LogLines(ctx, s.job.current().LogRef(), 0)
	if err != nil {
		return false, err
	}
	defer body.Close()
	return hasMore(body, pos.Content)
}

// hasMore reports whether a body has more content bytes than so many.
func hasMore(body io.Reader, content uint64) (bool, error) {
	buf := lines.GetChunk()
	defer lines.PutChunk(buf)
	for has := uint64(0); ; {
		n, err := body.Read(*buf)
		has += uint64(lines.ContentLen((*buf)[:n]))
		switch {
		case has > content:
			return true, nil
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		}
	}
}
