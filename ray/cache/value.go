package cache

import (
	"context"
	"net/http"
	"sync"
	"time"

	"raytap/ray"
)

const (
	// loadFactor bounds what one answer costs the cluster: an answer whose fetch took
	// d is cached for at least 50 d, so that fetching takes at most 2 % of the time;
	// less long for callers of NewerThan, see minNewerThanLoad.
	loadFactor = 50
	// minFailureTTL is how long a failure is cached at least.
	minFailureTTL = time.Second
	// minRefetch and refetchFactor bound how often NewerThan may bypass an answer
	// that is still cached: the next fetch begins no sooner than 1 s, or 10 times
	// what the last one took, after the last one began.
	minRefetch    = time.Second
	refetchFactor = 10
	// minNewerThanLoad bounds how old loadFactor lets answers of NewerThan become: 30 s,
	// or 10 times the duration of the fetch if that is longer. Fetching then takes at
	// most 10 % of the time, and a slow answer does not hide for minutes what is new.
	minNewerThanLoad = 30 * time.Second
)

// Answer is a value that a cluster returned. All callers share it: what it points to
// must not be changed.
type Answer[T any] struct {
	Value       T
	RequestedAt time.Time     // when its fetch began; the value is no older than this
	Duration    time.Duration // of the fetch
}

// ValueOptions say how an answer is fetched and how long it is cached.
type ValueOptions struct {
	// Op names the call in errors, verb first: "list jobs".
	Op string
	// Timeout bounds one whole fetch; 0 means 30 s.
	Timeout time.Duration
	// TTL is how long an answer is cached, from RequestedAt on; 50 times the
	// duration of its fetch if that is longer.
	TTL time.Duration
	// NewerThanTTL replaces TTL for callers of NewerThan; 0 means TTL. For them a slow
	// answer is cached for at most 30 s, or 10 times the duration of its fetch if that
	// is longer.
	NewerThanTTL time.Duration
	// MaxTTL is the upper bound of that time; 0 means none.
	MaxTTL time.Duration
}

// Value caches one answer for all callers.
//
// A fetch runs under its own timeout, never under a caller's context. Callers that
// come while it runs wait for it, each until its own context ends; the fetch goes on
// and fills the cache. A fetch that fails removes the answer at once. The failure is
// cached for one second, or for as long as an answer that took the same time, up to
// the TTL: a server that is too slow to answer gets no more requests than one that
// answers. Nothing is fetched without a caller. Safe for concurrent use.
type Value[T any] struct {
	fetch func(context.Context) (T, error)
	opts  ValueOptions

	mu      sync.Mutex
	current *call[T] // the fetch in progress, nil if none
	last    *call[T] // the last one that ended, nil before
	closed  bool
}

// call is one fetch. Its answer, err and ended are set before done is closed.
type call[T any] struct {
	began  time.Time
	ended  time.Time
	answer Answer[T]
	err    error
	done   chan struct{}
	cancel context.CancelFunc
}

// NewValue returns a cache of fetch's results. fetch must return soon after its
// context ends.
func NewValue[T any](fetch func(context.Context) (T, error), opts ValueOptions) *Value[T] {
	if opts.Timeout <= 0 {
		opts.Timeout = defaultFetchTimeout
	}
	return &Value[T]{fetch: fetch, opts: opts}
}

// Get returns the cached answer, or fetches a new one if it has expired.
//
// Its errors are those of fetch, an *Error of code 408 if ctx ended first (errors.Is
// shows why), and one of code 503 after Close.
func (v *Value[T]) Get(ctx context.Context) (Answer[T], error) {
	return v.get(ctx, time.Time{}, lifetime{ttl: v.opts.TTL})
}

// NewerThan is Get for a caller that needs an answer requested at t or later. So that
// many such callers do not cause a fetch each, it may wait up to a second (10 times
// the duration of the last fetch if that is longer) before it fetches. Cached
// failures are returned whenever they began.
func (v *Value[T]) NewerThan(ctx context.Context, t time.Time) (Answer[T], error) {
	life := lifetime{ttl: v.opts.TTL, bounded: true}
	if v.opts.NewerThanTTL > 0 {
		life.ttl = v.opts.NewerThanTTL
	}
	return v.get(ctx, t, life)
}

// lifetime is for how long a caller accepts an answer.
type lifetime struct {
	ttl     time.Duration
	bounded bool // whether minNewerThanLoad applies
}

// load returns for how long an answer is cached because its fetch took d.
func (l lifetime) load(d time.Duration) time.Duration {
	if l.bounded {
		return min(loadFactor*d, max(minNewerThanLoad, refetchFactor*d))
	}
	return loadFactor * d
}

func (v *Value[T]) get(ctx context.Context, newerThan time.Time, life lifetime) (Answer[T], error) {
	for {
		c, delay := v.next(ctx, newerThan, life)
		switch {
		case c != nil:
			select {
			case <-c.done:
			default:
				select {
				case <-c.done:
				case <-ctx.Done():
					return Answer[T]{}, v.callerTimeout(ctx)
				}
			}
			if c.err == nil && c.began.Before(newerThan) {
				continue // it was in progress before newerThan; fetch once more
			}
			return c.answer, c.err
		case delay > 0:
			timer := time.NewTimer(delay)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return Answer[T]{}, v.callerTimeout(ctx)
			}
		default:
			return Answer[T]{}, v.callerTimeout(ctx)
		}
	}
}

// next returns the fetch whose result the caller wants, ended or not; or, if there is
// none yet, how long to wait before trying again. Neither means that the caller's
// context has ended.
func (v *Value[T]) next(ctx context.Context, newerThan time.Time, life lifetime) (*call[T], time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	if v.closed {
		return v.closedCall(), 0
	}
	if v.last != nil && v.fresh(v.last, now, newerThan, life) {
		return v.last, 0
	}
	if v.current != nil {
		return v.current, 0
	}
	if ctx.Err() != nil {
		return nil, 0 // no caller is left to fetch for
	}
	if v.last != nil && v.last.err == nil {
		pause := max(minRefetch, refetchFactor*v.last.answer.Duration)
		if delay := v.last.began.Add(pause).Sub(now); delay > 0 && !newerThan.IsZero() && v.last.began.Before(newerThan) {
			return nil, delay
		}
	}
	return v.begin(now), 0
}

// fresh reports whether c, which has ended, may still be returned to a caller that
// accepts answers for that lifetime.
func (v *Value[T]) fresh(c *call[T], now, newerThan time.Time, life lifetime) bool {
	age, load := now.Sub(c.began), life.load(c.ended.Sub(c.began))
	if c.err != nil {
		return now.Sub(c.ended) < minFailureTTL || age < min(life.ttl, load)
	}
	keep := max(life.ttl, load)
	if v.opts.MaxTTL > 0 {
		keep = min(keep, v.opts.MaxTTL)
	}
	return age < keep && !c.began.Before(newerThan)
}

// begin starts a fetch. v.mu is held.
func (v *Value[T]) begin(now time.Time) *call[T] {
	// Not the caller's context: another caller may wait for this fetch when
	// the first has gone.
	ctx, cancel := context.WithTimeout(context.Background(), v.opts.Timeout)
	c := &call[T]{began: now, done: make(chan struct{}), cancel: cancel}
	v.current = c
	go v.run(ctx, c)
	return c
}

func (v *Value[T]) run(ctx context.Context, c *call[T]) {
	defer c.cancel()
	value, err := v.fetch(ctx)
	v.mu.Lock()
	defer v.mu.Unlock()
	c.ended = time.Now()
	switch {
	case err != nil && v.closed:
		c.err = v.errClosed() // not "context canceled": no caller cancelled anything
	case err != nil:
		c.err = err
	default:
		c.answer = Answer[T]{Value: value, RequestedAt: c.began, Duration: c.ended.Sub(c.began)}
	}
	v.current, v.last = nil, c
	close(c.done)
}

// Close cancels the fetch in progress and waits for it. Later calls fail.
func (v *Value[T]) Close() {
	v.mu.Lock()
	v.closed = true
	c := v.current
	v.mu.Unlock()
	if c != nil {
		c.cancel()
		<-c.done
	}
}

// closedCall returns an ended call with the error of a closed Value.
func (v *Value[T]) closedCall() *call[T] {
	c := &call[T]{done: make(chan struct{}), err: v.errClosed()}
	close(c.done)
	return c
}

func (v *Value[T]) errClosed() error {
	return &ray.Error{Op: v.opts.Op, Code: http.StatusServiceUnavailable, Detail: "raytap no longer watches this cluster"}
}

func (v *Value[T]) callerTimeout(ctx context.Context) error {
	return &ray.Error{
		Op: v.opts.Op, Code: http.StatusRequestTimeout,
		Detail: "no answer before the caller's deadline; the request continues", Err: ctx.Err(),
	}
}
