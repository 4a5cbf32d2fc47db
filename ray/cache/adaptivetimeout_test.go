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

// oldHead takes a while for its jobs, and notes how much time each try got.
type oldHead struct {
	*head
	takes time.Duration
	got   []time.Duration
	began []time.Time
}

func (h *oldHead) JobsWithTimeout(ctx context.Context, d time.Duration) ([]ray.Job, error) {
	h.got, h.began = append(h.got, d), append(h.began, time.Now())
	timer := time.NewTimer(min(d, h.takes))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, &ray.Error{Op: "list jobs", Code: http.StatusServiceUnavailable, Detail: "the fetch ended before its request"}
	}
	if d < h.takes {
		return nil, &ray.Error{Op: "list jobs", Code: http.StatusRequestTimeout, Detail: "no answer"}
	}
	return h.Jobs(ctx)
}

// untilListed asks every five seconds, as discovery does, until the list comes.
func untilListed(t *testing.T, s *cache.Source, within time.Duration) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(5 * time.Second) {
		if _, err := s.JobsNewerThan(t.Context(), time.Time{}); err == nil {
			return
		} else if time.Since(began) > within {
			t.Fatalf("no list in %s: %v", within, err)
		}
	}
}

// Law: however old a head is, its jobs are listed: a list that takes longer than a
// request may gets more time, and no more than it needs from then on.
func TestAJobListOfAnyAgeIsGivenTheTimeThatItTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &oldHead{head: newHead(), takes: 70 * time.Second}
		s := cache.New(h, cache.Options{Timeout: 30 * time.Second, RequestTimeout: 10 * time.Second})
		defer s.Close()
		untilListed(t, s, 5*time.Minute)
		if len(h.got) != 4 || h.got[3] != 80*time.Second {
			t.Errorf("the tries got %v; want 10s 20s 40s 80s", h.got)
		}
		// It is good for 50 times what it took, and the next try has enough at once.
		time.Sleep(50*h.takes - h.takes - time.Second)
		untilListed(t, s, 0)
		if len(h.got) != 4 {
			t.Errorf("asked again within 50 times what it took: %v", h.got)
		}
		time.Sleep(2 * time.Second)
		untilListed(t, s, 0)
		if len(h.got) != 5 || h.got[4] != 2*time.Minute {
			t.Errorf("the try after a success got %v; want 2m0s", h.got[4:])
		}
		// Old jobs were deleted.
		h.takes = time.Second
		time.Sleep(time.Hour)
		untilListed(t, s, 0)
		time.Sleep(time.Hour)
		untilListed(t, s, 0)
		if last := h.got[len(h.got)-1]; last != 10*time.Second {
			t.Errorf("a list that is quick again gets %s; want 10s", last)
		}
	})
}

// Law: a caller waits at most until its own deadline, however long the list may take.
func TestACallerOfALongJobListLeavesAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &oldHead{head: newHead(), takes: 70 * time.Second}
		s := cache.New(h, cache.Options{Timeout: 30 * time.Second, RequestTimeout: 10 * time.Second})
		defer s.Close()
		for range 30 { // scrapes
			ctx, cancel := context.WithTimeout(t.Context(), 9500*time.Millisecond)
			began := time.Now()
			_, _ = s.Jobs(ctx)
			if took := time.Since(began); took > 9500*time.Millisecond {
				t.Fatalf("waited %s", took)
			}
			cancel()
			time.Sleep(time.Until(began.Add(15 * time.Second)))
		}
		if _, err := s.Jobs(t.Context()); err != nil || len(h.got) != 4 {
			t.Errorf("%v, after tries of %v", err, h.got)
		}
	})
}

// Law: a head that never gives its list costs in the long run 2 % of the time more
// than one without patience would, and is found again soon when it answers.
func TestAHeadThatNeverListsItsJobsIsNotGivenAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &oldHead{head: newHead(), takes: time.Hour}
		s := cache.New(h, cache.Options{Timeout: 30 * time.Second, RequestTimeout: 10 * time.Second, DiscoveryTTL: 4 * time.Second})
		defer s.Close()
		const days = 4 * 24 * time.Hour
		var long, longest time.Duration
		for began := time.Now(); time.Since(began) < days; time.Sleep(5 * time.Second) {
			if _, err := s.JobsNewerThan(t.Context(), time.Time{}); ray.Code(err) != http.StatusRequestTimeout {
				t.Fatal(err)
			}
		}
		for _, d := range h.got {
			if longest = max(longest, d); d > 10*time.Second {
				long += d
			}
		}
		if share := long.Seconds() / days.Seconds(); share > 0.025 || longest != 2*time.Minute {
			t.Errorf("long tries take %.1f %% of the time, the longest %s", 100*share, longest)
		}
		h.takes = time.Second
		untilListed(t, s, 0)
	})
}
