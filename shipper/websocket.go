package shipper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/cespare/xxhash/v2"

	"raytap/ray"
)

// errUnpassable: the tail ended at one place again and again, with more of the
// log behind it.
var errUnpassable = errors.New("the WebSocket cannot pass a place in this log (a byte that is not UTF-8, or a line over 4 MiB)")

// unpassableEnds is how many ends in a row at one place make that unpassable: a
// connection can be closed twice at one place by chance, and what is given up is
// lost.
const unpassableEnds = 5

// wsChunk is what some Reads of a tail gave.
type wsChunk struct {
	data     []byte
	buf      *[]byte // to be put back into chunks; nil while more is read into it
	messages uint64  // begun since the last chunk
	err      error
}

// waits is a LogStream that tells when nothing more is at hand.
type waits interface {
	// OnIdle sets a function that Read and Await call before they wait for the
	// network.
	OnIdle(f func())
	// Await waits until there is something to Read, be it an error.
	Await()
}

// followWebSocket reads the log from a tail on the dashboard, which replays it
// from its first byte.
func (s *stream) followWebSocket(ctx context.Context) error {
	err := s.followTail(ctx)
	var over tailEnd
	if errors.As(err, &over) { // the tail is closed, and holds no slot
		return s.tailOver(ctx, over.error)
	}
	return err
}

// tailEnd is how a tail ended whose run is over, where no better way reads the end.
type tailEnd struct{ error }

func (s *stream) followTail(ctx context.Context) error {
	free, ok := s.tailOfNode()
	if !ok {
		return errNoSlot
	}
	defer free()
	key := s.key
	if !s.slots.take(key) {
		if s.sh.opts.Protocol == ProtocolWebSocket && s.slots.abandoned(key) {
			s.watchTip(ctx) // else another way sees what is printed
		}
		return errNoSlot
	}
	// Not recorded, not dialled: a process that dies now must not forget it.
	if err := s.sh.out.checkpoint(ctx, nil, snapshot{}); err != nil {
		s.slots.refuse(key)
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tail, err := s.sh.client.TailLog(ctx, s.current().LogRef())
	if err != nil {
		if unopened(err) {
			s.slots.refuse(key)
		} else {
			s.slots.closed(key, false) // Ray may have opened it all the same
		}
		return err
	}
	done := make(chan struct{})
	incoming := make(chan wsChunk, 2)
	go func() {
		defer close(done)
		pump(ctx, tail, s.lim.MaxMessages > 0, incoming)
	}()
	defer func() {
		cancel()
		tail.Close() //nolint:errcheck // nothing is left to lose
		<-done
		s.slots.closed(key, s.terminalAt.isSet())
	}()
	return s.drain(ctx, incoming)
}

// unopened reports whether a failed dial has surely left no tail on the server:
// it was refused with an HTTP answer, or no connection came about.
func unopened(err error) bool {
	var e *ray.Error
	if errors.As(err, &e) && e.Status != 0 && e.Status != http.StatusSwitchingProtocols {
		return true
	}
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// watchTip looks at the log's end while no slot is free: if the job has printed
// since the last look, Ray notices which of its tails are closed.
func (s *stream) watchTip(ctx context.Context) {
	window, _, err := s.window(ctx, 2)
	if err != nil || window == nil {
		return
	}
	tip := xxhash.Sum64(window)
	if s.tip != 0 && tip != s.tip {
		s.slots.printed(s.key)
	}
	s.tip = tip
}

// pump reads a tail until it ends. It hands over what it has when the tail has
// no more at hand, or a buffer is full; with each, after every read: then no
// chunk holds more than one message. Whoever receives a chunk puts its buffer
// back.
func pump(ctx context.Context, tail ray.LogStream, each bool, to chan<- wsChunk) {
	var buf *[]byte // nil while nothing is to be read
	var from, n int
	var messages uint64
	reading := false // into the rest of buf
	hand := func(full bool, err error) {
		c := wsChunk{data: (*buf)[from:n], messages: tail.Messages() - messages, err: err}
		from, messages = n, messages+c.messages
		if full {
			c.buf, buf = buf, nil
		}
		select {
		case to <- c:
		case <-ctx.Done():
		}
	}
	w, tells := tail.(waits)
	if tells && !each {
		w.OnIdle(func() {
			if !reading && buf != nil {
				hand(true, nil) // a silent tail holds no buffer
			} else if n > from {
				hand(false, nil)
			}
		})
	}
	for ctx.Err() == nil {
		if tells {
			w.Await()
		}
		if buf == nil {
			buf, from, n = chunks.Get().(*[]byte), 0, 0
		}
		reading = true
		got, err := tail.Read((*buf)[n:])
		reading = false
		n += got
		if full := len(*buf)-n < chunkSize/8; full || each || !tells || err != nil {
			hand(full || err != nil, err)
		}
		if err != nil {
			return
		}
	}
}

// drain feeds what a tail gives until that ends, falls silent for no good
// reason, or a better way may be had.
func (s *stream) drain(ctx context.Context, incoming <-chan wsChunk) error {
	var p *prover
	if s.log.pos.content > 0 {
		p = proveAll(s.log.pos, unknown)
	}
	f := s.newFeeder(ctx, wayWebSocket, p, unknown)
	w := silenceWatch{s: s, f: f}
	silent := time.NewTimer(s.sh.opts.Timeout)
	defer silent.Stop()
	again := time.NewTicker(agentLook)
	defer again.Stop()
	for {
		select {
		case c := <-incoming:
			err := s.takeChunk(ctx, f, c)
			if c.buf != nil {
				chunks.Put(c.buf)
			}
			if err != nil {
				return err
			}
			if c.err != nil {
				if err := s.letGo(ctx); err != nil {
					return err
				}
				if err := s.flush(ctx); err != nil {
					return err
				}
				return s.closed(ctx, c.err)
			}
			if len(incoming) == 0 {
				if err := s.flush(ctx); err != nil {
					return err
				}
			}
			w.suspicion = 0
			silent.Reset(s.sh.opts.Timeout)
		case <-s.heldDue():
			if err := s.letRest(ctx, false); err != nil {
				return err
			}
		case <-silent.C:
			if err := w.check(ctx); err != nil {
				return err
			}
			silent.Reset(s.sh.opts.Timeout)
		case <-again.C:
			if f.p == nil && s.better(ctx, wayWebSocket) {
				return errBetter
			}
		case <-s.sh.out.budget.pressure():
			if s.holds() {
				s.sh.metrics.givenUp.WithLabelValues(s.sh.opts.Cluster).Inc()
				return errGiveUp
			}
			if err := s.rest(ctx, s.sh.opts.PollInterval); err != nil { // others must
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *stream) takeChunk(ctx context.Context, f *feeder, c wsChunk) error {
	if len(c.data) == 0 {
		return nil
	}
	fresh := f.fresh
	if err := f.feed(ctx, c.data); err != nil {
		return err
	}
	if f.fresh == fresh || c.messages == 0 {
		return nil // replayed messages count for no limit
	}
	for {
		why := s.lim.admitMessages(c.messages, time.Now())
		if why == "" {
			return nil
		}
		if err := s.hitLimit(ctx, why); err != nil {
			return err
		}
	}
}

// closed decides what the end of a tail means: every end looks the same.
func (s *stream) closed(ctx context.Context, end error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(end, io.EOF) {
		end = errEnded
	}
	s.ask(ctx)
	if !s.terminalAt.isSet() || s.sh.opts.Protocol != ProtocolWebSocket && !s.sh.logWays(time.Now()).NoFile {
		return end // an end of the run is read another way
	}
	return tailEnd{end}
}

// tailProven asks the log's file whether a tail that ended, after its run, has given
// all of it.
func (s *stream) tailProven(ctx context.Context, end error) error {
	if s.cut == nil {
		return s.shortOrReplaced(ctx) // it did not even replay what was read
	}
	st := &s.ways[wayWebSocket]
	// A connection that broke says nothing of the log.
	again := errors.Is(end, errEnded) && st.ends > 0 && st.lastAt == s.log.pos.content
	whole, err := s.endsHere(ctx, true)
	s.sh.foundNoFile(err, time.Now())
	switch {
	case err == nil && whole:
		if err := s.lastLine(ctx); err != nil {
			return err
		}
		return errComplete
	case err == nil && again && st.ends >= unpassableEnds-1:
		return errUnpassable
	}
	return end
}

// endsHere asks for the last lines by the file way and reports whether the log
// ends with what was read, the half line included. sure: where windows do not
// tell, the whole log is read.
func (s *stream) endsHere(ctx context.Context, sure bool) (bool, error) {
	pos := s.cut.position()
	w, err := s.find(ctx, &pos, s.windowFor(2*anchorSize))
	switch {
	case err != nil:
		return false, err
	case w.found == 1, w.found > 1 && !sure, w.whole && pos.content == 0:
		return int64(contentLen(w.text[w.at:])) == s.cut.partSize, nil
	case !sure:
		return false, nil
	}
	return s.endsHereInFull(ctx, pos)
}

func (s *stream) endsHereInFull(ctx context.Context, pos position) (bool, error) {
	if err := s.sh.rereadBudget(ctx, pos.content); err != nil {
		return false, err
	}
	body, err := s.sh.client.LogLines(ctx, s.current().LogRef(), 0)
	if err != nil {
		return false, err
	}
	defer body.Close()
	p := proveAll(pos, unknown)
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	rest := int64(0)
	for {
		n, err := body.Read(*buf)
		b, _ := p.feed((*buf)[:n])
		rest += int64(contentLen(b))
		switch {
		case errors.Is(err, io.EOF):
			return p.content == pos.content && p.proven() && rest == s.cut.partSize, nil
		case err != nil:
			return false, err
		}
	}
}

func contentLen(b []byte) int {
	n := 0
	for _, c := range b {
		if c != '\n' && c != '\r' {
			n++
		}
	}
	return n
}

// silenceWatch decides whether a silent tail is a silent job.
type silenceWatch struct {
	s         *stream
	f         *feeder
	suspicion int
}

// check is called after each stretch of silence. nil: the tail may be silent.
func (w *silenceWatch) check(ctx context.Context) error {
	s := w.s
	if s.due(time.Now()) {
		return s.closed(ctx, fmt.Errorf("%w: the job is over and its tail does not end", errEnded))
	}
	if w.f.p != nil {
		return s.shortOrReplaced(ctx)
	}
	whole, err := s.endsHere(ctx, false)
	switch {
	case err != nil:
		s.ask(ctx) // nothing more can be known of the log itself
	case whole:
		w.suspicion = 0
		s.readable()
	default:
		// Once may be a line on its way.
		if w.suspicion++; w.suspicion >= 2 {
			return errSilent
		}
	}
	return nil
}

// shortOrReplaced decides what a replay means that does not reach the position:
// the log is shorter only if a whole read says so.
func (s *stream) shortOrReplaced(ctx context.Context) error {
	body, err := s.sh.client.LogLines(ctx, s.current().LogRef(), 0)
	if err != nil {
		return errShort
	}
	defer body.Close()
	p := proveAll(s.log.pos, unknown)
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	for {
		n, err := body.Read(*buf)
		_, done := p.feed((*buf)[:n])
		switch {
		case done && p.proven():
			return errShort
		case done, errors.Is(err, io.EOF):
			return errReplaced
		case err != nil:
			return errShort
		}
	}
}
