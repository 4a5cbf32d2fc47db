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

// defaultLivenessTimeout is how long a tail may give no sign of life.
const defaultLivenessTimeout = 45 * time.Second

// The paths of the tails: first today's, then those that agents had before 2026.
var (
	webSocketPaths = []string{"/jobs/%s/logs/", "/ray/jobs/%s/logs/", "/ray/jobs/%s/logs/ws/"}
	ssePaths       = []string{"/jobs/%s/logs/stream/", "/ray/jobs/%s/logs/stream/", "/ray/jobs/%s/logs/"}
)

// tailState is what a client has learnt of its agent's tailState.
type tailState struct {
	tailsMu  sync.Mutex
	lastPath [2]int // the path that was right last, of the WebSocket's and of SSE's
	host     follow.Host
}

// maxTailID is the longest id of a tail, in characters.
const maxTailID = 100

var tailID = regexp.MustCompile(`\A[a-zA-Z0-9_-]+\z`)

// checkTailID refuses what the agent's own client refuses.
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

// TailWebSocket opens the WebSocket tail of a job's log from its first message
// on. The connection is asked for signs of life; one that gives none for 45 s
// while somebody reads ends with code 503.
//
// A refused upgrade has ray.ErrNoWebSocket in its chain, but for 401 and 429,
// which keep their codes. Paths of older agents are tried where the present one
// is not known.
func (c *Client) TailWebSocket(ctx context.Context, id string) (ray.MessageStream, error) {
	return c.tailWebSocket(ctx, id, 0)
}

// tailWebSocket does it with a timeout for the handshake and for signs of life;
// 0 is the defaults.
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
// ping: where no byte comes for 45 s, not even a comment, the agent is asked for
// the job, and the stream ends with code 503 where that fails or the job has
// ended; after five minutes without a byte it ends in any case.
//
// Errors keep the server's status: 404 says that the job is not known, or its
// tail. Paths of older agents are tried then.
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

// tryPaths tries the paths of a tail, the one that was right last first, until
// one is not unknown. Its error is that of the first.
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

// upgradeError marks the error of an upgrade that was refused.
func upgradeError(err error) error {
	var e *ray.Error
	if !errors.As(err, &e) || !errors.Is(err, ray.ErrNoWebSocket) {
		return err
	}
	if e.Status != http.StatusNotFound {
		e.Code = http.StatusServiceUnavailable
	}
	e.Detail = fmt.Sprintf("the upgrade to a WebSocket was refused (HTTP %d): does the agent, and each proxy before it, let WebSockets through?", e.Status)
	return e
}

// Tail follows a job's log until the job has ended and its log was read to the
// end, and gives each line once, over connections that break. See
// ray.TailOptions for protocols, timeout and limits.
//
// The iterator's errors are *ray.Error, and each is its last element: code 400
// for an id, a timeout or a protocol that cannot be, 404 for an unknown job, 429
// over a limit, 500 where the agent failed to read the log, or where the log is
// another one than it was, 503 where no connection could be had at all. A
// connection that breaks later is opened again, with growing pauses, until ctx
// ends. Each use of the iterator is a tail of its own.
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
		Host: &c.host,
	}, o)
}
