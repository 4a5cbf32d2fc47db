package synapse

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sync"
	"time"

	"raytap/ray"
	"raytap/ray/internal/follow"
	"raytap/ray/transport"
)

const (
	opTail            = "tail job"
	endpointWebSocket = "jobs/{id}/logs/ (websocket)"
	endpointSSE       = "jobs/{id}/logs/stream/"
)

// defaultLivenessTimeout is how long a tail may receive nothing at all.
const defaultLivenessTimeout = 45 * time.Second

// The paths of the tails: the current ones first, then those of agents before 2026.
var (
	webSocketPaths = []string{"/jobs/%s/logs/", "/ray/jobs/%s/logs/", "/ray/jobs/%s/logs/ws/"}
	ssePaths       = []string{"/jobs/%s/logs/stream/", "/ray/jobs/%s/logs/stream/", "/ray/jobs/%s/logs/"}
)

// tailState is what a client knows about its agent's tails.
type tailState struct {
	tailsMu  sync.Mutex
	lastPath [2]int // index of the last working path, of WebSocket and of SSE
	refusals ray.UpgradeRefusals
}

// maxTailID is the longest id of a tail, in characters.
const maxTailID = 100

var tailID = regexp.MustCompile(`\A[a-zA-Z0-9_-]+\z`)

// checkTailID rejects the ids that the agent's own client rejects.
func checkTailID(id string) error {
	detail := ""
	switch {
	case id == "":
		detail = "the job's id is empty"
	case !tailID.MatchString(id):
		detail = "the job's id may hold only letters, digits, - and _"
	case len(id) > maxTailID:
		detail = fmt.Sprintf("the job's id is longer than %d characters", maxTailID)
	default:
		return nil
	}
	return &ray.Error{Op: opTail, Code: http.StatusBadRequest, Detail: detail}
}

// TailWebSocket opens the WebSocket tail of a job's log from its first message on. It
// sends pings; a connection that receives nothing for 45 s while a reader waits ends
// with code 503.
//
// A refused upgrade has ray.ErrNoWebSocket in its chain, except 401 and 429, which keep
// their codes. If the current path is unknown to the agent, the paths of older agents
// are tried.
func (c *Client) TailWebSocket(ctx context.Context, id string) (ray.MessageStream, error) {
	return c.tailWebSocket(ctx, id, 0)
}

// tailWebSocket is TailWebSocket with a timeout for the handshake and for liveness; 0
// uses the defaults.
func (c *Client) tailWebSocket(ctx context.Context, id string, timeout time.Duration) (ray.MessageStream, error) {
	var s ray.MessageStream
	err := c.tryPaths(0, id, webSocketPaths, func(path string) error {
		conn, err := c.t.WebSocket(ctx, transport.Request{Op: opTail, Endpoint: endpointWebSocket, Path: path, Timeout: timeout})
		if err == nil {
			s = newWSStream(ctx, c.t, conn, livenessTimeout(timeout))
		}
		return upgradeError(err)
	})
	return s, err
}

func livenessTimeout(timeout time.Duration) time.Duration {
	if timeout <= 0 {
		return defaultLivenessTimeout
	}
	return timeout
}

// TailSSE opens the HTTP tail of a job's log from its first message on. It has no
// pings: if no byte arrives for 45 s, not even a comment, the job is queried, and the
// stream ends with code 503 if that fails or the job has ended; after five minutes
// without a byte it ends in any case.
//
// Errors keep the server's status: 404 if the job or its tail is unknown; the paths of
// older agents are tried then.
func (c *Client) TailSSE(ctx context.Context, id string) (ray.MessageStream, error) {
	return c.tailSSE(ctx, id, 0)
}

func (c *Client) tailSSE(ctx context.Context, id string, timeout time.Duration) (ray.MessageStream, error) {
	var s ray.MessageStream
	err := c.tryPaths(1, id, ssePaths, func(path string) error {
		opened, err := c.openSSE(ctx, id, path, timeout)
		if err == nil {
			s = opened
		}
		return err
	})
	return s, err
}

// tryPaths tries the paths of a tail, the last working one first, until the agent
// knows one. It returns the error of the first.
func (c *Client) tryPaths(kind int, id string, paths []string, open func(path string) error) error {
	if err := checkTailID(id); err != nil {
		return err
	}
	c.tailsMu.Lock()
	order := []int{c.lastPath[kind]}
	c.tailsMu.Unlock()
	for i := range paths {
		if !slices.Contains(order, i) {
			order = append(order, i)
		}
	}
	var first error
	for _, i := range order {
		err := open(fmt.Sprintf(paths[i], url.PathEscape(id)))
		if err == nil {
			c.tailsMu.Lock()
			c.lastPath[kind] = i
			c.tailsMu.Unlock()
			return nil
		}
		if first == nil {
			first = err
		}
		var e *ray.Error
		if !errors.As(err, &e) || e.Status != http.StatusNotFound && !(e.Status == http.StatusForbidden && errors.Is(err, ray.ErrNoWebSocket)) {
			break
		}
	}
	return first
}

// upgradeError marks the error of a refused upgrade.
func upgradeError(err error) error {
	var e *ray.Error
	if !errors.As(err, &e) || !errors.Is(err, ray.ErrNoWebSocket) {
		return err
	}
	if e.Status != http.StatusNotFound {
		e.Code = http.StatusServiceUnavailable
	}
	e.Detail = fmt.Sprintf("the WebSocket upgrade was refused (HTTP %d): check that the agent and all proxies in front of it allow WebSockets", e.Status)
	return e
}

// Tail follows a job's log until the job has ended and its log was read to the end. It
// returns each line once, across broken connections. See ray.TailOptions for protocols,
// timeout and limits.
//
// The iterator's errors are *ray.Error, and an error is its last element: code 400 for
// an invalid id, timeout or protocol, 404 for an unknown job, 429 over a limit, 500 if
// the agent failed to read the log or the log was replaced, 503 if no connection could
// be opened at all. A connection that breaks later is opened again, with growing
// pauses, until ctx ends. Each use of the iterator starts a new tail.
func (c *Client) Tail(ctx context.Context, id string, o ray.TailOptions) iter.Seq2[ray.TailLine, error] {
	if err := checkTailID(id); err != nil {
		return func(yield func(ray.TailLine, error) bool) { yield(ray.TailLine{}, err) }
	}
	messages := func(open func(context.Context, string, time.Duration) (ray.MessageStream, error)) func(context.Context) (follow.Conn, error) {
		return func(ctx context.Context) (follow.Conn, error) {
			s, err := open(ctx, id, o.Timeout)
			if err != nil {
				return nil, err
			}
			return follow.Messages(s), nil
		}
	}
	return follow.Lines(ctx, follow.Log{
		Job:       func(ctx context.Context) (ray.Job, error) { return c.Job(ctx, id) },
		WebSocket: messages(c.tailWebSocket),
		HTTP:      messages(c.tailSSE),
		Snapshot: func(ctx context.Context) (follow.Conn, error) {
			body, err := c.JobLogs(ctx, id)
			if err != nil {
				return nil, err
			}
			return follow.Snapshot(body), nil
		},
		Refusals: &c.refusals,
	}, o)
}
