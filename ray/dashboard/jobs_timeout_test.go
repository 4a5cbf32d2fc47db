package dashboard

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"raytap/ray"
	"raytap/ray/cache"
	"raytap/ray/transport"
)

// A job list that takes longer than the request timeout is read nevertheless; other
// requests keep that timeout.
func TestJobs_SlowerThanTimeout(t *testing.T) {
	const timeout = 50 * time.Millisecond
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(3 * timeout):
			_, _ = io.WriteString(w, `[{"submission_id":"a","status":"RUNNING"}]`)
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	tr, err := transport.New(transport.Options{URL: server.URL, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(tr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := cache.New(c, cache.Options{RequestTimeout: timeout, Timeout: 3 * timeout, TTL: time.Millisecond, DiscoveryTTL: time.Millisecond})
	defer s.Close()
	var jobs []ray.Job
	// A failure is cached for a second; six attempts would take 32 times the timeout.
	deadline := time.Now().Add(20 * time.Second)
	for range time.Tick(100 * time.Millisecond) {
		if jobs, err = s.JobsNewerThan(t.Context(), time.Now()); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil || len(jobs) != 1 {
		t.Errorf("got %v, %v", jobs, err)
	}
	if _, err := c.Job(t.Context(), "a"); ray.Code(err) != http.StatusRequestTimeout {
		t.Errorf("one job: %v; want a timeout", err)
	}
}
