package cache_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"raytap/ray"
	"raytap/ray/cache"
)

// slowHead takes a while to list its jobs, and records the timeout of each request.
type slowHead struct {
	*head
	takes    time.Duration
	timeouts []time.Duration
}

func (h *slowHead) JobsWithTimeout(ctx context.Context, d time.Duration) ([]ray.Job, error) {
	h.timeouts = append(h.timeouts, d)
	timer := time.NewTimer(min(d, h.takes))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, &ray.Error{Op: "list jobs", Code: http.StatusServiceUnavailable, Detail: "the fetch ended before its request"}
	}
	if d < h.takes {
		return nil, &ray.Error{Op: "list jobs", Code: http.StatusRequestTimeout, Detail: "no response"}
	}
	return h.Jobs(ctx)
}

// waitForList lists the jobs every five seconds, as discovery does, until it succeeds.
func waitForList(t *testing.T, s *cache.Source, within time.Duration) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(5 * time.Second) {
		if _, err := s.JobsNewerThan(t.Context(), time.Time{}); err == nil {
			return
		} else if time.Since(began) > within {
			t.Fatalf("no list in %s: %v", within, err)
		}
	}
}

// A list that takes longer than the timeout gets a longer one, until it succeeds, and no
// longer one than it needs from then on.
func TestSource_JobsTimeoutGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &slowHead{head: newHead(), takes: 70 * time.Second}
		s := cache.New(h, cache.Options{Timeout: 30 * time.Second, RequestTimeout: 10 * time.Second})
		defer s.Close()
		waitForList(t, s, 5*time.Minute)
		if len(h.timeouts) != 4 || h.timeouts[3] != 80*time.Second {
			t.Errorf("timeouts %v, want 10s 20s 40s 80s", h.timeouts)
		}
		// Discovery reuses it for 10 times its duration, and the next timeout suffices at once.
		time.Sleep(10*h.takes - h.takes - time.Second)
		waitForList(t, s, 0)
		if len(h.timeouts) != 4 {
			t.Errorf("requested again within 10 times its duration: %v", h.timeouts)
		}
		time.Sleep(2 * time.Second)
		waitForList(t, s, 0)
		if len(h.timeouts) != 5 || h.timeouts[4] != 2*time.Minute {
			t.Errorf("timeout after a success %v, want 2m0s", h.timeouts[4:])
		}
		// Old jobs were deleted.
		h.takes = time.Second
		time.Sleep(time.Hour)
		waitForList(t, s, 0)
		time.Sleep(time.Hour)
		waitForList(t, s, 0)
		if last := h.timeouts[len(h.timeouts)-1]; last != 10*time.Second {
			t.Errorf("timeout of a list that is quick again: %s, want 10s", last)
		}
	})
}

func TestSource_JobsCallerDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &slowHead{head: newHead(), takes: 70 * time.Second}
		s := cache.New(h, cache.Options{Timeout: 30 * time.Second, RequestTimeout: 10 * time.Second})
		defer s.Close()
		for range 30 { // scrapes
			ctx, cancel := context.WithTimeout(t.Context(), 9500*time.Millisecond)
			began := time.Now()
			_, _ = s.Jobs(ctx)
			if took := time.Since(began); took > 9500*time.Millisecond {
				t.Fatalf("a caller with a deadline of 9.5 s waited %s", took)
			}
			cancel()
			time.Sleep(time.Until(began.Add(15 * time.Second)))
		}
		if _, err := s.Jobs(t.Context()); err != nil || len(h.timeouts) != 4 {
			t.Errorf("%v, after timeouts of %v", err, h.timeouts)
		}
	})
}

// A head that never returns its list costs in the long run 2 % of the time more than with
// a fixed timeout, and is noticed soon when it responds.
func TestSource_JobsTimeoutIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &slowHead{head: newHead(), takes: time.Hour}
		s := cache.New(h, cache.Options{Timeout: 30 * time.Second, RequestTimeout: 10 * time.Second, DiscoveryTTL: 4 * time.Second})
		defer s.Close()
		const days = 4 * 24 * time.Hour
		var long, longest time.Duration
		for began := time.Now(); time.Since(began) < days; time.Sleep(5 * time.Second) {
			if _, err := s.JobsNewerThan(t.Context(), time.Time{}); ray.Code(err) != http.StatusRequestTimeout {
				t.Fatal(err)
			}
		}
		for _, d := range h.timeouts {
			if longest = max(longest, d); d > 10*time.Second {
				long += d
			}
		}
		if share := long.Seconds() / days.Seconds(); share > 0.025 || longest != 2*time.Minute {
			t.Errorf("long requests take %.1f %% of the time, the longest %s", 100*share, longest)
		}
		h.takes = time.Second
		waitForList(t, s, 0)
	})
}
