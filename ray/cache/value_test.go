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

// source counts its fetches, takes a while and can be made to fail.
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

func newShared(s *source, takes time.Duration) *cache.Value[int] {
	s.takes.Store(int64(takes))
	return cache.NewValue(s.fetch, cache.ValueOptions{Op: "list things", Timeout: 10 * time.Second, TTL: 5 * time.Second})
}

func wantValue(t *testing.T, s *cache.Value[int], want int) {
	t.Helper()
	if a, err := s.Get(t.Context()); err != nil || a.Value != want {
		t.Errorf("got %d, %v; want %d", a.Value, err, want)
	}
}

func TestCallersAtTheSameTimeShareOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		shared := newShared(&src, time.Second)
		began := time.Now()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				a, err := shared.Get(t.Context())
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

func TestAnAnswerIsGoodForTheIntervalOrFiftyTimesWhatItTook(t *testing.T) {
	for name, row := range map[string]struct {
		takes, maxTTL, good time.Duration
	}{
		"a quick answer for the interval":        {takes: 10 * time.Millisecond, good: 5 * time.Second},
		"a slow answer for fifty times its time": {takes: time.Second, good: 50 * time.Second},
		"no longer than the ceiling":             {takes: time.Second, maxTTL: 7 * time.Second, good: 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var src source
				src.takes.Store(int64(row.takes))
				shared := cache.NewValue(src.fetch, cache.ValueOptions{TTL: 5 * time.Second, MaxTTL: row.maxTTL})
				began := time.Now()
				wantValue(t, shared, 1)
				time.Sleep(time.Until(began.Add(row.good - 1)))
				wantValue(t, shared, 1)
				time.Sleep(time.Nanosecond)
				wantValue(t, shared, 2)
			})
		})
	}
}

func TestACallerLeavesAtItsDeadlineAndTheFetchGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		shared := newShared(&src, 3*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := shared.Get(ctx)
		if took := time.Since(began); took != time.Second {
			t.Errorf("waited %s", took)
		}
		var e *ray.Error
		if !errors.As(err, &e) || e.Code != http.StatusRequestTimeout || !errors.Is(err, context.DeadlineExceeded) || e.Op != "list things" {
			t.Errorf("got %v", err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		wantValue(t, shared, 1) // no second fetch: the first filled the answer
		if n := src.calls.Load(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}

func TestACancelledCallerIsNoTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		shared := newShared(&src, 0)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := shared.Get(ctx)
		if !errors.Is(err, context.Canceled) || ray.Code(err) != 0 {
			t.Errorf("got %v, code %d", err, ray.Code(err))
		}
		if n := src.calls.Load(); n != 0 {
			t.Errorf("%d fetches for nobody", n)
		}
	})
}

func TestAFetchEndsAtItsOwnTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		shared := newShared(&src, time.Hour)
		began := time.Now()
		if _, err := shared.Get(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestAFailureEmptiesTheAnswerAndIsSharedForOneSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		shared := newShared(&src, 10*time.Millisecond)
		wantValue(t, shared, 1)
		time.Sleep(5 * time.Second)
		src.fail.Store(true)
		if _, err := shared.Get(t.Context()); !errors.Is(err, errDown) {
			t.Fatalf("got %v", err)
		}
		failed := time.Now()
		src.fail.Store(false)
		time.Sleep(time.Second - 1)
		if _, err := shared.Get(t.Context()); !errors.Is(err, errDown) {
			t.Errorf("within a second: %v", err)
		}
		if n := src.calls.Load(); n != 2 {
			t.Errorf("%d fetches", n)
		}
		time.Sleep(time.Until(failed.Add(time.Second)))
		wantValue(t, shared, 3)
	})
}

func TestASlowFailureIsSharedAsLongAsAnAnswerUpToTheInterval(t *testing.T) {
	for name, row := range map[string]struct{ takes, shared time.Duration }{
		"fifty times what it took":         {40 * time.Millisecond, 2 * time.Second},
		"the interval":                     {time.Second, 5 * time.Second},
		"a second where that was too slow": {8 * time.Second, 9 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			var src source
			src.fail.Store(true)
			shared := newShared(&src, row.takes)
			ask := func(want int64) {
				t.Helper()
				if _, err := shared.Get(t.Context()); !errors.Is(err, errDown) || src.calls.Load() != want {
					t.Errorf("%s: %v, %d fetches, want %d", name, err, src.calls.Load(), want)
				}
			}
			asked := time.Now()
			ask(1)
			time.Sleep(time.Until(asked.Add(row.shared - 1)))
			ask(1)
			time.Sleep(time.Nanosecond)
			ask(2)
		})
	}
}

func TestCallersOfSinceCanHaveAnIntervalOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		shared := cache.NewValue(src.fetch, cache.ValueOptions{Op: "list things", TTL: time.Minute, NewerThanTTL: 5 * time.Second})
		wantValue(t, shared, 1)
		time.Sleep(5*time.Second - 1)
		for _, want := range []int{1, 2} {
			if a, err := shared.NewerThan(t.Context(), time.Time{}); err != nil || a.Value != want {
				t.Errorf("got %d, %v; want %d", a.Value, err, want)
			}
			time.Sleep(time.Nanosecond)
		}
		time.Sleep(time.Minute - 2)
		wantValue(t, shared, 2)
		time.Sleep(time.Nanosecond)
		wantValue(t, shared, 3)
	})
}

func TestAnAnswerStaysGoodWhileSomebodyAsksForANewerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		shared := newShared(&src, 100*time.Millisecond)
		wantValue(t, shared, 1)
		time.Sleep(2 * time.Second)
		var wg sync.WaitGroup
		wg.Go(func() {
			if a, err := shared.NewerThan(t.Context(), time.Now()); err != nil || a.Value != 2 {
				t.Errorf("got %+v, %v", a, err)
			}
		})
		synctest.Wait()
		wantValue(t, shared, 1)
		wg.Wait()
		wantValue(t, shared, 2)
	})
}

func TestSinceGivesNothingThatWasAskedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		shared := newShared(&src, time.Second)
		var wg sync.WaitGroup
		wg.Go(func() { wantValue(t, shared, 1) })
		time.Sleep(500 * time.Millisecond)
		t0 := time.Now()
		a, err := shared.NewerThan(t.Context(), t0)
		if err != nil || a.Value != 2 || a.RequestedAt.Before(t0) {
			t.Errorf("got %+v, %v", a, err)
		}
		wg.Wait()
		if again, err := shared.NewerThan(t.Context(), t0); err != nil || again != a {
			t.Errorf("an answer that is new enough was asked again: %+v, %v", again, err)
		}
	})
}

func TestSinceDoesNotAskInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		shared := newShared(&src, 10*time.Millisecond)
		began := time.Now()
		for range 10 {
			if _, err := shared.NewerThan(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Nanosecond) // so that the next one asks for something newer
		}
		if took := time.Since(began); took < 9*time.Second {
			t.Errorf("10 fetches in %s", took)
		}
	})
}

func TestSinceWaitsNoLongerThanItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		shared := newShared(&src, 0)
		wantValue(t, shared, 1)
		time.Sleep(time.Nanosecond)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := shared.NewerThan(ctx, time.Now()); ray.Code(err) != http.StatusRequestTimeout {
			t.Errorf("got %v", err)
		}
	})
}

func TestCloseEndsTheFetchAndRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		shared := newShared(&src, time.Hour)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := shared.Get(t.Context()); ray.Code(err) != http.StatusServiceUnavailable {
				t.Errorf("waiting: %v", err)
			}
		})
		synctest.Wait()
		began := time.Now()
		shared.Close()
		wg.Wait()
		if time.Since(began) != 0 {
			t.Error("Close waited for the fetch's own timeout")
		}
		if _, err := shared.Get(t.Context()); ray.Code(err) != http.StatusServiceUnavailable {
			t.Errorf("afterwards: %v", err)
		}
	})
}
