//go:build e2e && linux

package test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"raytap/test/realray"
)

// maxTails is the default of shipper.websocket.max_tails with a positions file.
const maxTails = 32

// With 100 open WebSockets, of all clients, Ray's Jobs API hangs. raytap must follow 100
// jobs with far fewer.
func TestShipper_HundredJobs(t *testing.T) {
	const count = 100
	head := sharedHead(t)
	sockets := newWebSocketProxy(t, head.URL)
	through := *head
	through.Client = &realray.Client{URL: sockets.URL}
	d := startDaemon(t, &through, settings{NodeAgents: "off"})

	start := time.Now()
	jobs := submitJobs(t, head, count)
	t.Logf("%d jobs submitted in %.0f s", count, time.Since(start).Seconds())
	users := startUsers(t, head)

	eventually(t, 8*time.Minute, "lines of every job are shipped", func() error {
		got, _ := d.shipped(t)
		for i, j := range jobs {
			// The start event, Ray's two lines, and lines of the job.
			if len(got[j.id]) < 6 {
				return fmt.Errorf("job %d of %d has %d records", i, len(jobs), len(got[j.id]))
			}
		}
		return d.running()
	})
	t.Logf("lines of all %d jobs were shipped after %.0f s", count, time.Since(start).Seconds())
	if err := d.mustScrape(t).want(count, "raytap_shipper_tails"); err != nil {
		t.Error(err)
	}
	// Observe for a while with all jobs running.
	<-time.After(20 * time.Second)
	p := d.mustScrape(t)
	held, _ := p.sum("raytap_shipper_stream_slots_in_use")
	open, maxOpen := sockets.counts()
	t.Logf("WebSockets: %d open, at most %d; raytap counts %g; limit %d", open, maxOpen, held, maxTails)
	if maxOpen > maxTails || held > maxTails || maxOpen == 0 {
		t.Errorf("%d WebSockets were open at once, raytap counts %g; the limit is %d", maxOpen, held, maxTails)
	}
	users.finish(t)

	stopAll(t, head, jobs)
	waitAll(t, head, 4*time.Minute, jobs)
	d.waitEnds(t, 3*time.Minute, ids(jobs)...)
	checkJobs(t, d, jobs)
	t.Logf("stopped in %s", d.stop(t).Round(time.Millisecond))
}

func submitJobs(t *testing.T, head *realray.Head, count int) []job {
	t.Helper()
	printers := make([]printer, count)
	for i := range printers {
		printers[i] = printer{Mode: "lines", Count: 1200, Seconds: 600, Name: fmt.Sprintf("hundred-%02d", i)}
	}
	return submitAll(t, head, printers)
}

// checkJobs checks the records of stopped jobs: all lines from the first one on, once and
// in order, and an end event.
func checkJobs(t *testing.T, d *daemon, jobs []job) {
	t.Helper()
	got, records := d.shipped(t)
	for _, j := range jobs {
		printed := len(got[j.id]) - 2 - len(headers)
		if printed < 1 {
			t.Errorf("job %s has %d records", j.name(), len(got[j.id]))
			continue
		}
		p := j.printer
		p.Count = printed
		checkRecords(t, "auto", p, j.id, "STOPPED", got[j.id])
	}
	p := d.mustScrape(t)
	requests, _ := p.sum("raytap_api_request_duration_seconds")
	cpu, _ := p.sum("process_cpu_seconds_total")
	t.Logf("%d records; raytap made %g requests and used %.1f CPU s", records, requests, cpu)
}

// stopAll stops the jobs, ten at a time.
func stopAll(t *testing.T, head *realray.Head, jobs []job) {
	t.Helper()
	var stops errgroup.Group
	stops.SetLimit(10)
	for _, j := range jobs {
		stops.Go(func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			return head.StopJob(ctx, j.id)
		})
	}
	if err := stops.Wait(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// users calls Ray's API repeatedly, like its users. Each call has a timeout of ten
// seconds.
type users struct {
	cancel  context.CancelFunc
	done    sync.WaitGroup
	mu      sync.Mutex
	calls   int
	slowest time.Duration
	errs    []error
}

func startUsers(t *testing.T, head *realray.Head) *users {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	u := &users{cancel: cancel}
	u.done.Go(func() { u.run(ctx, head) })
	t.Cleanup(func() {
		cancel()
		u.done.Wait()
	})
	return u
}

func (u *users) run(ctx context.Context, head *realray.Head) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	// A submit uses more than a second of CPU: do it less often.
	const submitInterval = 10
	for n := 0; ; n++ {
		u.call(ctx, "version", func(ctx context.Context) (err error) {
			_, _, err = head.Version(ctx)
			return err
		})
		if n%submitInterval == 0 {
			var id string
			u.call(ctx, "submit", func(ctx context.Context) (err error) {
				id, err = head.Submit(ctx, realray.Submission{Entrypoint: "exec sleep 20"})
				return err
			})
			u.call(ctx, "stop", func(ctx context.Context) error { return head.StopJob(ctx, id) })
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (u *users) call(ctx context.Context, what string, do func(context.Context) error) {
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	start := time.Now()
	err := do(limited)
	if ctx.Err() != nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.calls++
	u.slowest = max(u.slowest, time.Since(start))
	if err != nil {
		u.errs = append(u.errs, fmt.Errorf("%s: %w", what, err))
	}
}

func (u *users) finish(t *testing.T) {
	t.Helper()
	u.cancel()
	u.done.Wait()
	if len(u.errs) > 0 {
		t.Errorf("%d of %d calls failed, first: %v", len(u.errs), u.calls, u.errs[0])
	}
	t.Logf("version, submit and stop: %d calls, the slowest took %.2f s", u.calls, u.slowest.Seconds())
}
