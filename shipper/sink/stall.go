package sink

import (
	"bytes"
	"context"
	"time"

	"github.com/sirupsen/logrus"
)

// The pauses between two tries of something that can heal by itself, and how
// often one that does not is told again.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
	sayAgain   = time.Minute
)

// stall waits out a failure that can heal by itself: its pauses grow, and it
// says the first failure, then one a minute, then the recovery. The zero value
// is ready and means that nothing is wrong.
type stall struct {
	since time.Time // of the first failure
	said  time.Time
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
	if log != nil && (s.said.IsZero() || now.Sub(s.said) >= sayAgain) {
		s.said = now
		log.WithError(err).WithField("tries", s.tries).
			Errorf("sink waits, and lines wait with it (none is lost): %s", remedy)
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

// over ends the stall, and says so if anything was said before.
func (s *stall) over(log logrus.FieldLogger, stats *Stats) {
	if s.tries == 0 {
		return
	}
	stats.StalledSince.Store(0)
	if log != nil {
		log.WithField("tries", s.tries).WithField("waited", time.Since(s.since).Round(time.Millisecond)).
			Info("sink goes on")
	}
	*s = stall{}
}

// countRecords counts the record ends in p.
func countRecords(p []byte) int { return bytes.Count(p, []byte{'\n'}) }
