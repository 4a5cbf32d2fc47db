package tail

import (
	"context"
	"time"
)

// What the pipeline does with the lines that its aggregator holds back, if it has one.

// flushPending makes records of the lines held back, if there are any.
func (p *pipeline) flushPending(ctx context.Context) error {
	if p.agg == nil || p.split == nil {
		return nil
	}
	return p.agg.Flush(ctx)
}

// pendingDeadline returns a channel that receives when flushExpired has something to
// do; nil: never.
func (p *pipeline) pendingDeadline() <-chan time.Time {
	if p.agg == nil {
		return nil
	}
	at, ok := p.agg.Due()
	if !ok {
		return nil
	}
	return time.After(time.Until(at))
}

// flushExpired makes records of the lines that were held back long enough. idle: a
// read brought nothing new.
func (p *pipeline) flushExpired(ctx context.Context, idle bool) error {
	if err := p.agg.Expire(ctx, time.Now(), idle); err != nil {
		return err
	}
	return p.flush(ctx)
}

// endPoll ends one of several polls of a log.
func (p *pipeline) endPoll(ctx context.Context) error {
	if p.agg == nil || p.agg.Empty() {
		return nil
	}
	at := p.reached()
	idle := p.progress.pendingAt == at
	p.progress.pendingAt = at
	return p.flushExpired(ctx, idle)
}

// endRead ends a read that came to the end of what the log has now. ended: the run is
// over, so that a last line needs no line end.
func (p *pipeline) endRead(ctx context.Context, ended bool) error {
	if ended {
		return p.flushPartial(ctx)
	}
	if err := p.endPoll(ctx); err != nil {
		return err
	}
	return p.flush(ctx)
}
