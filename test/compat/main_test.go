//go:build e2e && linux

// Package compat runs raytap on older Rays. Several raytaps with different transports
// read the same jobs and are killed twice. Their records are compared with Ray's own log
// files.
package compat

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"raytap/test/program"
	"raytap/test/realray"
)

// release is the version of Ray; `make compat` installs it in .tools.
var release = flag.String("ray", "2.9.3", "version of Ray, installed in .tools/ray-VERSION")

func TestMain(m *testing.M) {
	realray.Main()
	os.Exit(program.Main(m))
}

// minor returns the minor version of the release: 9 for Ray 2.9.3.
func minor(t testing.TB) int {
	t.Helper()
	part := strings.Split(*release, ".")
	if len(part) < 2 {
		t.Fatalf("-ray %s is not a version", *release)
	}
	n, err := strconv.Atoi(part[1])
	if err != nil {
		t.Fatalf("-ray %s is not a version", *release)
	}
	return n
}

// startHead starts a head of the release, until the test ends. It uses token
// authentication if the release supports it. change may change its options.
func startHead(t *testing.T, change ...func(*realray.Options)) *realray.Head {
	t.Helper()
	o := realray.Options{CPUs: 8}
	for _, f := range change {
		f(&o)
	}
	if minor(t) >= 53 {
		o.Token = strings.Repeat("0123456789abcdef", 4)
	}
	// The dashboard's modules start slowly on a busy machine.
	o.Env = []string{"RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT=120"}
	if minor(t) >= 60 {
		// Task events go to the dashboard head, as in later releases.
		o.Env = append(o.Env, "RAY_enable_task_events_to_dashboard_head=1", "RAY_enable_ray_event=1",
			"RAY_enable_core_worker_ray_event_to_aggregator=1")
	}
	o.Ray = program.Tool(t, "ray-"+*release+"/bin/ray")
	began := time.Now()
	head, err := start(o)
	for try := 1; err != nil && try < 3; try++ { // the dashboard has 20 s to start, also on a busy machine
		t.Logf("try %d: %v", try, err)
		head, err = start(o)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			head.WriteLogs(t.Output())
		}
		if err := head.Stop(); err != nil {
			t.Error(err)
		}
	})
	eventually(t, time.Minute, "the head accepts jobs", func() error { // later than its dashboard is ready
		_, err := head.Submit(t.Context(), realray.Submission{Entrypoint: "true"})
		return err
	})
	version, session, err := head.Version(t.Context())
	if err != nil || version != *release {
		t.Fatalf("the head is Ray %q (%v), not %s", version, err, *release)
	}
	t.Logf("Ray %s started in %.1f s; /api/version has the session %q", version, time.Since(began).Seconds(), session)
	return head
}

func start(o realray.Options) (*realray.Head, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return realray.Start(ctx, o)
}

var eventually = program.Eventually

func quoted(s string) string { return fmt.Sprintf("%q", s) }
