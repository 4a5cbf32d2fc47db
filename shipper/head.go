package shipper

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

	"raytap/ray"
)

// Ray keeps the log of a job on the node of its driver, and what it says of the job
// itself on the head, in a file of the same name: a job that failed in its
// runtime_env, or whose supervisor never ran, has no node and that file (2.60.0).

const (
	// nodesMax bounds on how many nodes the log of a job is looked for that was
	// deleted before its node was known.
	nodesMax = 64
	// wordsMax bounds what an end record says of Ray's own words (bytes).
	wordsMax = 8 << 10
	// peekMax is how much of a log is read at once to find them (bytes).
	peekMax = 1 << 20
)

// findLog looks for the log of a run that is over and of which Ray does not report a
// node. nil: it was found, and the run has a node from then on. errUnstarted: the
// head has answered that there is none.
func (s *stream) findLog(ctx context.Context) error {
	r := s.newRetry()
	tried := awake{last: time.Now()}
	pause := s.sh.opts.PollInterval
	for {
		j := s.current()
		switch {
		case j.DriverNodeID != "" || !j.Status.Terminal() && !s.gone.Load():
			return nil // it is known again
		case s.due(time.Now()):
			err := s.lookForLog(ctx)
			if err == nil || errors.Is(err, errUnstarted) || errors.Is(err, errLost) || errors.Is(err, errUnproven) {
				return err
			}
			s.complain(wayNone, err)
			tried.step(time.Now(), pause+s.sh.opts.Timeout)
			if tried.sum >= s.sh.opts.EndTimeout && tried.steps >= triesToLose {
				return fmt.Errorf("%w: nobody has told for %s whether there is one: %v", errLost, tried.sum.Round(time.Second), err)
			}
			pause = max(r.wait.NextBackOff(), retryAfter(err))
		}
		if err := s.rest(ctx, pause); err != nil {
			return err
		}
	}
}

// lookForLog asks the head for the log, and where Ray does not know the job any more
// the other nodes, too: it may have run on any.
func (s *stream) lookForLog(ctx context.Context) error {
	nodes, err := s.sh.lists.Nodes(ctx)
	if err != nil {
		return err
	}
	var places []ray.LogRef
	head := false
	for _, n := range nodes {
		switch ref := nodeRef(n, s.current().SubmissionID); {
		case n.Head && n.State == ray.NodeAlive:
			places, head = append([]ray.LogRef{ref}, places...), true
		case s.gone.Load() && n.State == ray.NodeAlive && len(places) < nodesMax:
			places = append(places, ref)
		}
	}
	if !head {
		return &ray.Error{Op: "look for the log", Code: http.StatusServiceUnavailable, Detail: "the list of nodes names no head"}
	}
	var failed error
	for _, ref := range places {
		_, err := s.peek(ctx, ref)
		switch {
		case err == nil:
			s.place(ref)
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
	case s.gone.Load():
		return fmt.Errorf("%w: Ray forgot the job before it told where it runs, and no node has its log", errLost)
	}
	return errUnstarted
}

// nodeRef names the log of a job on a node.
func nodeRef(n ray.Node, id string) ray.LogRef {
	ref := ray.LogRef{SubmissionID: id, NodeID: n.ID}
	if n.Stats != nil && n.Stats.DashboardAgent > 0 && n.IP != "" {
		ref.AgentURL = "http://" + net.JoinHostPort(n.IP, strconv.Itoa(n.Stats.DashboardAgent))
	}
	return ref
}

// place makes a node the one on which the log is read, as Ray reports none.
func (s *stream) place(ref ray.LogRef) {
	s.home.Store(&ref)
	j := *s.current()
	s.job.Store(s.atHome(&j))
}

// atHome puts the node where the log was found into a job of which Ray reports none.
func (s *stream) atHome(j *ray.Job) *ray.Job {
	if home := s.home.Load(); home != nil && j.DriverNodeID == "" {
		j.DriverNodeID, j.DriverAgentURL = home.NodeID, home.AgentURL
	}
	return j
}

// homeLadder lists the ways to a log that Ray does not report: those by its name.
func (s *stream) homeLadder(now time.Time) []way {
	if s.sh.logWays(now).NoFile {
		return []way{wayAgent}
	}
	if s.sh.opts.Protocol == ProtocolWebSocket {
		return []way{wayFile}
	}
	return []way{wayAgent, wayFile}
}

// peek reads the end of a log by its name, at most peekMax bytes of it. Code 404: the
// node has answered that it has none.
func (s *stream) peek(ctx context.Context, ref ray.LogRef) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.sh.opts.Timeout)
	defer cancel()
	now := time.Now()
	if ref.AgentURL != "" && s.sh.opts.Protocol != ProtocolWebSocket && s.sh.hosts.mayTry(ref.AgentURL, now) {
		text, err := s.peekAtAgent(ctx, ref)
		switch {
		case err == nil, ray.Code(err) == http.StatusNotFound:
			s.sh.hosts.markUp(ref.AgentURL)
			return text, err
		case shutsOut(err), unreachable(ray.Code(err)):
			s.sh.hosts.markDown(ref.AgentURL, err, now)
		}
	}
	if err := s.turn(ctx); err != nil {
		return nil, err
	}
	body, err := s.sh.client.LogLines(ctx, ref, windowLines)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(io.LimitReader(body, peekMax))
}

func (s *stream) peekAtAgent(ctx context.Context, ref ray.LogRef) ([]byte, error) {
	part, err := s.sh.client.AgentLog(ctx, ref, 0)
	if err == nil && part.Size > peekMax {
		part.Body.Close() //nolint:errcheck // read for its size
		part, err = s.sh.client.AgentLog(ctx, ref, part.Size-peekMax)
	}
	if err != nil {
		return nil, err
	}
	defer part.Body.Close()
	return io.ReadAll(io.LimitReader(part.Body, peekMax))
}

// headWords returns what Ray wrote on the head of a job that ran on another node:
// the last of it, "" where there is nothing, or where both are the same file.
func (s *stream) headWords(ctx context.Context) string {
	if s.sh.messages != nil {
		return ""
	}
	nodes, err := s.sh.lists.Nodes(ctx)
	if err != nil {
		return ""
	}
	for _, n := range nodes {
		if !n.Head || n.State != ray.NodeAlive || n.ID == s.current().DriverNodeID {
			continue
		}
		text, err := s.peek(ctx, nodeRef(n, s.current().SubmissionID))
		if err != nil {
			return ""
		}
		if _, found := findPosition(text, &s.log.pos); found > 0 {
			return "" // nodes of one machine that share the directory of their logs
		}
		return lastWords(text)
	}
	return ""
}

// lastWords returns the end of a text, whole lines where it is cut.
func lastWords(text []byte) string {
	text = bytes.TrimSpace(text)
	if over := len(text) - wordsMax; over > 0 {
		text = text[over:]
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			text = text[i+1:]
		}
	}
	return string(bytes.ToValidUTF8(text, []byte("\uFFFD")))
}

// firstWords returns the start of a text, of whole characters.
func firstWords(text string) string {
	if len(text) <= wordsMax {
		return text
	}
	cut := wordsMax
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut]
}
