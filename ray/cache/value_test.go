package cache_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"raytap/ray"
	"raytap/ray/cache"
)

// source counts its fetches, takes a while and can fail.
type source struct {
	calls atomic.Int64
	takes atomic.Int64 // nanoseconds
	fail  atomic.Bool
}

var errDown = errors.New("down")

func (s *source) fetch(ctx context.Context) (int, error) {
	n := int(s.calls.Add(1))
	timer := time.NewTimer(time.Duration(s.takes.Load()))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if s.fail.Load() {
		return 0, errDown
	}
	return n, nil
}

func newValue(s *source, takes time.Duration) *cache.Value[int] {
	s.takes.Store(int64(takes))
	return cache.NewValue(s.fetch, cache.ValueOptions{Op: "list things", Timeout: 10 * time.Second, TTL: 5 * time.Second})
}

func wantValue(t *testing.T, s *cache.Value[int], want int) {
	t.Helper()
	if a, err := s.Get(t.Context()); err != nil || a.Value != want {
		t.Errorf("got %d, %v; want %d", a.Value, err, want)
	}
}

func TestValue_ConcurrentCallersShareOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		value := newValue(&src, time.Second)
		began := time.Now()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				a, err := value.Get(t.Context())
				if err != nil || a.Value != 1 || a.Duration != time.Second || !a.RequestedAt.Equal(began) {
					t.Errorf("got %+v, %v", a, err)
				}
			})
		}
		wg.Wait()
		if n := src.calls.Load(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}

func TestValue_TTL(t *testing.T) {
	for name, row := range map[string]struct {
		takes, maxTTL, ttl time.Duration
	}{
		"a quick answer: the TTL":                 {takes: 10 * time.Millisecond, ttl: 5 * time.Second},
		"a slow answer: fifty times its duration": {takes: time.Second, ttl: 50 * time.Second},
		"at most MaxTTL":                          {takes: time.Second, maxTTL: 7 * time.Second, ttl: 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var src source
				src.takes.Store(int64(row.takes))
				value := cache.NewValue(src.fetch, cache.ValueOptions{TTL: 5 * time.Second, MaxTTL: row.maxTTL})
				began := time.Now()
				wantValue(t, value, 1)
				time.Sleep(time.Until(began.Add(row.ttl - 1)))
				wantValue(t, value, 1)
				time.Sleep(time.Nanosecond)
				wantValue(t, value, 2)
			})
		})
	}
}

func TestValue_CallerDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		value := newValue(&src, 3*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := value.Get(ctx)
		if took := time.Since(began); took != time.Second {
			t.Errorf("waited %s", took)
		}
		var e *ray.Error
		if !errors.As(err, &e) || e.Code != http.StatusRequestTimeout || !errors.Is(err, context.DeadlineExceeded) || e.Op != "list things" {
			t.Errorf("got %v", err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		wantValue(t, value, 1) // no second fetch: the first filled the cache
		if n := src.calls.Load(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}

func TestValue_CallerCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		value := newValue(&src, 0)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := value.Get(ctx)
		if !errors.Is(err, context.Canceled) || ray.Code(err) != 0 {
			t.Errorf("got %v, code %d", err, ray.Code(err))
		}
		if n := src.calls.Load(); n != 0 {
			t.Errorf("%d fetches without a caller", n)
		}
	})
}

func TestValue_FetchTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		value := newValue(&src, time.Hour)
		began := time.Now()
		if _, err := value.Get(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestValue_FailureTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		value := newValue(&src, 10*time.Millisecond)
		wantValue(t, value, 1)
		time.Sleep(5 * time.Second)
		src.fail.Store(true)
		if _, err := value.Get(t.Context()); !errors.Is(err, errDown) {
			t.Fatalf("got %v", err)
		}
		failed := time.Now()
		src.fail.Store(false)
		time.Sleep(time.Second - 1)
		if _, err := value.Get(t.Context()); !errors.Is(err, errDown) {
			t.Errorf("within a second: %v", err)
		}
		if n := src.calls.Load(); n != 2 {
			t.Errorf("%d fetches", n)
		}
		time.Sleep(time.Until(failed.Add(time.Second)))
		wantValue(t, value, 3)
	})
}

func TestValue_SlowFailureTTL(t *testing.T) {
	for name, row := range map[string]struct{ takes, ttl time.Duration }{
		"fifty times its duration":    {40 * time.Millisecond, 2 * time.Second},
		"the TTL":                     {time.Second, 5 * time.Second},
		"a second if the TTL is over": {8 * time.Second, 9 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			var src source
			src.fail.Store(true)
			value := newValue(&src, row.takes)
			get := func(want int64) {
				t.Helper()
				if _, err := value.Get(t.Context()); !errors.Is(err, errDown) || src.calls.Load() != want {
					t.Errorf("%s: %v, %d fetches, want %d", name, err, src.calls.Load(), want)
				}
			}
			began := time.Now()
			get(1)
			time.Sleep(time.Until(began.Add(row.ttl - 1)))
			get(1)
			time.Sleep(time.Nanosecond)
			get(2)
		})
	}
}

func TestValue_NewerThanTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		value := cache.NewValue(src.fetch, cache.ValueOptions{Op: "list things", TTL: time.Minute, NewerThanTTL: 5 * time.Second})
		wantValue(t, value, 1)
		time.Sleep(5*time.Second - 1)
		for _, want := range []int{1, 2} {
			if a, err := value.NewerThan(t.Context(), time.Time{}); err != nil || a.Value != want {
				t.Errorf("got %d, %v; want %d", a.Value, err, want)
			}
			time.Sleep(time.Nanosecond)
		}
		time.Sleep(time.Minute - 2)
		wantValue(t, value, 2)
		time.Sleep(time.Nanosecond)
		wantValue(t, value, 3)
	})
}

// A slow answer costs the cluster little, and does not hide for long what is new.
func TestValue_NewerThanSlowAnswer(t *testing.T) {
	for name, row := range map[string]struct{ takes, cached time.Duration }{
		"50 times its duration":    {400 * time.Millisecond, 20 * time.Second},
		"30 s":                     {2 * time.Second, 30 * time.Second},
		"10 times if it is longer": {4 * time.Second, 40 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var src source
				value := newValue(&src, row.takes)
				began := time.Now()
				for _, want := range []int{1, 1, 2} {
					if a, err := value.NewerThan(t.Context(), time.Time{}); err != nil || a.Value != want {
						t.Errorf("after %s: got %d, %v; want %d", time.Since(began), a.Value, err, want)
					}
					if want == 1 && time.Since(began) > row.takes {
						time.Sleep(time.Nanosecond)
					} else {
						time.Sleep(time.Until(began.Add(row.cached - 1)))
					}
				}
				if n := src.calls.Load(); n != 2 {
					t.Errorf("%d fetches, want 2", n)
				}
			})
		})
	}
}

func TestValue_GetDuringNewerThan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		value := newValue(&src, 100*time.Millisecond)
		wantValue(t, value, 1)
		time.Sleep(2 * time.Second)
		var wg sync.WaitGroup
		wg.Go(func() {
			if a, err := value.NewerThan(t.Context(), time.Now()); err != nil || a.Value != 2 {
				t.Errorf("got %+v, %v", a, err)
			}
		})
		synctest.Wait()
		wantValue(t, value, 1)
		wg.Wait()
		wantValue(t, value, 2)
	})
}

func TestValue_NewerThan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		value := newValue(&src, time.Second)
		var wg sync.WaitGroup
		wg.Go(func() { wantValue(t, value, 1) })
		time.Sleep(500 * time.Millisecond)
		t0 := time.Now()
		a, err := value.NewerThan(t.Context(), t0)
		if err != nil || a.Value != 2 || a.RequestedAt.Before(t0) {
			t.Errorf("got %+v, %v", a, err)
		}
		wg.Wait()
		if again, err := value.NewerThan(t.Context(), t0); err != nil || again != a {
			t.Errorf("an answer that is new enough was fetched again: %+v, %v", again, err)
		}
	})
}

func TestValue_NewerThanIsRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		value := newValue(&src, 10*time.Millisecond)
		began := time.Now()
		for range 10 {
			if _, err := value.NewerThan(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Nanosecond) // so that the next caller needs a newer one
		}
		if took := time.Since(began); took < 9*time.Second {
			t.Errorf("10 fetches in %s", took)
		}
	})
}

func TestValue_NewerThanCallerDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		value := newValue(&src, 0)
		wantValue(t, value, 1)
		time.Sleep(time.Nanosecond)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := value.NewerThan(ctx, time.Now()); ray.Code(err) != http.StatusRequestTimeout {
			t.Errorf("got %v", err)
		}
	})
}

func TestValue_Close(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		value := newValue(&src, time.Hour)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := value.Get(t.Context()); ray.Code(err) != http.StatusServiceUnavailable {
				t.Errorf("waiting: %v", err)
			}
		})
		synctest.Wait()
		began := time.Now()
		value.Close()
		wg.Wait()
		if time.Since(began) != 0 {
			t.Error("Close waited for the fetch's own timeout")
		}
		if _, err := value.Get(t.Context()); ray.Code(err) != http.StatusServiceUnavailable {
			t.Errorf("afterwards: %v", err)
		}
	})
}
