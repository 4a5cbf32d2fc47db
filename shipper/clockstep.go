package shipper

import (
	"fmt"
	"time"
)

// maxAhead is how far the time of a stream's records may be ahead of our clock.
const maxAhead = time.Second

// stepBack appends an event where the times of the stream's records are further
// ahead of our clock than that, since it was ahead once: the next record has the
// clock's time again. now is a time of ours that may be a while ago, seq that of the
// record that comes next.
func (s *stream) stepBack(b []byte, now int64, seq uint64) []byte {
	if s.enc.last <= now+int64(maxAhead) {
		return b
	}
	clock := time.Now().UnixNano()
	last := s.enc.last
	if last <= clock+int64(maxAhead) {
		return b
	}
	s.enc.last = 0
	message := fmt.Sprintf("the clock of raytap's host was ahead by %s: times go back once from here", time.Duration(last-clock).Round(time.Millisecond))
	b = s.enc.event(b, clock, seq, EventClock, message, s.skipped)
	s.skipped, s.log.skipped = 0, 0
	s.logger().Warn("Record times go back: " + message)
	s.sh.metrics.events.WithLabelValues(s.sh.opts.Cluster, EventClock).Inc()
	return b
}
