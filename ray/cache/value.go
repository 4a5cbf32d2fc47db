package cache

import (
	"context"
	"net/http"
	"sync"
	"time"

	"raytap/ray"
)

const (
	// loadFactor bounds what one answer costs the cluster: an answer that took
	// d is good for 50 d, so that asking for it takes at most 2 % of the time.
	loadFactor = 50
	// retryAfter is how long a failure is shared at the least before the next
	// caller asks again.
	retryAfter = time.Second
	// sinceFloor and sinceFactor bound how often Since may pass over an answer
	// that is still good: not sooner than 1 s, or 10 times what it took, after
	// the last fetch began.
	sinceFloor  = time.Second
	sinceFactor = 10
)

// Answer is a value that a cluster gave, shared by all who asked for it: what
// it points to must not be changed.
type Answer[T any] struct {
	Value T
	Asked time.Time     // when its fetch began; the value is no older than this
	Took  time.Duration // how long the fetch took
}

// ValueOptions says how an answer is fetched and how long it is good for.
type ValueOptions struct {
	// Op names the call in errors, verb first: "list jobs".
	Op string
	// Timeout bounds one whole fetch; 0 means 30 s.
	Timeout time.Duration
	// Interval is how long an answer is good for, counted from Asked, and 50
	// times what its fetch took if that is longer.
	Interval time.Duration
	// SinceInterval replaces Interval for callers of Since; 0 does not.
	SinceInterval time.Duration
	// MaxAge bounds that time from above; 0 is no bound.
	MaxAge time.Duration
}

// Value is one answer for all who ask.
//
// A fetch runs under its own timeout, never under a caller's context: callers
// that come while it runs wait for it, each until its own context ends, while
// the fetch goes on to fill the answer. A fetch that fails empties the answer
// at once. The failure is shared for one second, or for as long as an answer
// that took as long would be, up to the interval: a server that is too slow to
// answer is asked no more often than one that answers. Then the next caller asks
// again. Nothing is fetched unless somebody asks. Safe for concurrent use.
type Value[T any] struct {
	fetch func(context.Context) (T, error)
	opts  ValueOptions

	mu      sync.Mutex
	current *flight[T] // the fetch under way, nil if none
	last    *flight[T] // the last one that ended, nil before
	closed  bool
}

// flight is one fetch. Its answer, err and ended are set before done is closed.
type flight[T any] struct {
	asked  time.Time
	ended  time.Time
	answer Answer[T]
	err    error
	done   chan struct{}
	cancel context.CancelFunc
}

// NewValue shares what fetch gives. fetch must return soon after its context ends.
func NewValue[T any](fetch func(context.Context) (T, error), opts ValueOptions) *Value[T] {
	if opts.Timeout <= 0 {
		opts.Timeout = defaultFetchTimeout
	}
	return &Value[T]{fetch: fetch, opts: opts}
}

// Get gives the current answer, fetching one where none is good any more.
//
// Its errors are the fetch's own, an *Error of code 408 when ctx ended first
// (errors.Is tells why), and one of code 503 after Close.
func (s *Value[T]) Get(ctx context.Context) (Answer[T], error) {
	return s.get(ctx, time.Time{}, s.opts.Interval)
}

// Since is Get for a caller that needs an answer not older than t: the fetch
// that gives it began at t or later. So that many such callers cannot ask in a
// row, it may wait up to a second (10 times the last fetch's duration if that
// is longer) before it fetches. Failures are shared here too, whenever they
// began.
func (s *Value[T]) Since(ctx context.Context, t time.Time) (Answer[T], error) {
	interval := s.opts.Interval
	if s.opts.SinceInterval > 0 {
		interval = s.opts.SinceInterval
	}
	return s.get(ctx, t, interval)
}

func (s *Value[T]) get(ctx context.Context, since time.Time, interval time.Duration) (Answer[T], error) {
	for {
		f, delay := s.next(ctx, since, interval)
		switch {
		case f != nil:
			select {
			case <-f.done:
			default:
				select {
				case <-f.done:
				case <-ctx.Done():
					return Answer[T]{}, s.gaveUp(ctx)
				}
			}
			if f.err == nil && f.asked.Before(since) {
				continue // it was under way before t; ask once more
			}
			return f.answer, f.err
		case delay > 0:
			timer := time.NewTimer(delay)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return Answer[T]{}, s.gaveUp(ctx)
			}
		default:
			return Answer[T]{}, s.gaveUp(ctx)
		}
	}
}

// next gives the fetch whose result the caller wants, ended or not; or, where
// there is none yet, how long to wait before asking again. Neither means that
// the caller's context has ended.
func (s *Value[T]) next(ctx context.Context, since time.Time, interval time.Duration) (*flight[T], time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.closed {
		return s.refuse(), 0
	}
	if s.last != nil && s.good(s.last, now, since, interval) {
		return s.last, 0
	}
	if s.current != nil {
		return s.current, 0
	}
	if ctx.Err() != nil {
		return nil, 0 // nobody is left to fetch for
	}
	if s.last != nil && s.last.err == nil {
		floor := max(sinceFloor, sinceFactor*s.last.answer.Took)
		if delay := s.last.asked.Add(floor).Sub(now); delay > 0 && !since.IsZero() && s.last.asked.Before(since) {
			return nil, delay
		}
	}
	return s.begin(now), 0
}

// good reports whether f, which has ended, may still be given to a caller for
// whom answers are good for interval.
func (s *Value[T]) good(f *flight[T], now, since time.Time, interval time.Duration) bool {
	age, load := now.Sub(f.asked), loadFactor*f.ended.Sub(f.asked)
	if f.err != nil {
		return now.Sub(f.ended) < retryAfter || age < min(interval, load)
	}
	keep := max(interval, load)
	if s.opts.MaxAge > 0 {
		keep = min(keep, s.opts.MaxAge)
	}
	return age < keep && !f.asked.Before(since)
}

// begin starts a fetch. s.mu is held.
func (s *Value[T]) begin(now time.Time) *flight[T] {
	// Not the caller's context: another caller may wait for this fetch when
	// the first has gone.
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.Timeout)
	f := &flight[T]{asked: now, done: make(chan struct{}), cancel: cancel}
	s.current = f
	go s.run(ctx, f)
	return f
}

func (s *Value[T]) run(ctx context.Context, f *flight[T]) {
	defer f.cancel()
	value, err := s.fetch(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.ended = time.Now()
	switch {
	case err != nil && s.closed:
		f.err = s.closedError() // not "context canceled": nobody who asked cancelled anything
	case err != nil:
		f.err = err
	default:
		f.answer = Answer[T]{Value: value, Asked: f.asked, Took: f.ended.Sub(f.asked)}
	}
	s.current, s.last = nil, f
	close(f.done)
}

// Close ends the fetch under way, waits for it, and refuses every later call.
func (s *Value[T]) Close() {
	s.mu.Lock()
	s.closed = true
	f := s.current
	s.mu.Unlock()
	if f != nil {
		f.cancel()
		<-f.done
	}
}

// refuse gives an ended flight that says so.
func (s *Value[T]) refuse() *flight[T] {
	f := &flight[T]{done: make(chan struct{}), err: s.closedError()}
	close(f.done)
	return f
}

func (s *Value[T]) closedError() error {
	return &ray.Error{Op: s.opts.Op, Code: http.StatusServiceUnavailable, Detail: "raytap no longer watches this cluster"}
}

func (s *Value[T]) gaveUp(ctx context.Context) error {
	return &ray.Error{
		Op: s.opts.Op, Code: http.StatusRequestTimeout,
		Detail: "no answer in the time that the caller had; the request goes on", Err: ctx.Err(),
	}
}
