package tail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"raytap/ray"
	"raytap/shipper/checkpoint"

	"raytap/lines"
)

const (
	// closesAtEnd is how many streams in a row have to end at one offset to show that it is
	// the log's end, if nothing else does.
	closesAtEnd = 3
	// maxStallCheck is the maximum pause between two checks of a silent stream.
	maxStallCheck = 30 * time.Minute
)

// messageReader reads the log from a stream of messages (WebSocket or SSE), which replays
// all of them.
type messageReader struct {
	*source
	transport Transport
	buffer    *messageBuffer
	in        *ingester
	held      []byte        // the first message, while the second is missing
	sawEnd    bool          // there is a line end before the position
	uncounted uint64        // messages whose text was not consumed yet
	last      time.Time     // when the last message came, or the stream was checked
	pause     time.Duration // of silence until the stream is checked
	suspect   bool          // the last check found more than the stream has sent
	release   func()        // ends the replay; may be called twice
}

func (r *messageReader) read(ctx context.Context) error {
	release, err := r.acquireReplay(ctx)
	if err != nil {
		return err
	}
	defer release()
	key := r.job.key
	if !r.slots.Acquire(key) {
		return errNoSlot
	}
	// The slot is saved before the dial, so that the next process counts it after a crash.
	if err := r.cl.out.Checkpoint(ctx, nil, checkpoint.State{}); err != nil {
		r.slots.Refuse(key)
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	open := r.cl.messages.TailWebSocket
	if r.transport == SSE {
		open = r.cl.messages.TailSSE
	}
	stream, err := open(ctx, r.job.current().SubmissionID)
	if err != nil {
		if neverOpened(err) {
			r.slots.Refuse(key)
		} else {
			r.slots.Closed(key, false) // the agent may have opened the stream anyway
		}
		return err
	}
	memory := r.cl.out.Memory
	r.release, r.last, r.pause = release, time.Now(), r.cl.opts.Timeout
	r.held, r.sawEnd, r.uncounted, r.suspect = nil, false, 0, false
	r.buffer = newMessageBuffer(r.p.limiter.MaxMessages > 0, func(n int64) {
		if n > 0 {
			memory.Force(n)
		} else {
			memory.Release(-n, false)
		}
	})
	done, d := make(chan struct{}), &lines.Deframer{Framing: *r.framing()}
	go func() {
		defer close(done)
		r.buffer.fill(ctx, stream, d)
	}()
	var spare []byte
	closedByServer := false
	defer func() {
		cancel()
		stream.Close() // its error does not matter any more
		<-done
		r.buffer.free(spare)
		// If the server has ended the stream, it holds no slot for it any more.
		r.slots.Closed(key, closedByServer || r.job.terminalAt.IsSet())
	}()
	opened := time.Now()
	spare, closedByServer, err = r.drain(ctx)
	if r.in.verifier == nil && time.Since(opened) >= agentRecheckInterval {
		r.selector.transports[r.transport].fails = 0 // it worked for long; the job was silent
	}
	return err
}

// framing returns the remembered framing of the reader's transport.
func (r *messageReader) framing() *lines.Framing { return r.p.framing(r.transport) }

// framing returns the remembered framing of a transport.
func (p *pipeline) framing(t Transport) *lines.Framing {
	if t == SSE {
		return &p.log.Framings.SSE
	}
	return &p.log.Framings.WebSocket
}

// acquireReplay waits until the log may be replayed: after a restart of raytap or of the
// agent all logs are due at once. release may be called twice.
func (r *messageReader) acquireReplay(ctx context.Context) (release func(), err error) {
	if r.p.log.Pos.Content <= smallLog {
		return func() {}, nil
	}
	if err := r.cl.load.replays.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	held := true
	return func() {
		if held {
			held = false
			r.cl.load.replays.Release(1)
		}
	}, nil
}

// drain ingests messages until the stream ends or has to be closed. It returns the buffer
// that it used, and whether the server ended the stream.
func (r *messageReader) drain(ctx context.Context) (spare []byte, closedByServer bool, err error) {
	r.in = r.p.replay(r.transport)
	tick := time.NewTicker(max(r.cl.opts.GracePeriod/2, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-r.buffer.ready:
			c := r.buffer.receive(spare)
			spare = c.data
			if err := r.ingest(ctx, c); err != nil {
				return spare, false, err
			}
			if c.err != nil || r.buffer.empty() {
				if err := r.p.Flush(ctx); err != nil {
					return spare, false, err
				}
			}
			if c.err != nil {
				return spare, true, r.onEnd(ctx, c.err)
			}
		case <-r.p.pendingDeadline():
			if err := r.p.flushExpired(ctx, false); err != nil {
				return spare, false, err
			}
		case <-tick.C:
			if err := r.tick(ctx, time.Now()); err != nil {
				return spare, false, err
			}
		case <-r.cl.out.Memory.Pressure():
			if err := r.p.yieldMemory(); err != nil {
				return spare, false, err
			}
			if err := r.job.sleep(ctx, r.cl.opts.PollInterval); err != nil { // until others have released memory
				return spare, false, err
			}
		case <-ctx.Done():
			return spare, false, ctx.Err()
		}
	}
}

// ingest passes a batch of messages to the pipeline.
func (r *messageReader) ingest(ctx context.Context, c messageBatch) error {
	r.held = c.held
	if c.messages > 0 {
		r.last, r.suspect = time.Now(), false
		r.health.success()
	}
	if c.framing != *r.framing() {
		// Saved before the first line, so that the next process splits the same messages
		// into the same lines after a crash.
		*r.framing() = c.framing
		if err := r.cl.out.Checkpoint(ctx, r.p.log.Entry, r.p.log.State); err != nil {
			return err
		}
	}
	verifying := r.in.verifier != nil
	if verifying {
		r.sawEnd = r.sawEnd || bytes.ContainsAny(c.data, "\r\n")
	}
	r.uncounted += c.messages
	if len(c.data) == 0 {
		return nil // the first message is held
	}
	messages := r.uncounted
	r.uncounted = 0
	if err := r.in.writeMessages(ctx, c.data, messages); err != nil {
		return err
	}
	if verifying && r.in.verifier == nil {
		r.release()
		r.snapshotMismatches = 0
		if c.framing == lines.FramingStream && !r.sawEnd && r.p.log.Pos.Lines > 1 {
			return errFramingMismatch // several lines were read before, but now there is no line end
		}
	}
	return nil
}

// tick checks for the job's end, and for a stream that is silent for long.
func (r *messageReader) tick(ctx context.Context, now time.Time) error {
	silent := now.Sub(r.last)
	switch {
	case r.job.settled(now) && silent >= r.cl.opts.GracePeriod:
		return r.onEnd(ctx, fmt.Errorf("%w: the job has ended, but its stream has not", errClosed))
	case r.in.verifier == nil && silent < r.pause:
		r.health.success() // the client checks that the connection is alive
	case silent < r.pause:
	case r.in.verifier != nil:
		return r.classifyShort(ctx)
	default:
		return r.checkStalled(ctx)
	}
	return nil
}

// checkStalled compares a silent stream with a snapshot: the stream may be dead while its
// connection is alive. A snapshot is expensive, so each pause is twice as long as the last.
func (r *messageReader) checkStalled(ctx context.Context) error {
	r.pause = min(2*r.pause, maxStallCheck)
	size, err := r.snapshotSize(ctx)
	switch {
	case err != nil:
		r.job.refresh(ctx) // the job is all that can be checked
	case size <= r.reached():
		r.health.success()
	case r.suspect:
		return errSilent
	default: // the first time a message may be on its way
		r.suspect, r.pause = true, r.cl.opts.Timeout
	}
	r.last = time.Now()
	return nil
}

// reached returns how many content bytes were read, those of a held message included.
func (r *messageReader) reached() uint64 {
	return r.p.log.Reached + uint64(lines.ContentLen(r.held))
}

// onEnd returns what the end of a stream means.
func (r *messageReader) onEnd(ctx context.Context, end error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(end, errFramingMismatch) {
		return end
	}
	known := r.job.settled(time.Now()) // before the stream ended
	complete := errors.Is(end, io.EOF)
	if complete {
		end = errClosed
	}
	r.job.refresh(ctx)
	if r.in.verifier != nil && (complete || known) {
		return r.classifyShort(ctx)
	}
	if r.in.verifier != nil || !r.job.finished() {
		return end
	}
	// Child processes of the job may still print.
	if err := r.job.waitSettled(ctx); err != nil {
		return err
	}
	if !r.selector.transports[Snapshot].until.After(time.Now()) {
		return errRunEnded
	}
	// There is no snapshot, or it lacks what was read. The log is complete if the agent ends
	// the stream of a run that was over before, or if several streams end here.
	st, at := &r.selector.transports[r.transport], r.reached()
	if st.lastAt != at {
		st.lastAt, st.ends = at, 0
	}
	if st.ends++; !(complete && known) && st.ends < closesAtEnd {
		return end
	}
	if err := r.p.SplitLines(ctx, r.held); err != nil {
		return err
	}
	if err := r.p.FlushPartial(ctx); err != nil {
		return err
	}
	return errComplete
}

// classifyShort returns why a replay did not reach the position: errReplaced if a snapshot is
// exactly what was replayed, else errShortReplay.
func (r *messageReader) classifyShort(ctx context.Context) error {
	want := r.in.verifier.Seen(r.held)
	body, release, err := r.openSnapshot(ctx, 0)
	if err != nil {
		return errShortReplay
	}
	defer release()
	v := lines.VerifyAll(want, lines.UnknownOffset)
	rest, err := v.FeedAll(body)
	if err == nil && rest == 0 && v.Done() && v.OK() {
		return fmt.Errorf("%w (it has %d bytes, more were read before)", errReplaced, want.Content)
	}
	return errShortReplay
}

// switchFraming changes the framing of a transport, and starts a new epoch at the position.
func (s *source) switchFraming(ctx context.Context, t Transport) error {
	to, message := lines.FramingStream, "the agent's messages are pieces of text, not lines: lines before this one may be pieces of lines"
	log := s.p.log
	framing := s.p.framing(t)
	if *framing == lines.FramingStream {
		to, message = lines.FramingLines, "the agent's messages are lines without newlines, not pieces of text"
	}
	*framing = to
	at := log.Pos
	at.Lines = 0 // lines of the other framing are not comparable
	return s.p.newEpoch(ctx, at, checkpoint.Generation{}, message)
}

// messageBatch is the text of consecutive messages.
type messageBatch struct {
	data     []byte
	messages uint64
	framing  lines.Framing
	held     []byte // the message that the deframer holds
	err      error  // why the stream has ended, after data
}

// messageBuffer collects messages while their receiver is busy: about one chunk, plus one
// message. One goroutine fills it, another receives.
type messageBuffer struct {
	mu    sync.Mutex
	next  messageBatch
	each  bool          // a batch has at most one message
	ready chan struct{} // something can be received
	room  chan struct{} // something was received
	// grew is called with the number of bytes by which a buffer outgrows a chunk, and with
	// the negative number when they are released.
	grew func(n int64)
}

func newMessageBuffer(each bool, grew func(int64)) *messageBuffer {
	return &messageBuffer{each: each, ready: make(chan struct{}, 1), room: make(chan struct{}, 1), grew: grew}
}

// fill adds a stream's messages until the stream or ctx ends.
func (in *messageBuffer) fill(ctx context.Context, stream ray.MessageStream, d *lines.Deframer) {
	for {
		m, err := stream.Next()
		in.mu.Lock()
		for in.full() {
			in.mu.Unlock()
			select {
			case <-in.room:
			case <-ctx.Done():
				return
			}
			in.mu.Lock()
		}
		if err == nil {
			before := cap(in.next.data)
			ok := false
			if in.next.data, ok = d.Append(in.next.data, m); !ok {
				err = errFramingMismatch
			}
			in.next.messages++
			if after := cap(in.next.data); after > max(before, lines.ChunkSize) {
				in.grew(int64(after - max(before, lines.ChunkSize)))
			}
		}
		in.next.framing, in.next.held, in.next.err = d.Framing, d.Held(), err
		in.mu.Unlock()
		select {
		case in.ready <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// full reports whether fill has to wait. in.mu is held.
func (in *messageBuffer) full() bool {
	return len(in.next.data) >= lines.ChunkSize || in.each && in.next.messages > 0
}

// receive returns the collected messages, and uses spare, the data of the call before, as
// the next buffer.
func (in *messageBuffer) receive(spare []byte) messageBatch {
	if n := cap(spare); n > 2*lines.ChunkSize { // the buffer of a rare long message is not kept
		in.grew(-int64(n - lines.ChunkSize))
		spare = nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	p := in.next
	in.next = messageBatch{data: spare[:0]}
	select {
	case in.room <- struct{}{}:
	default:
	}
	return p
}

// empty reports whether nothing can be received now.
func (in *messageBuffer) empty() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.next.messages == 0 && in.next.err == nil
}

// free releases the buffers. fill has returned.
func (in *messageBuffer) free(spare []byte) {
	for _, b := range [][]byte{spare, in.next.data} {
		if n := cap(b); n > lines.ChunkSize {
			in.grew(-int64(n - lines.ChunkSize))
		}
	}
	in.next.data = nil
}
