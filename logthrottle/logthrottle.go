// Package logthrottle logs a failure that lasts without filling the log with it:
// its first time at once, then at a bounded rate with a count, and once when it
// is over.
package logthrottle

import (
	"cmp"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// What stands for zero in a Condition.
const (
	DefaultEvery = 5 * time.Minute
	DefaultGap   = 10 * time.Second
)

// Condition is one thing that is well or fails. Its zero value with a Log is
// ready, and it is safe for concurrent use.
type Condition struct {
	Log logrus.FieldLogger
	// Every is the pause between two lines on a failure that lasts; 0 is 5 min.
	Every time.Duration
	// Gap is the pause before a line on another failure: one that has another
	// cause, or that follows a recovery; 0 is 10 s. So a condition that comes
	// and goes makes at most two lines in it.
	Gap time.Duration
	// Level is that of lines on a failure; 0 is logrus.WarnLevel.
	Level logrus.Level

	mu     sync.Mutex
	since  time.Time // of the first failure; zero while all is well
	count  int       // failures since then
	told   bool      // this failure has had its line
	cause  string    // as it was told
	lineAt time.Time // of the last line on a failure
}

// Failed notes a failure and logs it as "message: cause" if its time has come.
func (c *Condition) Failed(message string, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, text := time.Now(), cause.Error()
	if c.count == 0 {
		c.since = now
	}
	c.count++
	wait := c.every()
	if !c.told || text != c.cause {
		wait = c.gap()
	}
	if !c.lineAt.IsZero() && now.Sub(c.lineAt) < wait {
		return
	}
	fields := logrus.Fields{}
	if c.count > 1 {
		fields["failures"], fields["for"] = c.count, round(now.Sub(c.since)).String()
	}
	c.told, c.cause, c.lineAt = true, text, now
	c.Log.WithFields(fields).Log(cmp.Or(c.Level, logrus.WarnLevel), message+": "+text)
}

// Recovered notes that all is well, and logs message if a failure was logged before.
func (c *Condition) Recovered(message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told {
		c.Log.WithFields(logrus.Fields{
			"failures": c.count, "for": round(time.Since(c.since)).String(),
		}).Info(message)
	}
	c.count, c.told, c.cause = 0, false, ""
}

func (c *Condition) every() time.Duration {
	if c.Every > 0 {
		return c.Every
	}
	return DefaultEvery
}

func (c *Condition) gap() time.Duration {
	if c.Gap > 0 {
		return c.Gap
	}
	return DefaultGap
}

func round(d time.Duration) time.Duration {
	if d < 10*time.Second {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(time.Second)
}
