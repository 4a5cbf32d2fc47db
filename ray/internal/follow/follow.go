// Package follow gives the lines of a running job's log, each once, over
// connections that break: what both dialects' Tail has in common.
package follow

import (
	"cmp"
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"

	"raytap/ray"
)

const op = "tail job"

// Conn is one connection to a job's log. It gives the log from its first byte on.
type Conn interface {
	// Next waits for bytes of the log and gives them, of one message at the most;
	// begins: they are the first of a message. They are good until the next call.
	// io.EOF means that the log is complete, every other error that the connection
	// ended, which tells nothing of the log.
	Next() (p []byte, begins bool, err error)
	// Close may be called at any time, from any goroutine, and ends a blocked Next.
	io.Closer
}

// Log says how one job's log is reached.
type Log struct {
	// Job tells the job's status.
	Job func(context.Context) (ray.Job, error)
	// WebSocket and HTTP open the two ways to follow it.
	WebSocket, HTTP func(context.Context) (Conn, error)
	// Whole opens the log as it is now; its io.EOF is the log's end.
	Whole func(context.Context) (Conn, error)
	// Host remembers what is known of the server, over all of its jobs.
	Host *Host
}

// Host remembers for a while that a server opens no WebSockets. The zero value
// knows nothing. It is safe for concurrent use.
type Host struct{ refused atomic.Int64 }

// hostMemory is how long a refused upgrade is remembered.
const hostMemory = 5 * time.Minute

func (h *Host) refuses() bool {
	at := h.refused.Load()
	return at != 0 && time.Since(time.Unix(0, at)) < hostMemory
}

// Times of a tail: between two reconnects, between two questions for the job
// while its log is silent, and how long a log may go on when the job has ended.
const (
	minPause, maxPause = 500 * time.Millisecond, 30 * time.Second
	minWatch, maxWatch = 2 * time.Second, 30 * time.Second
	linger             = 2 * time.Second
)

// Lines follows a log until the job has ended and the log was read to its end.
//
// What cannot be asked for is an error of code 400 at the first read. A failure
// before anything was opened is given at once; later ones are waited out with
// growing pauses, until ctx ends. Every connection begins at the log's first
// byte: what was given is known again by its length and hash, and not given
// twice; a log that is another one than it was is an error of code 500.
func Lines(ctx context.Context, l Log, o ray.TailOptions) iter.Seq2[ray.TailLine, error] {
	return func(yield func(ray.TailLine, error) bool) {
		if err := o.Check(); err != nil {
			yield(ray.TailLine{}, err)
			return
		}
		f := &follower{log: l, opts: o, lines: lines{limits: o.Limits, yield: yield}, useHTTP: o.Protocol == ray.TailHTTP}
		if err := f.run(ctx); err != nil && !errors.Is(err, errStopped) {
			yield(ray.TailLine{}, err)
		}
	}
}

// errStopped: the caller wants no more lines.
var errStopped = errors.New("stopped")

// follower is one tail.
type follower struct {
	log     Log
	opts    ray.TailOptions
	lines   lines
	useHTTP bool
	opened  bool // something was opened once
	failed  bool // the last connection ended by the server's error, and gave nothing new
	quiet   int  // connections in a row that ended and gave nothing new, since the job has ended
	stuck   int  // and whatever the job does
}

// run is the tail for ever: connect, read, ask what the end meant, again.
func (f *follower) run(ctx context.Context) error {
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(minPause), backoff.WithMaxInterval(maxPause), backoff.WithMaxElapsedTime(0))
	for {
		before := f.lines.at.content
		end, err := f.connection(ctx)
		if err != nil {
			return err
		}
		if f.lines.at.content != before {
			pause.Reset()
		}
		done, err := f.settle(ctx, end)
		if done || err != nil {
			return err
		}
		if err := sleep(ctx, max(pause.NextBackOff(), asked(end))); err != nil {
			return err
		}
		if end == io.EOF { // complete, and the job's status may lag behind
			if done, err := f.settle(ctx, end); done || err != nil {
				return err
			}
		}
	}
}

// connection opens one and reads it to its end; end is how it ended. An error is
// the tail's.
func (f *follower) connection(ctx context.Context) (end, err error) {
	conn, err := f.open(ctx)
	switch {
	case err == nil:
		f.opened = true
	case ctx.Err() != nil, !f.opened, !temporary(err):
		return nil, err
	default:
		return err, nil
	}
	before := f.lines.at.content
	end = f.read(ctx, conn)
	if fatal := f.lines.fault(end); fatal != nil {
		return nil, fatal
	}
	if ctx.Err() != nil {
		return nil, gone(ctx)
	}
	news := f.lines.at.content != before
	serverFailed := ray.Code(end) == http.StatusInternalServerError && end != io.EOF
	if serverFailed && !news && f.failed {
		return nil, end
	}
	f.failed = serverFailed && !news
	if f.opts.Protocol == ray.TailAuto && (serverFailed || !news) {
		f.useHTTP = !f.useHTTP
	}
	if news {
		f.quiet, f.stuck = 0, 0
	} else {
		f.quiet, f.stuck = f.quiet+1, f.stuck+1
	}
	return end, nil
}

// open opens the way that is to be used, or under auto the other one where that
// fails.
func (f *follower) open(ctx context.Context) (Conn, error) {
	auto := f.opts.Protocol == ray.TailAuto
	if auto && !f.useHTTP && f.log.Host.refuses() {
		f.useHTTP = true
	}
	conn, err := f.way()(ctx)
	if err == nil || !auto || !otherWay(err) || ctx.Err() != nil {
		return conn, err
	}
	refused := !f.useHTTP && errors.Is(err, ray.ErrNoWebSocket)
	f.useHTTP = !f.useHTTP
	conn, other := f.way()(ctx)
	switch {
	case other == nil && refused:
		f.log.Host.refused.Store(time.Now().UnixNano())
	case other != nil && ray.Code(other) != http.StatusServiceUnavailable && ray.Code(other) != ray.Code(err):
		err = other // it says more than that there is no connection
	}
	if other != nil {
		return nil, err
	}
	return conn, nil
}

func (f *follower) way() func(context.Context) (Conn, error) {
	if f.useHTTP {
		return f.log.HTTP
	}
	return f.log.WebSocket
}

// otherWay tells whether a way that could not be opened says nothing of another.
func otherWay(err error) bool {
	if errors.Is(err, ray.ErrNoWebSocket) || errors.Is(err, ray.ErrTransportNotAllowed) {
		return true
	}
	switch ray.Code(err) {
	case http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusRequestTimeout, http.StatusNotImplemented:
		return true
	}
	return false
}

// read takes a connection to its end, with an eye on the job while it is silent.
func (f *follower) read(ctx context.Context, conn Conn) error {
	var (
		moved atomic.Uint64
		wg    sync.WaitGroup
	)
	watch, stop := context.WithCancel(ctx)
	wg.Go(func() { f.watch(watch, conn, &moved) })
	defer func() {
		stop()
		_ = conn.Close()
		wg.Wait()
	}()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	f.lines.begin()
	for {
		p, begins, err := conn.Next()
		if err != nil {
			return err
		}
		moved.Add(1)
		if err := f.lines.feed(p, begins); err != nil {
			return err
		}
	}
}

// watch closes a connection that stays silent after the job has ended.
func (f *follower) watch(ctx context.Context, conn Conn, moved *atomic.Uint64) {
	for wait := minWatch; ; wait = min(2*wait, maxWatch) {
		seen := moved.Load()
		if sleep(ctx, wait) != nil {
			return
		}
		if moved.Load() != seen {
			wait = minWatch / 2
			continue
		}
		job, err := f.log.Job(ctx)
		if err != nil && ray.Code(err) != http.StatusNotFound || err == nil && !job.Status.Terminal() {
			continue
		}
		if sleep(ctx, linger) != nil {
			return
		}
		if moved.Load() == seen {
			_ = conn.Close()
			return
		}
	}
}

// settle asks what the end of a connection meant. done: the log was read to its
// end.
func (f *follower) settle(ctx context.Context, end error) (done bool, err error) {
	job, err := f.log.Job(ctx)
	switch {
	case ctx.Err() != nil:
		return false, gone(ctx)
	case err != nil && temporary(err) && end == io.EOF && f.stuck >= patience:
		return true, f.lines.finish() // the server said so again and again, and tells no status
	case err != nil && temporary(err):
		return false, nil
	case err != nil:
		return false, err
	case !job.Status.Terminal():
		f.quiet = 0
		if f.stuck < patience {
			return false, nil
		}
		// A place in the log may be one that no tail can pass.
		f.stuck = 0
		return false, f.fatal(ctx, f.whole(ctx, false))
	case end == io.EOF:
		return true, f.lines.finish()
	}
	err = f.whole(ctx, true)
	switch {
	case err == io.EOF:
		return true, f.lines.finish()
	case f.fatal(ctx, err) != nil:
		return false, f.fatal(ctx, err)
	case f.quiet > 0 && (errors.Is(err, ray.ErrNotText) || errors.Is(err, ray.ErrTooLarge)):
		// Nothing can give more than the tail did, and nothing tells that it is all.
		return false, cmp.Or(f.lines.finish(), err)
	case !temporary(err) && (f.quiet > 1 || f.lines.at.content == 0 && job.DriverNodeID == ""):
		// There is no whole log to be had: the tail, opened anew, had nothing more.
		return true, f.lines.finish()
	}
	return false, nil
}

// fatal gives the error that ends the tail, if err is one.
func (f *follower) fatal(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return gone(ctx)
	}
	return f.lines.fault(err)
}

// patience is how many connections in a row may give nothing new before the log
// is read as a whole while its job runs.
const patience = 2

// whole reads the log as it is now; io.EOF says that it was read to its end. Of
// one that has not ended the last line may grow: its end is not believed.
func (f *follower) whole(ctx context.Context, ended bool) error {
	conn, err := f.log.Whole(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	f.lines.begin()
	for held := false; ; {
		p, _, err := conn.Next()
		if err != nil {
			return err
		}
		if held && len(p) > 0 {
			if err := f.lines.feed([]byte{'\n'}, false); err != nil {
				return err
			}
			held = false
		}
		if n := len(p); !ended && n > 0 && p[n-1] == '\n' {
			p, held = p[:n-1], true
		}
		if err := f.lines.feed(p, false); err != nil {
			return err
		}
	}
}

// asked is how long a server asked to be left alone.
func asked(end error) time.Duration {
	var e *ray.Error
	if errors.As(end, &e) {
		return e.RetryAfter
	}
	return 0
}

// temporary tells whether the same question may be answered later.
func temporary(err error) bool {
	var e *ray.Error
	return errors.As(err, &e) && e.Temporary()
}

func gone(ctx context.Context) error {
	e := &ray.Error{Op: op, Code: http.StatusServiceUnavailable, Detail: "cancelled", Err: ctx.Err()}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.Code, e.Detail = http.StatusRequestTimeout, "the caller's deadline passed"
	}
	return e
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return gone(ctx)
	}
}
