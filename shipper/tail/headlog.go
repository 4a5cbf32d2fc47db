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

	"raytap/shipper/clock"

	"raytap/lines"
	"raytap/ray"
)

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
				return fmt.Errorf("%w: nobody has told for %s whether there is one: %v", errLost, tried.Sum.Round(time.Second), err)
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
		return &ray.Error{Op: "look for the log", Code: http.StatusServiceUnavailable, Detail: "the list of nodes names no head"}
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
		return fmt.Errorf("%w: this Ray does not tell whether the head has a log of the job: %v", errUnproven, failed)
	case failed != nil:
		return failed
	case t.job.gone.Load():
		return fmt.Errorf("%w: Ray forgot the job before it told where it runs, and no node has its log", errLost)
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
