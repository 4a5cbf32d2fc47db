// Package follow tails a running job's log: it returns each line once, over connections
// that break. The Tail methods of both clients use it.
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

// Conn is one connection to a job's log. It returns the log from its first byte.
type Conn interface {
	// Next waits for bytes of the log and returns them, of one message at most. begins
	// reports whether they are the first of a message. They are valid until the next
	// call. io.EOF means that the log is complete; any other error, that the connection
	// ended, which is no statement about the log.
	Next() (p []byte, begins bool, err error)
	// Close may be called at any time, from any goroutine, and ends a blocked Next.
	io.Closer
}

// Log is how to reach one job's log.
type Log struct {
	// Job returns the job, for its status.
	Job func(context.Context) (ray.Job, error)
	// WebSocket and HTTP open the two transports of a tail.
	WebSocket, HTTP func(context.Context) (Conn, error)
	// Snapshot opens the log as it is now; its io.EOF is the log's end.
	Snapshot func(context.Context) (Conn, error)
	// Refusals remembers refused WebSocket upgrades, for all jobs of the server.
	Refusals *ray.UpgradeRefusals
}

// Times of a tail: between two reconnects, between two queries of the job while its log
// is silent, and how long a log may grow after the job has ended.
const (
	minPause, maxPause = 500 * time.Millisecond, 30 * time.Second
	minWatch, maxWatch = 2 * time.Second, 30 * time.Second
	gracePeriod        = 2 * time.Second
)

// Lines follows a log until the job has ended and the log has been read to its end.
//
// Invalid options are an error of code 400 at the first read. A failure before anything
// was opened is returned at once. Later failures are retried with growing pauses, until
// ctx ends. Every connection begins at the log's first byte: what was returned before is
// recognised by its length and hash, and skipped. A log that has changed is an error of
// code 500.
func Lines(ctx context.Context, l Log, o ray.TailOptions) iter.Seq2[ray.TailLine, error] {
	return func(yield func(ray.TailLine, error) bool) {
		if err := o.Check(); err != nil {
			yield(ray.TailLine{}, err)
			return
		}
		f := &follower{log: l, opts: o, lines: newEmitter(o.Limits, yield), useHTTP: o.Protocol == ray.TailHTTP}
		if err := f.run(ctx); err != nil && !errors.Is(err, errStopped) {
			yield(ray.TailLine{}, err)
		}
	}
}

// errStopped: the caller wants no more lines.
var errStopped = errors.New("stopped")

// follower is one tail.
type follower struct {
	log           Log
	opts          ray.TailOptions
	lines         *emitter
	useHTTP       bool
	opened        bool // a connection was opened at least once
	failed        bool // the last connection ended with an error of the server and returned nothing new
	emptyConns    int  // consecutive connections that returned nothing new
	emptyAfterEnd int  // those since the job has ended
}

// run connects, reads to the end of the connection, decides what that means, and starts
// again.
func (f *follower) run(ctx context.Context) error {
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(minPause), backoff.WithMaxInterval(maxPause), backoff.WithMaxElapsedTime(0))
	for {
		before := f.lines.content()
		end, err := f.readConn(ctx)
		if err != nil {
			return err
		}
		if f.lines.content() != before {
			pause.Reset()
		}
		done, err := f.checkEnd(ctx, end)
		if done || err != nil {
			return err
		}
		if err := sleep(ctx, max(pause.NextBackOff(), ray.RetryAfter(end))); err != nil {
			return err
		}
		if end == io.EOF { // complete, but the job's status may lag
			if done, err := f.checkEnd(ctx, end); done || err != nil {
				return err
			}
		}
	}
}

// readConn opens a connection and reads it to its end; end is how it ended. err ends the
// tail.
func (f *follower) readConn(ctx context.Context) (end, err error) {
	conn, err := f.open(ctx)
	switch {
	case err == nil:
		f.opened = true
	case ctx.Err() != nil, !f.opened, !ray.IsTemporary(err):
		return nil, err
	default:
		return err, nil
	}
	before := f.lines.content()
	end = f.read(ctx, conn)
	if fatal := fatalError(end); fatal != nil {
		return nil, fatal
	}
	if ctx.Err() != nil {
		return nil, ctxError(ctx)
	}
	progressed := f.lines.content() != before
	serverFailed := ray.Code(end) == http.StatusInternalServerError && end != io.EOF
	if serverFailed && !progressed && f.failed {
		return nil, end
	}
	f.failed = serverFailed && !progressed
	if f.opts.Protocol == ray.TailAuto && (serverFailed || !progressed) {
		f.useHTTP = !f.useHTTP
	}
	if progressed {
		f.emptyAfterEnd, f.emptyConns = 0, 0
	} else {
		f.emptyAfterEnd, f.emptyConns = f.emptyAfterEnd+1, f.emptyConns+1
	}
	return end, nil
}

// open opens the current transport or, under auto, the other one if that fails.
func (f *follower) open(ctx context.Context) (Conn, error) {
	auto := f.opts.Protocol == ray.TailAuto
	if auto && !f.useHTTP && f.log.Refusals.Recent(time.Now()) {
		f.useHTTP = true
	}
	conn, err := f.transport()(ctx)
	if err == nil || !auto || !canFallBack(err) || ctx.Err() != nil {
		return conn, err
	}
	refused := !f.useHTTP && errors.Is(err, ray.ErrNoWebSocket)
	f.useHTTP = !f.useHTTP
	conn, other := f.transport()(ctx)
	switch {
	case other == nil && refused:
		f.log.Refusals.Note(time.Now())
	case other != nil && ray.Code(other) != http.StatusServiceUnavailable && ray.Code(other) != ray.Code(err):
		err = other // more specific than "no connection"
	}
	if other != nil {
		return nil, err
	}
	return conn, nil
}

func (f *follower) transport() func(context.Context) (Conn, error) {
	if f.useHTTP {
		return f.log.HTTP
	}
	return f.log.WebSocket
}

// canFallBack reports whether another transport may work where one failed with err.
func canFallBack(err error) bool {
	if errors.Is(err, ray.ErrNoWebSocket) || errors.Is(err, ray.ErrTransportNotAllowed) {
		return true
	}
	switch ray.Code(err) {
	case http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusRequestTimeout, http.StatusNotImplemented:
		return true
	}
	return false
}

// read reads a connection to its end, and watches the job while it is silent.
func (f *follower) read(ctx context.Context, conn Conn) error {
	var (
		reads atomic.Uint64
		wg    sync.WaitGroup
	)
	watch, stop := context.WithCancel(ctx)
	wg.Go(func() { f.watch(watch, conn, &reads) })
	defer func() {
		stop()
		_ = conn.Close()
		wg.Wait()
	}()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	f.lines.restart()
	for {
		p, begins, err := conn.Next()
		if err != nil {
			return err
		}
		reads.Add(1)
		if err := f.lines.write(p, begins); err != nil {
			return err
		}
	}
}

// watch closes a connection that stays silent after the job has ended.
func (f *follower) watch(ctx context.Context, conn Conn, reads *atomic.Uint64) {
	for wait := minWatch; ; wait = min(2*wait, maxWatch) {
		seen := reads.Load()
		if sleep(ctx, wait) != nil {
			return
		}
		if reads.Load() != seen {
			wait = minWatch / 2
			continue
		}
		job, err := f.log.Job(ctx)
		if err != nil && ray.Code(err) != http.StatusNotFound || err == nil && !job.Status.Terminal() {
			continue
		}
		if sleep(ctx, gracePeriod) != nil {
			return
		}
		if reads.Load() == seen {
			_ = conn.Close()
			return
		}
	}
}

// checkEnd decides what the end of a connection means. done: the log has been read to
// its end.
func (f *follower) checkEnd(ctx context.Context, end error) (done bool, err error) {
	job, err := f.log.Job(ctx)
	switch {
	case ctx.Err() != nil:
		return false, ctxError(ctx)
	case err != nil && ray.IsTemporary(err) && end == io.EOF && f.emptyConns >= maxEmptyConns:
		return true, f.lines.finish() // complete, repeatedly, and the status is unavailable
	case err != nil && ray.IsTemporary(err):
		return false, nil
	case err != nil:
		return false, err
	case !job.Status.Terminal():
		f.emptyAfterEnd = 0
		if f.emptyConns < maxEmptyConns {
			return false, nil
		}
		// The log may have a place that no tail can pass.
		f.emptyConns = 0
		return false, f.fatal(ctx, f.readSnapshot(ctx, false))
	case end == io.EOF:
		return true, f.lines.finish()
	}
	err = f.readSnapshot(ctx, true)
	switch {
	case err == io.EOF:
		return true, f.lines.finish()
	case f.fatal(ctx, err) != nil:
		return false, f.fatal(ctx, err)
	case f.emptyAfterEnd > 0 && (errors.Is(err, ray.ErrNotText) || errors.Is(err, ray.ErrTooLarge)):
		// No transport returns more than the tail did, and none confirms the end.
		return false, cmp.Or(f.lines.finish(), err)
	case !ray.IsTemporary(err) && (f.emptyAfterEnd > 1 || f.lines.content() == 0 && job.DriverNodeID == ""):
		// There is no snapshot, and a new tail returned nothing more.
		return true, f.lines.finish()
	}
	return false, nil
}

// fatal returns the error that ends the tail, if err is one.
func (f *follower) fatal(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctxError(ctx)
	}
	return fatalError(err)
}

// maxEmptyConns is after how many consecutive connections without new bytes a running
// job's log is read as a snapshot.
const maxEmptyConns = 2

// readSnapshot reads the log as it is now; io.EOF means that it was read to its end. If
// it has not ended, its last line may grow: a line end at the end is ignored.
func (f *follower) readSnapshot(ctx context.Context, ended bool) error {
	conn, err := f.log.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	f.lines.restart()
	for held := false; ; {
		p, _, err := conn.Next()
		if err != nil {
			return err
		}
		if held && len(p) > 0 {
			if err := f.lines.write([]byte{'\n'}, false); err != nil {
				return err
			}
			held = false
		}
		if n := len(p); !ended && n > 0 && p[n-1] == '\n' {
			p, held = p[:n-1], true
		}
		if err := f.lines.write(p, false); err != nil {
			return err
		}
	}
}

func ctxError(ctx context.Context) error {
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
		return ctxError(ctx)
	}
}
