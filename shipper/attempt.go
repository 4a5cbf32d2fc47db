package shipper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/sirupsen/logrus"

	"raytap/ray"
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
	if over, err := s.settle(ctx); over || err != nil {
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
	if errors.Is(err, errComplete) || errors.Is(err, errLimited) || errors.Is(err, errOutputClosed) {
		return 0, err
	}
	if s.grown {
		r.wait.Reset()
	}
	well := s.ask(ctx)
	if errors.Is(err, errReplaced) && well {
		r.wait.Reset()
		return 0, s.replaced(ctx)
	}
	if err := r.lost.check(ctx, s, err, time.Now()); err != nil {
		return 0, err
	}
	if s.judge(w, err, s.grown, well, time.Now()) {
		return 0, nil
	}
	return r.wait.NextBackOff(), nil
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
		err = s.followWebSocket(ctx)
	case wayFile:
		err = s.followFile(ctx)
	}
	return s.attempted(ctx, w, err)
}

func (s *stream) attempted(ctx context.Context, w way, err error) error {
	if ferr := s.flush(ctx); err == nil {
		err = ferr
	}
	s.drop()
	if ctx.Err() == nil {
		s.sh.metrics.ends.WithLabelValues(s.sh.opts.Cluster, endReason(err)).Inc()
		if !errors.Is(err, errComplete) {
			s.logger().WithFields(logrus.Fields{"way": w.String(), "content": s.log.pos.content}).WithError(err).Debug("A read of this log ended")
		}
		s.complain(w, err)
	}
	return err
}

// complain logs a read that failed, at a bounded rate for all streams together.
func (s *stream) complain(w way, err error) {
	for _, usual := range []error{errComplete, errLimited, errReplaced, errEnded, errNoSlot, errBetter, errGiveUp, ray.ErrWayRefused, errOutputClosed} {
		if errors.Is(err, usual) {
			return
		}
	}
	if !s.failing {
		s.failing = true
		s.sh.unread.Add(1)
	}
	s.sh.reading.Failed(fmt.Sprintf("A job's log cannot be read by the %s way, and is tried again", w), err)
}

// readable notes a successful read.
func (s *stream) readable() {
	s.lastRead.Store(time.Now().UnixNano())
	if s.failing {
		s.failing = false
		if s.sh.unread.Add(-1) == 0 {
			s.sh.reading.Well("All logs can be read again")
		}
	}
}

// endReason names an end in few words, for a label.
func endReason(err error) string {
	for reason, e := range map[string]error{
		"complete": errComplete, "limit": errLimited, "replaced": errReplaced, "closed": errEnded, "silent": errSilent,
		"short_replay": errShort, "no_slot": errNoSlot, "better_way": errBetter, "memory": errGiveUp, "refused": ray.ErrWayRefused,
	} {
		if errors.Is(err, e) {
			return reason
		}
	}
	switch code := ray.Code(err); code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "unauthorized"
	case http.StatusNotFound:
		return "not_found"
	case http.StatusRequestTimeout:
		return "timeout"
	case http.StatusTooManyRequests:
		return "too_many_requests"
	case http.StatusServiceUnavailable:
		return "connection"
	case http.StatusNotImplemented:
		return "unsupported"
	}
	return "error"
}
