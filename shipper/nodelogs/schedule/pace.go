package schedule

import "time"

// The pauses between two looks at a log.
const (
	// MinPause is the pause after a look that has found new lines.
	MinPause = time.Second
	// MaxPause is the longest pause at a log that stays still, unless the directory has so
	// many files that the budget does not allow it.
	MaxPause = time.Minute
	// stillLooks is how many looks per second a directory's still logs get together. They must
	// leave a part of the budget to others, and cost the agent less than 1 % of a core: a look
	// at a still log is one request, which takes 0.6 to 2 ms of its CPU (2.60.0).
	stillLooks = 4
	// minUrgentPause is the shortest pause at a log that rotates fast.
	minUrgentPause = 100 * time.Millisecond
)

// Pace is how fast a log grows, and how long it was still. The zero value is a log that was
// not looked at yet.
type Pace struct {
	pause  float32 // seconds; 0: none yet
	rate   float32 // bytes per second, a moving average
	size   float32 // bytes of one generation; 0: no rotation was seen
	looked int64   // Unix nanoseconds
}

// Looked records a look at now that has found bytes new bytes. fresh: some of them are lines
// of the program; Ray writes lines of its own into the logs of quiet workers.
func (p *Pace) Looked(now time.Time, bytes int64, fresh bool) {
	if since := float32(now.UnixNano()-p.looked) / 1e9; p.looked > 0 && since > 0 {
		rate := float32(bytes) / since
		if rate > p.rate {
			p.rate = rate // a log that becomes faster must not be underestimated
		} else {
			p.rate = (p.rate + rate) / 2
		}
	}
	p.looked = now.UnixNano()
	if fresh || p.pause == 0 {
		p.pause = float32(MinPause.Seconds())
		return
	}
	p.pause = min(2*p.pause, float32(time.Hour.Seconds()))
}

// Last returns when the log was last looked at; zero: never.
func (p *Pace) Last() time.Time {
	if p.looked == 0 {
		return time.Time{}
	}
	return time.Unix(0, p.looked)
}

// Rotated records the size of a generation that was read to its end (bytes).
func (p *Pace) Rotated(size int64) { p.size = float32(max(size, 1)) }

// Next returns how long after a look the next one is due: when half of what rotation keeps
// may be written, at the measured rate, else after a pause that grows while the log is
// still. kept is the number of older generations that Ray keeps, as far as known; size the
// usual size of a generation in the directory, 0 where nothing rotates; files the number of
// files in the directory. urgent means that lines are lost if the look is much later.
func (p *Pace) Next(kept int, size int64, files int) (pause time.Duration, urgent bool) {
	longest := max(MaxPause, time.Duration(files)*time.Second/stillLooks)
	pause = min(time.Duration(p.pause*float32(time.Second)), longest)
	generation := p.size
	if generation == 0 {
		generation = float32(size)
	}
	if generation == 0 || p.rate <= 0 {
		return pause, false
	}
	half := time.Duration(generation * float32(max(kept, 1)) / 2 / p.rate * float32(time.Second))
	if half >= pause {
		return pause, half < 2*MaxPause
	}
	return max(half, minUrgentPause), true
}
