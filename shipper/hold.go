package shipper

import (
	"context"
	"time"
)

// What a stream does with the lines that its shaper holds back, if it has one.

// taken gives how many lines of the log were taken and are not held back.
func (s *stream) taken() uint64 {
	if s.shape != nil {
		return s.shape.lines
	}
	return s.cut.lines
}

func (s *stream) position() position {
	if s.shape != nil {
		return s.shape.position()
	}
	return s.cut.position()
}

// letGo makes records of the lines held back, if there are any.
func (s *stream) letGo(ctx context.Context) error {
	if s.shape == nil || s.cut == nil {
		return nil
	}
	return s.shape.close(ctx)
}

// lastLine gives the half line, if there is one, as the log's last: its run has
// ended.
func (s *stream) lastLine(ctx context.Context) error {
	if err := s.cut.flush(s.emit); err != nil {
		return err
	}
	if err := s.letGo(ctx); err != nil {
		return err
	}
	return s.flush(ctx)
}

// heldDue gives a channel that tells when letRest has something to do; nil: never.
func (s *stream) heldDue() <-chan time.Time {
	if s.shape == nil {
		return nil
	}
	at, ok := s.shape.due()
	if !ok {
		return nil
	}
	return time.After(time.Until(at))
}

// letRest lets go of the lines held back those that have waited long enough.
func (s *stream) letRest(ctx context.Context, still bool) error {
	if err := s.shape.rest(ctx, time.Now(), still); err != nil {
		return err
	}
	return s.flush(ctx)
}

// endRead ends one of the reads that come one after the other.
func (s *stream) endRead(ctx context.Context) error {
	if s.shape == nil || s.shape.empty() {
		return nil
	}
	at := s.cut.content + uint64(s.cut.partSize)
	still := s.heldAt == at
	s.heldAt = at
	return s.letRest(ctx, still)
}

// holds reports whether there is a half line, or lines held back, in memory that
// others may wait for.
func (s *stream) holds() bool {
	return s.cut != nil && (cap(s.cut.part) > 0 || s.shape != nil && s.shape.reserved())
}

// unreserve gives memory of half lines back.
func (s *stream) unreserve(n int) { s.sh.out.budget.release(int64(n), true) }
