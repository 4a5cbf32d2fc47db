package nodelogs

import (
	"sync"
	"time"

	"raytap/shipper/tail"
)

// limits count the new lines of each log against its limits. They hold something only for
// logs that a limit applies to.
type limits struct {
	tail.Limits
	mu   sync.Mutex
	logs map[*entry]*limitedLog
}

type limitedLog struct {
	tail.Limiter
	lines uint64 // that were counted
}

// admit counts line seq of a log. It returns the limit that the line would exceed, "" if it
// passes; pause: reading continues after the interval.
func (l *limits) admit(e *entry, seq uint64, size int64) (limit string, pause bool) {
	if l.MaxLines == 0 && l.MaxBytes == 0 {
		return "", false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	log := l.logs[e]
	if log == nil {
		log = &limitedLog{Limiter: tail.Limiter{Limits: l.Limits}}
		if l.logs == nil {
			l.logs = map[*entry]*limitedLog{}
		}
		l.logs[e] = log
	}
	if seq < log.lines {
		return "", false // it is read again
	}
	if limit = log.Admit(size, time.Now()); limit == "" {
		log.lines = seq + 1
	}
	return limit, l.pauses()
}

// pauses reports whether a log goes on after a limit.
func (l *limits) pauses() bool { return l.Pause && l.Interval > 0 }

// remaining returns how long a log that has reached a limit waits.
func (l *limits) remaining(e *entry, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if log := l.logs[e]; log != nil {
		return log.Remaining(now)
	}
	return 0
}

// forget forgets a log.
func (l *limits) forget(e *entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.logs, e)
}

// progress remembers when a record of a progress bar was last written, for the logs that have
// one: a look at a log knows nothing of the look before.
type progress struct {
	interval time.Duration
	mu       sync.Mutex
	logs     map[*entry]int64 // Unix nanoseconds
}

// last returns the time of the last record of a progress bar (Unix nanoseconds); 0: there was
// none within the interval.
func (p *progress) last(e *entry) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.logs[e]
}

// note sets what last returns. What is older than the interval is not kept.
func (p *progress) note(e *entry, at int64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.UnixNano()-at >= int64(p.interval) {
		delete(p.logs, e)
		return
	}
	if p.logs == nil {
		p.logs = map[*entry]int64{}
	}
	p.logs[e] = at
}

// forget forgets a log.
func (p *progress) forget(e *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.logs, e)
}
