package sink

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"
)

// The pauses between two tries of something that can heal by itself, and the
// least time between two lines on one that lasts, and on one that comes again.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
	sayAgain   = time.Minute
	sayAnother = 10 * time.Second
)

// stall waits out a failure that can heal by itself: its pauses grow, and it
// logs the failure at a bounded rate, and the recovery from one that was
// logged. The zero value is ready and means that nothing is wrong.
type stall struct {
	since time.Time // of the first failure
	said  time.Time // the last line on a failure, of this stall or an earlier one
	told  bool      // this stall was logged
	pause time.Duration
	tries int
}

// wait tells of err, and pauses; it returns ctx's error where that ended first.
// remedy is what the operator can do.
func (s *stall) wait(ctx context.Context, log logrus.FieldLogger, stats *Stats, err error, remedy string) error {
	now := time.Now()
	if s.tries == 0 {
		s.since = now
		stats.StalledSince.Store(now.UnixNano())
	}
	s.tries++
	quiet := sayAgain
	if !s.told {
		quiet = sayAnother
	}
	if log != nil && (s.said.IsZero() || now.Sub(s.said) >= quiet) {
		s.said, s.told = now, true
		log.WithField("tries", s.tries).
			Errorf("The sink waits, and all lines with it (none is lost): %v: %s", err, remedy)
	}
	s.pause = min(max(2*s.pause, firstPause), lastPause)
	t := time.NewTimer(s.pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// over ends the stall.
func (s *stall) over(log logrus.FieldLogger, stats *Stats) {
	if s.tries == 0 {
		return
	}
	stats.StalledSince.Store(0)
	if log != nil && s.told {
		log.WithFields(logrus.Fields{
			"tries": s.tries, "waited": time.Since(s.since).Round(time.Millisecond).String(),
		}).Info("The sink goes on.")
	}
	*s = stall{said: s.said}
}
