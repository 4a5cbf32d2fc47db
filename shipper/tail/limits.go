package tail

import "time"

// The limits of a stream, by their names in the configuration.
const (
	limitMessages = "max_messages"
	limitLines    = "max_lines"
	limitBytes    = "max_bytes"
)

var limitNames = []string{limitMessages, limitLines, limitBytes}

// limiter counts one stream's new data against its limits. The zero value with
// Limits set is ready; it is for one goroutine.
type limiter struct {
	Limits
	messages, lines, bytes uint64
	since                  time.Time // the window's start
}

// bounds reports whether there is a limit on lines at all.
func (l *limiter) bounds() bool { return l.MaxLines > 0 || l.MaxBytes > 0 }

// admit counts one line of size content bytes. It names the limit that the
// line would exceed, or gives "": exactly as many as a limit says pass.
func (l *limiter) admit(size int64, now time.Time) string {
	l.turn(now)
	switch {
	case l.MaxLines > 0 && l.lines+1 > l.MaxLines:
		return limitLines
	case l.MaxBytes > 0 && l.bytes+uint64(size) > l.MaxBytes:
		return limitBytes
	}
	l.lines++
	l.bytes += uint64(size)
	return ""
}

// admitMessages counts n messages of a WebSocket in the same manner.
func (l *limiter) admitMessages(n uint64, now time.Time) string {
	l.turn(now)
	if l.MaxMessages > 0 && l.messages+n > l.MaxMessages {
		return limitMessages
	}
	l.messages += n
	return ""
}

// turn starts the counters anew once the window has passed.
func (l *limiter) turn(now time.Time) {
	if l.since.IsZero() || l.Interval > 0 && now.Sub(l.since) >= l.Interval {
		l.since = now
		l.messages, l.lines, l.bytes = 0, 0, 0
	}
}

// rest is how long the window still lasts.
func (l *limiter) rest(now time.Time) time.Duration {
	return max(0, l.Interval-now.Sub(l.since))
}
