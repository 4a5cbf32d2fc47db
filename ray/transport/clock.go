package transport

import (
	"net/http"
	"sync/atomic"
	"time"
)

// clockNoise is the difference of clocks that is taken for none: the Date of an
// answer has whole seconds.
const clockNoise = 2 * time.Second

// clock is how far a server's clock is ahead of this machine's, by the Date of its
// last answer. The zero value is a server without a difference.
type clock struct{ ahead atomic.Int64 }

// note takes an answer to a request that began then.
func (c *clock) note(h http.Header, began, now time.Time) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	// The server wrote it between both times, within the second that it names.
	low, high := date.Sub(now), date.Add(time.Second).Sub(began)
	ahead := (low + high) / 2
	if low-clockNoise < 0 && high+clockNoise > 0 {
		ahead = 0
	}
	c.ahead.Store(int64(ahead))
}

// ClockAhead returns how far the server's clock is ahead of this machine's, negative
// where it is behind; 0 before the first answer, where answers have no Date, and for
// less than two seconds. A proxy in between may answer with a Date of its own.
func (c *Client) ClockAhead() time.Duration { return time.Duration(c.clock.ahead.Load()) }
