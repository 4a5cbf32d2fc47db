package dashboard

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"raytap/ray"
	"raytap/ray/raytest"
)

// How long ago a job ended is measured by the cluster's clock, whether that is behind or
// ahead of this machine's.
func TestTail_FinishedLogByClusterClock(t *testing.T) {
	for _, row := range []struct {
		name       string
		ahead, ago time.Duration // the clock; how long ago the job ended, by that clock
		whole      bool
	}{
		{"behind, just ended", -2 * time.Minute, 0, false},
		{"behind, long ended", -2 * time.Minute, time.Minute, true},
		{"ahead, just ended", 2 * time.Minute, 0, false},
		{"ahead, long ended", 2 * time.Minute, time.Minute, true},
	} {
		head := raytest.New(t)
		job := head.Submit("j", raytest.JobOptions{EmptyLog: true})
		job.Print("one\n")
		job.EndAt(time.Now().Add(row.ahead-row.ago), "SUCCEEDED", 0)
		behind, err := url.Parse(head.URL())
		if err != nil {
			t.Fatal(err)
		}
		front := httptest.NewServer(&httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(behind) },
			ModifyResponse: func(r *http.Response) error {
				r.Header.Set("Date", time.Now().Add(row.ahead).UTC().Format(http.TimeFormat))
				return nil
			},
		})
		before := head.Requests(raytest.EndpointTail)
		lines, err := tailed(t.Context(), headClient(t, front.URL), "j", tailOptions(ray.TailAuto))
		if err != nil || len(lines) != 1 {
			t.Errorf("%s: %q, %v", row.name, lines, err)
		}
		if whole := head.Requests(raytest.EndpointTail) == before; whole != row.whole {
			t.Errorf("%s: read in one request: %v", row.name, whole)
		}
		front.Close()
	}
}
