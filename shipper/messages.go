package shipper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// replayers is how many logs may be replayed at once to prove a position.
	replayers = 4
	// closedAt is how many ends in a row at one place are the log's end, where
	// nothing else tells it.
	closedAt = 3
)

// errOver: the run is over, and its whole log tells whether all of it was read.
var errOver = errors.New("the run is over: what is left of its log is read as a whole")

// messageRead is one connection that gives a log's messages from the first one on.
type messageRead struct {
	s     *stream
	way   way
	in    *inbox
	f     *feeder
	held  []byte // the first message, while it waits for the second
	ended bool   // a line end was seen before the position
	// uncounted are messages whose text was not taken yet.
	uncounted uint64
	last      time.Time
	pause     time.Duration // until a silent stream is doubted
	doubted   bool
	release   func() // gives the turn to replay back; may be called twice
}

// followMessages reads the log from a stream of messages, which replays it from
// its first one.
func (s *stream) followMessages(ctx context.Context, w way) error {
	release, err := s.replayTurn(ctx)
	if err != nil {
		return err
	}
	defer release()
	if !s.slots.take(s.key) {
		return errNoSlot
	}
	// Not recorded, not dialled: a process that dies now must not forget it.
	if err := s.sh.out.checkpoint(ctx, nil, snapshot{}); err != nil {
		s.slots.refuse(s.key)
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	open := s.sh.messages.TailWebSocket
	if w == waySSE {
		open = s.sh.messages.TailSSE
	}
	tail, err := open(ctx, s.current().SubmissionID)
	if err != nil {
		if unopened(err) {
			s.slots.refuse(s.key)
		} else {
			s.slots.closed(s.key, false) // it may have been opened all the same
		}
		return err
	}
	budget := s.sh.out.budget
	r := &messageRead{s: s, way: w, release: release, last: time.Now(), pause: s.sh.opts.Timeout}
	r.in = newInbox(s.lim.MaxMessages > 0, func(n int64) {
		if n > 0 {
			budget.force(n)
		} else {
			budget.release(-n, false)
		}
	})
	done, j := make(chan struct{}), &joiner{form: s.log.forms[w]}
	go func() {
		defer close(done)
		r.in.fill(ctx, tail, j)
	}()
	var spare []byte
	hungUp := false
	defer func() {
		cancel()
		tail.Close() //nolint:errcheck // nothing is left to lose
		<-done
		r.in.drop(spare)
		// Where the other side ended it, it holds nothing for us any more.
		s.slots.closed(s.key, hungUp || s.terminalAt.isSet())
	}()
	opened := time.Now()
	spare, hungUp, err = r.drain(ctx)
	if r.f.p == nil && time.Since(opened) >= agentLook {
		s.ways[w].fails = 0 // it served for long: that nothing new came is the job's
	}
	return err
}

// replayTurn waits for the turn to replay a log. After a restart of raytap, or
// of the agent, all jobs want to at once.
func (s *stream) replayTurn(ctx context.Context) (release func(), err error) {
	if s.log.pos.content <= smallLog {
		return func() {}, nil
	}
	if err := s.sh.replays.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	held := true
	return func() {
		if held {
			held = false
			s.sh.replays.Release(1)
		}
	}, nil
}

// drain feeds what a stream gives until that ends, or is to end. It gives the
// buffer back that it used, and whether the other side ended the stream.
func (r *messageRead) drain(ctx context.Context) (spare []byte, hungUp bool, err error) {
	s := r.s
	var p *prover
	if s.log.pos.content > 0 {
		p = proveAll(s.log.pos, unknown)
	}
	r.f = s.newFeeder(ctx, r.way, p, unknown)
	look := time.NewTicker(max(s.sh.opts.Linger/2, time.Millisecond))
	defer look.Stop()
	for {
		select {
		case <-r.in.ready:
			c := r.in.take(spare)
			spare = c.data
			if err := r.take(ctx, c); err != nil {
				return spare, false, err
			}
			if c.err != nil || r.in.empty() {
				if err := s.flush(ctx); err != nil {
					return spare, false, err
				}
			}
			if c.err != nil {
				return spare, true, r.over(ctx, c.err)
			}
		case <-s.heldDue():
			if err := s.letRest(ctx, false); err != nil {
				return spare, false, err
			}
		case <-look.C:
			if err := r.look(ctx, time.Now()); err != nil {
				return spare, false, err
			}
		case <-s.sh.out.budget.pressure():
			if s.holds() {
				s.sh.metrics.givenUp.WithLabelValues(s.sh.opts.Cluster).Inc()
				return spare, false, errGiveUp
			}
			if err := s.rest(ctx, s.sh.opts.PollInterval); err != nil { // others must
				return spare, false, err
			}
		case <-ctx.Done():
			return spare, false, ctx.Err()
		}
	}
}

// take feeds a parcel.
func (r *messageRead) take(ctx context.Context, c parcel) error {
	s := r.s
	r.held = c.held
	if c.messages > 0 {
		r.last, r.doubted = time.Now(), false
		s.readable()
	}
	if c.form != s.log.forms[r.way] {
		// Saved before there is a line: a process that dies then must not take
		// the same messages for other lines.
		s.log.forms[r.way] = c.form
		if err := s.sh.out.checkpoint(ctx, s.log.entry, s.log.snapshot); err != nil {
			return err
		}
	}
	proving := r.f.p != nil
	if proving {
		r.ended = r.ended || bytes.ContainsAny(c.data, "\r\n")
	}
	r.uncounted += c.messages
	if len(c.data) == 0 {
		return nil // it waits for the next one
	}
	c.messages, r.uncounted = r.uncounted, 0
	if err := s.takeChunk(ctx, r.f, wsChunk{data: c.data, messages: c.messages}); err != nil {
		return err
	}
	if proving && r.f.p == nil {
		r.release()
		s.unhelpful = 0
		if c.form == formText && !r.ended && s.log.pos.lines > 1 {
			return errBelied // lines were read before, and there is no line end now
		}
	}
	return nil
}

// look is what a stream needs beside its messages: the job's end, and a doubt
// where it is silent for long.
func (r *messageRead) look(ctx context.Context, now time.Time) error {
	s := r.s
	silent := now.Sub(r.last)
	switch {
	case s.due(now) && silent >= s.sh.opts.Linger:
		return r.over(ctx, fmt.Errorf("%w: the job is over and its stream does not end", errEnded))
	case r.f.p == nil && silent < r.pause:
		s.readable() // whoever reads the connection sees to it that it lives
	case silent < r.pause:
	case r.f.p != nil:
		return r.short(ctx)
	default:
		return r.doubt(ctx)
	}
	return nil
}

// doubtMax is the longest pause between two doubts of a silent stream.
const doubtMax = 30 * time.Minute

// doubt asks for the whole log where a stream has been silent for long: it may
// be dead at its source while the connection lives. That is dear, so it is done
// less and less often.
func (r *messageRead) doubt(ctx context.Context) error {
	s := r.s
	r.pause = min(2*r.pause, doubtMax)
	size, err := s.wholeSize(ctx)
	switch {
	case err != nil:
		s.ask(ctx) // nothing more can be known of the log itself
	case size <= s.log.reached+uint64(contentLen(r.held)):
		s.readable()
	case r.doubted:
		return errSilent
	default: // once may be a message on its way
		r.doubted, r.pause = true, s.sh.opts.Timeout
	}
	r.last = time.Now()
	return nil
}

// over decides what the end of a stream means.
func (r *messageRead) over(ctx context.Context, end error) error {
	s := r.s
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(end, errBelied) {
		return end
	}
	known := s.due(time.Now()) // before the end came
	complete := errors.Is(end, io.EOF)
	if complete {
		end = errEnded
	}
	s.ask(ctx)
	if r.f.p != nil && (complete || known) {
		return r.short(ctx)
	}
	if r.f.p != nil || !s.finished() {
		return end
	}
	// Children of the job may still print.
	if err := s.awaitDue(ctx); err != nil {
		return err
	}
	if !s.ways[wayWhole].until.After(time.Now()) {
		return errOver
	}
	// The whole log cannot be had, or lacks what was read. What is left to go by
	// is that the agent says so, of a run that was over before; or that stream
	// after stream ends here.
	st, at := &s.ways[r.way], s.log.reached+uint64(contentLen(r.held))
	if st.lastAt != at {
		st.lastAt, st.ends = at, 0
	}
	if st.ends++; !(complete && known) && st.ends < closedAt {
		return end
	}
	if err := s.cut.feed(r.held, s.emit); err != nil {
		return err
	}
	if err := s.lastLine(ctx); err != nil {
		return err
	}
	return errComplete
}

// awaitDue waits until a run that is over has lingered.
func (s *stream) awaitDue(ctx context.Context) error {
	for !s.due(time.Now()) {
		if err := s.rest(ctx, min(s.sh.opts.Linger, time.Second)); err != nil {
			return err
		}
	}
	return nil
}

// short decides what a replay means that stops short of the position: the log is
// shorter than it was if the whole log is exactly what was replayed.
func (r *messageRead) short(ctx context.Context) error {
	got, held := r.f.p, r.held
	got.settle()
	replayed := got.hash
	replayed.Write(withoutEnds(held)) //nolint:errcheck // xxhash never fails
	want := position{content: got.content + uint64(contentLen(held)), hash: replayed}
	body, release, err := r.s.openWhole(ctx, 0)
	if err != nil {
		return errShort
	}
	defer release()
	p := proveAll(want, unknown)
	rest, err := proveBody(p, body)
	if err == nil && rest == 0 && p.content == want.content && p.proven() {
		return fmt.Errorf("%w: it has %d bytes, and more were read", errReplaced, want.content)
	}
	return errShort
}

// belied goes on in another form, from where the log was read to.
func (s *stream) belied(ctx context.Context, w way) error {
	to, message := formText, "the agent's messages turned out to be pieces of text, not lines: lines before this one may be pieces of lines"
	if s.log.forms[w] == formText {
		to, message = formLines, "the agent's messages turned out to be lines without newlines"
	}
	s.log.forms[w] = to
	at := s.log.pos
	at.lines = 0 // lines of another form are not counted with these
	s.log.leaveEpoch(s.nextLine(), at)
	s.log.restart(at)
	s.enc.setEpoch(s.log.epoch)
	s.logger().WithField("epoch", s.log.epoch).Warn(message)
	return s.tell(ctx, false, s.record(EventEpoch, message))
}

// withoutEnds gives the content bytes of b.
func withoutEnds(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for _, c := range b {
		if c != '\n' && c != '\r' {
			out = append(out, c)
		}
	}
	return out
}
