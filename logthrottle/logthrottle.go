// Package logthrottle logs a lasting failure at a bounded rate: the first time at
// once, then from time to time with a count, and once more when it is over.
package logthrottle

import (
	"cmp"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// Defaults of Condition.
const (
	DefaultEvery = 5 * time.Minute
	DefaultGap   = 10 * time.Second
)

// Condition is something that works or fails. The zero value with a Log is ready to
// use. It is safe for concurrent use.
type Condition struct {
	Log logrus.FieldLogger
	// Every is the time between two log lines about a lasting failure; 0 is 5 min.
	Every time.Duration
	// Gap is the minimum time before a log line about another failure: one with
	// another cause, or after a recovery; 0 is 10 s. A condition that comes and goes
	// so logs at most two lines in each Gap.
	Gap time.Duration
	// Level is the level of lines about failures; 0 is logrus.WarnLevel.
	Level logrus.Level

	mu       sync.Mutex
	since    time.Time // of the first failure
	count    int       // failures since then; 0: it works
	logged   bool      // this failure is logged
	cause    string    // as logged
	loggedAt time.Time // of the last log line about a failure
}

// Failed records a failure, and logs message with the field error if it is time.
func (c *Condition) Failed(message string, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, text := time.Now(), cause.Error()
	if c.count == 0 {
		c.since = now
	}
	c.count++
	wait := c.every()
	if !c.logged || text != c.cause {
		wait = c.gap()
	}
	if !c.loggedAt.IsZero() && now.Sub(c.loggedAt) < wait {
		return
	}
	log := c.Log.WithField("error", text)
	if c.count > 1 {
		log = log.WithFields(logrus.Fields{"failures": c.count, "for": round(now.Sub(c.since)).String()})
	}
	c.logged, c.cause, c.loggedAt = true, text, now
	log.Log(cmp.Or(c.Level, logrus.WarnLevel), message)
}

// Recovered records that it works, and logs message if a failure was logged before.
func (c *Condition) Recovered(message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.logged {
		c.Log.WithFields(logrus.Fields{
			"failures": c.count, "for": round(time.Since(c.since)).String(),
		}).Info(message)
	}
	c.count, c.logged, c.cause = 0, false, ""
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
