package shipper

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/sirupsen/logrus"
)

// follow reads by one way after the other. The error tells why the stream is over.
//
// What a stream waits in, from here to rest, keeps to small frames: thousands of
// silent ones have little memory but their stacks.
func (s *stream) follow(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	r := s.newRetry()
	for {
		w, pause := s.choose(time.Now())
		if w != wayNone {
			err := s.attempt(ctx, w)
			if pause, err = s.again(ctx, r, w, err); err != nil {
				return err
			}
			if pause == 0 {
				continue
			}
		}
		s.enter(w, false)
		if err := s.rest(ctx, pause); err != nil {
			return err
		}
	}
}

// ready does what comes before the first read.
func (s *stream) ready(ctx context.Context) error {
	over, err := s.settle(ctx)
	if err == nil && s.reopening && over {
		s.log.node = s.current().DriverNodeID
		return nil
	}
	s.reopening = false
	if over || err != nil {
		return cmp.Or(err, errSettled)
	}
	if err := s.awaitStart(ctx); err != nil {
		return err
	}
	return s.startEvent(ctx)
}

// retry is what the attempts of one stream have come to.
type retry struct {
	wait *backoff.ExponentialBackOff
	lost lostWatch
}

func (s *stream) newRetry() *retry {
	return &retry{wait: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(s.sh.opts.BackoffInitial),
		backoff.WithMaxInterval(s.sh.opts.BackoffMax),
		backoff.WithMaxElapsedTime(0), // never give up
	)}
}

// again decides what comes after an attempt that ended with err: another one
// after a pause, or the stream's end.
func (s *stream) again(ctx context.Context, r *retry, w way, err error) (time.Duration, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if endsStream(err) {
		return 0, err
	}
	if s.grown {
		r.wait.Reset()
	}
	well := !unasked(err) && s.ask(ctx)
	if errors.Is(err, errReplaced) && w == wayWebSocket && s.superseded.Load() && s.sh.opts.Protocol != ProtocolWebSocket {
		err = errEnded // a tail knows the id alone: it was one of the new run's log
	}
	if errors.Is(err, errReplaced) && s.reopening {
		s.logger().WithError(err).Warn("The log was replaced after the end of its run")
		return 0, errSettled
	}
	if errors.Is(err, errReplaced) && well {
		r.wait.Reset()
		return 0, s.replaced(ctx)
	}
	if errors.Is(err, errBelied) {
		if err := s.belied(ctx, w); err != nil {
			return 0, err
		}
	}
	if s.sh.messages != nil && well && s.noLog(w, err) {
		return 0, errUnstarted
	}
	if err := r.lost.check(ctx, s, err, time.Now()); err != nil {
		return 0, err
	}
	r.lost.pause = 0
	if s.judge(w, err, s.grown, well, time.Now()) {
		return 0, nil
	}
	if errors.Is(err, errNoSlot) { // nothing failed: the streams that wait share the looks for a free one
		return s.sh.opts.BackoffMax/2 + rand.N(s.sh.opts.BackoffMax), nil
	}
	r.lost.pause = max(r.wait.NextBackOff(), retryAfter(err))
	return r.lost.pause, nil
}

// endsStream reports whether an attempt's error ends the stream.
func endsStream(err error) bool {
	for _, last := range []error{errComplete, errUnstarted, errUnproven, errLost, errLimited, errOutputClosed} {
		if errors.Is(err, last) {
			return true
		}
	}
	return false
}

// attempt reads by one way until that ends, and counts why.
func (s *stream) attempt(ctx context.Context, w way) error {
	s.enter(w, true)
	s.grown = false
	var err error
	switch w {
	case wayAgent:
		err = s.followAgent(ctx)
	case wayWebSocket:
		if s.sh.messages != nil {
			err = s.followMessages(ctx, w)
		} else {
			err = s.followWebSocket(ctx)
		}
	case wayFile:
		err = s.followFile(ctx)
	case waySSE:
		err = s.followMessages(ctx, w)
	case wayWhole:
		if s.sh.messages != nil {
			err = s.followWhole(ctx)
		} else {
			err = s.followText(ctx)
		}
	}
	return s.attempted(ctx, w, err)
}

func (s *stream) attempted(ctx context.Context, w way, err error) error {
	if ctx.Err() == nil { // else release does it
		ferr := s.letGo(ctx) // what was read is shipped, whatever comes next
		if ferr = cmp.Or(s.flush(ctx), ferr); err == nil {
			err = ferr
		}
		s.drop()
		s.sh.metrics.ends.WithLabelValues(s.sh.opts.Cluster, endReason(err)).Inc()
		if !errors.Is(err, errComplete) {
			s.logger().WithFields(logrus.Fields{"transport": w.String(), "content": s.log.pos.content}).WithError(err).Debug("A read of this log ended")
		}
		s.complain(w, err)
	}
	return err
}
