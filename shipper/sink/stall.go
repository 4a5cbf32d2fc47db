package sink

import (
	"context"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/logthrottle"
)

// Pauses between two attempts.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
)

// relogInterval is the time between two log lines on one lasting failure.
const relogInterval = time.Minute

// stall waits between the attempts of an operation that fails: its pauses grow, and
// it logs the failure at a bounded rate, and the recovery. The zero value is ready
// and means that nothing has failed.
type stall struct {
	pause     time.Duration // the last one; 0 while nothing fails
	condition logthrottle.Condition
}

// wait logs err with a hint for the operator, and pauses. It returns ctx's error if
// ctx ends first.
func (s *stall) wait(ctx context.Context, log logrus.FieldLogger, stats *Stats, err error, hint string) error {
	if s.pause == 0 {
		stats.StalledSince.Store(time.Now().UnixNano())
	}
	if log != nil {
		s.condition.Log, s.condition.Every, s.condition.Level = log, relogInterval, logrus.ErrorLevel
		s.condition.Failed("Sink is blocked, retrying (no data lost)", fmt.Errorf("%w: %s", err, hint))
	}
	s.pause = min(max(2*s.pause, firstPause), maxPause)
	t := time.NewTimer(s.pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// recovered ends the stall.
func (s *stall) recovered(stats *Stats) {
	if s.pause == 0 {
		return
	}
	s.pause = 0
	stats.StalledSince.Store(0)
	s.condition.Recovered("Sink recovered")
}
