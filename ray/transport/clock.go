package transport

import (
	"net/http"
	"sync/atomic"
	"time"
)

// clockNoise is the largest difference of clocks that counts as none: the Date of a
// response has whole seconds.
const clockNoise = 2 * time.Second

// clock holds how far a server's clock is ahead of this machine's, by the Date of its
// last response. The zero value is no difference.
type clock struct{ ahead atomic.Int64 }

// update takes the headers of a response to a request that began at began.
func (c *clock) update(h http.Header, began, now time.Time) {
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

// ClockAhead returns how far the server's clock is ahead of this machine's, negative if
// it lags; 0 before the first response, without a Date header, and for less than two
// seconds. A proxy in between may set a Date of its own.
func (c *Client) ClockAhead() time.Duration { return time.Duration(c.clock.ahead.Load()) }
