package commands

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"raytap/ray/raytest"
	"raytap/test/program"
)

// An unsupported RAY_ADDRESS is an error, not ignored.
func TestEnvironment_RayAddress(t *testing.T) {
	head := raytest.New(t)
	job := head.Submit("j", raytest.JobOptions{})
	code, _, stderr := program.Run(t, []string{"RAY_ADDRESS=ray://somewhere:10001"}, "jobs", "stop", "--yes", "j")
	if code != 2 || !strings.Contains(stderr, "RAY_ADDRESS: ") || !strings.Contains(stderr, "set RAY_API_SERVER_ADDRESS") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	// The same holds for the daemon.
	if code, _, stderr := program.Run(t, []string{"RAY_ADDRESS=somewhere:6380"}); code != 2 || !strings.Contains(stderr, "RAY_ADDRESS: ") {
		t.Errorf("the daemon: exit code %d, %q", code, stderr)
	}
	// The derived address is printed, but only if it is used.
	if _, _, stderr := program.Run(t, []string{"RAY_ADDRESS=nowhere.invalid:6379"}, "health"); !strings.Contains(stderr, "using http://nowhere.invalid:8265") {
		t.Errorf("stderr %q", stderr)
	}
	if code, _, stderr := program.Run(t, []string{"RAY_ADDRESS=ray://somewhere:10001"}, "jobs", "stop", "--yes", "--wait", "j", "--url", head.URL()); code != 0 || job.Status() != "STOPPED" || strings.Contains(stderr, "RAY_ADDRESS") {
		t.Errorf("with --url: exit code %d, %s, %q", code, job.Status(), stderr)
	}
}

func TestEnvironment_HeadersAreSentNotPrinted(t *testing.T) {
	head := raytest.New(t)
	var seen atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Gate") == "hunter2" {
			seen.Add(1)
			http.Redirect(w, r, head.URL()+r.URL.RequestURI(), http.StatusTemporaryRedirect)
			return
		}
		http.Error(w, "no", http.StatusForbidden)
	}))
	defer server.Close()
	env := []string{"RAY_API_SERVER_ADDRESS=" + server.URL, `RAY_JOB_HEADERS={"X-Gate": "hunter2"}`}
	_, _, stderr := program.Run(t, env, "jobs", "list")
	if seen.Load() == 0 || strings.Contains(stderr, "hunter2") {
		t.Errorf("%d requests have the header; stderr %q", seen.Load(), stderr)
	}
	if code, shown, _ := program.Run(t, env, "config", "show"); code != 0 || !strings.Contains(shown, "X-Gate: <secret>") || strings.Contains(shown, "hunter2") {
		t.Errorf("config show: exit code %d:\n%s", code, shown)
	}
}
