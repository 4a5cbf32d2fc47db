package shipper

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/cespare/xxhash/v2"

	"raytap/ray"
)

// agentIdle is the longest pause between two looks at a silent log.
const agentIdle = 5 * time.Second

// followAgent reads the log from its node's agent, by ranges: each read begins
// with bytes that are known, so that a log that is not the same is noticed.
func (s *stream) followAgent(ctx context.Context) error {
	var f *feeder
	var at foot
	idle, busy := s.sh.opts.PollInterval, false
	agent := s.current().DriverAgentURL
	mark, answered := s.sh.hosts.mark(agent), false
	for {
		due := s.due(time.Now())
		if err := s.sh.reads.Acquire(ctx, 1); err != nil {
			return err
		}
		if now := s.sh.hosts.mark(agent); !answered && now != mark && !now.IsZero() {
			s.sh.reads.Release(1)
			return errAgentDown
		}
		atEnd := false
		poll := func() (err error) {
			if f == nil && at.size > 0 {
				if atEnd, err = s.stillAt(ctx, at); err != nil || atEnd {
					return err
				}
			}
			f, atEnd, err = s.pollAgent(ctx, f)
			return err
		}
		var err error
		if busy {
			err = poll()
		} else {
			err = aside(poll)
		}
		s.sh.reads.Release(1)
		if err != nil {
			return err
		}
		if !answered {
			s.sh.hosts.markUp(agent)
			answered = true
		}
		s.readable()
		if due && atEnd {
			return s.completed(ctx)
		}
		if idle = min(idle*3/2, agentIdle); f != nil && f.fresh > 0 || s.terminalAt.isSet() {
			idle = s.sh.opts.PollInterval
		}
		busy = f != nil && f.fresh > 0
		if f != nil {
			f.fresh = 0
			if s.underPressure() && s.holds() {
				s.sh.metrics.givenUp.WithLabelValues(s.sh.opts.Cluster).Inc()
				return errGiveUp
			}
			if idle == agentIdle && s.canRest() {
				f, at = nil, f.foot()
				s.drop()
			}
		}
		if err := s.rest(ctx, idle); err != nil {
			return err
		}
	}
}

// completed gives the half line, if there is one, as the log's last.
func (s *stream) completed(ctx context.Context) error {
	if s.cut == nil {
		return errComplete // all that was read is handed over
	}
	if err := s.lastLine(ctx); err != nil {
		return err
	}
	return errComplete
}

// aside runs f on a goroutine of its own, and waits for it. A read needs some
// deep calls, and a goroutine keeps the stack that its deepest one took: a
// stream would keep it while its job is silent. The stack of one whose job prints
// is worth keeping.
func aside(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return <-done
}

// foot is where a silent log ended: its last raw bytes, by their hash.
type foot struct {
	raw  int64 // where they end
	size int   // at most checkSize; 0: nothing is known
	hash uint64
}

func (f *feeder) foot() foot {
	return foot{raw: f.s.cut.raw, size: len(f.last), hash: xxhash.Sum64(f.last)}
}

// canRest reports whether the log can be read on without the cutter: all that it
// holds was handed over, or is read again with the anchor.
func (s *stream) canRest() bool {
	pos := &s.log.pos
	return !s.cut.half() && s.cut.lines == pos.lines && pos.content > 0 && pos.rereadable() &&
		s.cut.raw-pos.anchor.start <= maxStretch
}

// stillAt reports whether the log still ends where it did. Its end is looked at,
// as by every read.
func (s *stream) stillAt(ctx context.Context, at foot) (bool, error) {
	part, err := s.openAgent(ctx, at.raw-int64(at.size), at.raw)
	if err != nil {
		return false, err
	}
	defer part.Body.Close()
	if err := at.check(part.Body); err != nil {
		return false, err
	}
	return part.Size == at.raw, nil
}

// check reads the foot's bytes.
func (at foot) check(body io.Reader) error {
	got := make([]byte, at.size)
	if _, err := io.ReadFull(body, got); err != nil {
		return cutShort(err)
	}
	if xxhash.Sum64(got) != at.hash {
		return errReplaced
	}
	return nil
}

// openAgent asks for the log from an offset on. A log of less than so many bytes
// is not the one that was read before.
func (s *stream) openAgent(ctx context.Context, from, least int64) (ray.LogRange, error) {
	part, err := s.sh.client.AgentLog(ctx, s.current().LogRef(), from)
	if err != nil {
		return part, err
	}
	least = max(least, s.log.pos.raw)
	if part.Size < least || part.Offset > from {
		err = fmt.Errorf("%w (%d bytes, %d were read)", errReplaced, part.Size, least)
	} else if _, cut := io.CopyN(io.Discard, part.Body, from-part.Offset); cut != nil {
		err = cutShort(cut)
	}
	if err != nil {
		part.Body.Close() //nolint:errcheck // it is the lesser error
		return part, err
	}
	s.log.size = max(s.log.size, part.Size)
	return part, nil
}

// pollAgent reads what is new, and proves the position first where f is nil.
// atEnd tells that it read up to the size that the agent told.
func (s *stream) pollAgent(ctx context.Context, f *feeder) (next *feeder, atEnd bool, err error) {
	pos := &s.log.pos
	var from int64
	var at foot
	var p *prover
	switch {
	case f != nil:
		at = f.foot()
		from = at.raw - int64(at.size)
	case pos.content == 0:
	case pos.rereadable():
		p = proveAnchor(*pos)
		from = pos.anchor.start
	default:
		if err := s.sh.rereadBudget(ctx, pos.content); err != nil {
			return nil, false, err
		}
		p = proveAll(*pos, 0)
	}
	part, err := s.openAgent(ctx, from, from+int64(at.size))
	if err != nil {
		return nil, false, err
	}
	defer part.Body.Close()
	if f == nil {
		f = s.newFeeder(ctx, wayAgent, p, 0)
	} else if err := at.check(part.Body); err != nil {
		return nil, false, err
	}
	if err := f.readAll(ctx, part.Body); err != nil {
		return nil, false, err
	}
	if f.p != nil {
		return nil, false, fmt.Errorf("%w: it ends before the last line read", errReplaced)
	}
	return f, s.cut.raw >= part.Size, s.endRead(ctx)
}

func cutShort(err error) error {
	return &ray.Error{Op: "read log", Code: 503, Detail: "the answer was cut short: " + err.Error(), Err: err}
}

// underPressure reports whether half lines at rest must be let go.
func (s *stream) underPressure() bool {
	select {
	case <-s.sh.out.budget.pressure():
		return true
	default:
		return false
	}
}

// agentAnswers tries the agent's way without giving up for it what goes well.
func (s *stream) agentAnswers(ctx context.Context) bool {
	ref := s.current().LogRef()
	err := aside(func() error {
		part, err := s.sh.client.AgentLog(ctx, ref, max(0, s.log.size))
		if err == nil {
			part.Body.Close() //nolint:errcheck // read for its headers
		}
		return err
	})
	switch now := time.Now(); {
	case err == nil:
		s.sh.hosts.markUp(ref.AgentURL)
	case ctx.Err() != nil:
	case shutsOut(err), unreachable(ray.Code(err)):
		s.sh.hosts.markDown(ref.AgentURL, err, now)
	default: // it is about this log
		s.ways[wayAgent].until = now.Add(stepDown)
	}
	return err == nil
}
