package shipper

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"raytap/ray"
)

// agentIdle is the longest pause between two looks at a silent log.
const agentIdle = 5 * time.Second

// followAgent reads the log from its node's agent, by ranges: each read begins
// with bytes that are known, so that a log that is not the same is noticed.
func (s *stream) followAgent(ctx context.Context) error {
	var f *feeder
	idle := s.sh.opts.PollInterval
	for {
		due := s.due(time.Now())
		err := s.sh.reads.Acquire(ctx, 1)
		if err != nil {
			return err
		}
		atEnd := false
		f, atEnd, err = s.pollAgent(ctx, f)
		s.sh.reads.Release(1)
		if err != nil {
			return err
		}
		fresh := f.fresh
		f.fresh = 0
		s.readable()
		if due && atEnd {
			if err := s.cut.flush(s.emit); err != nil {
				return err
			}
			if err := s.flush(ctx); err != nil {
				return err
			}
			return errComplete
		}
		if idle = min(idle*3/2, agentIdle); fresh > 0 || s.terminalAt.Load() != 0 {
			idle = s.sh.opts.PollInterval
		}
		if s.underPressure() && s.cut.half() {
			s.sh.metrics.givenUp.WithLabelValues(s.sh.opts.Cluster).Inc()
			return errGiveUp
		}
		if err := s.rest(ctx, idle); err != nil {
			return err
		}
	}
}

// pollAgent reads what is new, and proves the position first where f is nil.
// atEnd tells that it read up to the size that the agent told.
func (s *stream) pollAgent(ctx context.Context, f *feeder) (next *feeder, atEnd bool, err error) {
	pos := &s.log.pos
	var from int64
	var check []byte
	var p *prover
	switch {
	case f != nil:
		check = f.last
		from = s.cut.raw - int64(len(check))
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
	part, err := s.sh.client.AgentLog(ctx, s.current().LogRef(), from)
	if err != nil {
		return nil, false, err
	}
	defer part.Body.Close()
	if part.Size < from+int64(len(check)) || part.Offset > from || pos.raw > part.Size {
		return nil, false, fmt.Errorf("%w (%d bytes, %d were read)", errReplaced, part.Size, max(from+int64(len(check)), pos.raw))
	}
	s.log.size = max(s.log.size, part.Size)
	if _, err := io.CopyN(io.Discard, part.Body, from-part.Offset); err != nil {
		return nil, false, cutShort(err)
	}
	if f != nil {
		got := make([]byte, len(check))
		if _, err := io.ReadFull(part.Body, got); err != nil {
			return nil, false, cutShort(err)
		}
		if !bytes.Equal(got, check) {
			return nil, false, errReplaced
		}
	} else {
		f = s.newFeeder(ctx, wayAgent, p, 0)
	}
	if err := f.readAll(ctx, part.Body); err != nil {
		return nil, false, err
	}
	if f.p != nil {
		return nil, false, fmt.Errorf("%w: it ends before the last line read", errReplaced)
	}
	return f, s.cut.raw >= part.Size, nil
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
