package tail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"raytap/shipper/checkpoint"

	"github.com/cespare/xxhash/v2"

	"raytap/lines"
	"raytap/ray"
)

// maxSameOffsetCloses is how many streams in a row have to end at one offset before it counts
// as unreadable. A few ends at one offset can be chance, and the rest of the log is lost.
const maxSameOffsetCloses = 5

// wsChunk is what one or more Reads of a stream have returned.
type wsChunk struct {
	data     []byte
	buf      *[]byte // the receiver returns it to the pool; nil if more is read into it
	messages uint64  // that have begun since the last chunk
	err      error   // why the stream has ended, after data
}

// idleNotifier is a LogStream that reports when it has to wait for the network.
type idleNotifier interface {
	// OnIdle sets a function that Read and Await call before they wait for the
	// network.
	OnIdle(f func())
	// Await waits until there is data or an error to Read.
	Await()
}

// webSocketReader reads the log from a WebSocket of the dashboard, which replays it from its
// first byte on.
type webSocketReader struct{ *source }

func (r *webSocketReader) read(ctx context.Context) error {
	err := r.follow(ctx)
	var over tailEnd
	if errors.As(err, &over) { // the stream is closed and uses no slot any more
		return r.afterEnd(ctx, over.error)
	}
	return err
}

// tailEnd is why a stream ended, if the run is over and no other transport reads the end.
type tailEnd struct{ error }

// follow opens a stream and reads it until it ends.
func (r *webSocketReader) follow(ctx context.Context) error {
	release, ok := r.cl.acquireNodeTail(r.job.current().DriverNodeID)
	if !ok {
		return errNoSlot
	}
	defer release()
	key := r.job.key
	if !r.slots.Acquire(key) {
		if r.cl.opts.Protocol == ProtocolWebSocket && r.slots.Abandoned(key) {
			r.detectOutput(ctx) // under other protocols another transport does that
		}
		return errNoSlot
	}
	// The slot is saved before the dial, so that the next process counts it after a crash.
	if err := r.cl.out.Checkpoint(ctx, nil, checkpoint.State{}); err != nil {
		r.slots.Refuse(key)
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.cl.client.TailLog(ctx, r.job.current().LogRef())
	if err != nil {
		if neverOpened(err) {
			r.slots.Refuse(key)
		} else {
			r.slots.Closed(key, false) // Ray may have opened the stream anyway
		}
		return err
	}
	done := make(chan struct{})
	incoming := make(chan wsChunk, 2)
	go func() {
		defer close(done)
		readLoop(ctx, stream, r.p.limiter.MaxMessages > 0, incoming)
	}()
	defer func() {
		cancel()
		stream.Close() // its error does not matter any more
		<-done
		r.slots.Closed(key, r.job.terminalAt.IsSet())
	}()
	return r.drain(ctx, incoming)
}

// neverOpened reports whether a failed dial certainly opened no stream on the server: the
// response was a refusal, or no connection was made.
func neverOpened(err error) bool {
	var e *ray.Error
	if errors.As(err, &e) && e.Status != 0 && e.Status != http.StatusSwitchingProtocols {
		return true
	}
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// detectOutput reads the log's last lines while no slot is free. If the job has printed since
// the last call, Ray has noticed that its abandoned stream is closed.
func (r *webSocketReader) detectOutput(ctx context.Context) {
	window, _, err := r.window(ctx, 2)
	if err != nil || window == nil {
		return
	}
	hash := xxhash.Sum64(window)
	if r.lastTailHash != 0 && hash != r.lastTailHash {
		r.slots.Printed(r.job.key)
	}
	r.lastTailHash = hash
}

// readLoop reads a stream until it ends. It sends a chunk when the stream has to wait, or
// when a buffer is full. each: it sends one after every read, so that no chunk has more than
// one message.
func readLoop(ctx context.Context, stream ray.LogStream, each bool, to chan<- wsChunk) {
	var buf *[]byte     // nil while the stream is silent
	var from, n int     // buf[from:n] is not sent yet
	var messages uint64 // that were sent
	reading := false    // Read is using the rest of buf
	send := func(full bool, err error) {
		c := wsChunk{data: (*buf)[from:n], messages: stream.Messages() - messages, err: err}
		from, messages = n, messages+c.messages
		if full {
			c.buf, buf = buf, nil
		}
		select {
		case to <- c:
		case <-ctx.Done():
		}
	}
	w, notifies := stream.(idleNotifier)
	if notifies && !each {
		w.OnIdle(func() {
			if !reading && buf != nil {
				send(true, nil) // a silent stream keeps no buffer
			} else if n > from {
				send(false, nil)
			}
		})
	}
	for ctx.Err() == nil {
		if notifies {
			w.Await()
		}
		if buf == nil {
			buf, from, n = lines.GetChunk(), 0, 0
		}
		reading = true
		got, err := stream.Read((*buf)[n:])
		reading = false
		n += got
		if full := len(*buf)-n < lines.ChunkSize/8; full || each || !notifies || err != nil {
			send(full || err != nil, err)
		}
		if err != nil {
			return
		}
	}
}

// drain ingests chunks until the stream ends, stalls, or a better transport can be used.
func (r *webSocketReader) drain(ctx context.Context, incoming <-chan wsChunk) error {
	in := r.p.replay(WebSocket)
	stall := stallDetector{r: r, in: in}
	silent := time.NewTimer(r.cl.opts.Timeout)
	defer silent.Stop()
	recheck := time.NewTicker(agentRecheckInterval)
	defer recheck.Stop()
	for {
		select {
		case c := <-incoming:
			if err := r.receive(ctx, in, c, len(incoming) == 0); err != nil {
				return err
			}
			stall.strikes = 0
			silent.Reset(r.cl.opts.Timeout)
		case <-r.p.pendingDeadline():
			if err := r.p.flushExpired(ctx, false); err != nil {
				return err
			}
		case <-silent.C:
			if err := stall.check(ctx); err != nil {
				return err
			}
			silent.Reset(r.cl.opts.Timeout)
		case <-recheck.C:
			if in.verifier == nil && r.betterAvailable(ctx, WebSocket) {
				return errBetterTransport
			}
		case <-r.cl.out.Memory.Pressure():
			if err := r.p.yieldMemory(); err != nil {
				return err
			}
			if err := r.job.sleep(ctx, r.cl.opts.PollInterval); err != nil { // until others have released memory
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// receive ingests a chunk. last: no other chunk is waiting.
func (r *webSocketReader) receive(ctx context.Context, in *ingester, c wsChunk, last bool) error {
	err := in.writeMessages(ctx, c.data, c.messages)
	if c.buf != nil {
		lines.PutChunk(c.buf)
	}
	if err != nil {
		return err
	}
	if c.err != nil {
		if err := r.p.FlushPending(ctx); err != nil {
			return err
		}
		if err := r.p.Flush(ctx); err != nil {
			return err
		}
		return r.closed(ctx, c.err)
	}
	if last {
		return r.p.Flush(ctx)
	}
	return nil
}

// writeMessages is write for bytes in which a number of messages begin. They count for
// max_messages.
func (f *ingester) writeMessages(ctx context.Context, data []byte, messages uint64) error {
	if len(data) == 0 {
		return nil
	}
	fresh := f.fresh
	if err := f.write(ctx, data); err != nil {
		return err
	}
	if f.fresh == fresh || messages == 0 {
		return nil // replayed messages do not count
	}
	for {
		exceeded := f.p.limiter.admitMessages(messages, time.Now())
		if exceeded == "" {
			return nil
		}
		if err := f.p.hitLimit(ctx, exceeded); err != nil {
			return err
		}
	}
}

// closed returns what the end of a stream means. The stream itself does not show whether the
// log is complete.
func (r *webSocketReader) closed(ctx context.Context, end error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(end, io.EOF) {
		end = errClosed
	}
	r.job.refresh(ctx)
	if !r.job.terminalAt.IsSet() || r.cl.opts.Protocol != ProtocolWebSocket && !r.cl.support(time.Now()).NoFile {
		return end // the end of the run is read over another transport
	}
	return tailEnd{end}
}

// afterEnd returns what the end of a stream means once the run is over.
func (r *webSocketReader) afterEnd(ctx context.Context, end error) error {
	if err := r.job.waitSettled(ctx); err != nil {
		return err
	}
	textErr := r.selector.textErr
	switch {
	case !r.cl.support(time.Now()).NoFile:
		return r.checkFile(ctx, end)
	case textErr == nil:
		return errRunEnded // the snapshot reads the rest
	case !errors.Is(end, errClosed):
		return end // a broken connection says nothing about the log
	case r.p.Split == nil:
		return fmt.Errorf("%w: a new stream does not return what was read before: %v", errLost, textErr)
	case errors.Is(textErr, ray.ErrNotText):
		return fmt.Errorf("%w: only the node agent could read it: %v", errLost, textErr)
	}
	if err := r.p.FlushPartial(ctx); err != nil {
		return err
	}
	return fmt.Errorf("%w: %v", errUnverified, textErr)
}

// checkFile compares what a stream has returned with the log's file, once the run is over.
func (r *webSocketReader) checkFile(ctx context.Context, end error) error {
	if r.p.Split == nil {
		return r.classifyShortReplay(ctx) // the stream ended before the position
	}
	st := &r.selector.transports[WebSocket]
	// A broken connection says nothing about the log.
	again := errors.Is(end, errClosed) && st.ends > 0 && st.lastAt == r.p.log.Pos.Content
	whole, err := r.atEnd(ctx, true)
	r.cl.noteFileAPI(err, time.Now())
	switch {
	case err == nil && whole:
		if err := r.p.FlushPartial(ctx); err != nil {
			return err
		}
		return errComplete
	case err == nil && again && st.ends >= maxSameOffsetCloses-1:
		return errUnreadable
	}
	return end
}

// stallDetector decides whether a silent stream has stalled or the job is silent.
type stallDetector struct {
	r       *webSocketReader
	in      *ingester
	strikes int
}

// check is called each time the stream was silent for Timeout. It returns nil if the job is
// silent, too.
func (w *stallDetector) check(ctx context.Context) error {
	r := w.r
	if r.job.settled(time.Now()) {
		return r.closed(ctx, fmt.Errorf("%w: the job has ended, but its stream has not", errClosed))
	}
	if w.in.verifier != nil {
		return r.classifyShortReplay(ctx)
	}
	whole, err := r.atEnd(ctx, false)
	switch {
	case err != nil:
		r.job.refresh(ctx) // the job is all that can be checked
	case whole:
		w.strikes = 0
		r.health.success()
	default:
		// The first time a line may be on its way.
		if w.strikes++; w.strikes >= 2 {
			return errSilent
		}
	}
	return nil
}
