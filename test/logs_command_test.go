//go:build e2e && linux

package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/test/program"
	"raytap/test/realray"
)

// printers is a job whose actor prints numbered lines, which the driver's log only has in
// part, and whose tasks print one line each.
const printers = `import ray, sys, time
ray.init(log_to_driver=False)

@ray.remote
class Printer:
    def run(self, n):
        print("to stderr", file=sys.stderr)
        for i in range(n):
            print("line", i, "x" * 80)
            time.sleep(0.001)
        print("done")

@ray.remote
def task(i):
    print("task", i)

printer = Printer.remote()
ray.get([printer.run.remote(4000)] + [task.remote(i) for i in range(5)])
time.sleep(2)
`

// TestLogs: the commands find, follow, print and collect what workers print, across
// rotations.
func TestLogs(t *testing.T) {
	t.Parallel() // it has its own head
	head := ownHead(t, realray.Options{CPUs: 2, Env: []string{"RAY_ROTATION_MAX_BYTES=50000", "RAY_ROTATION_BACKUP_COUNT=20", "RAY_LOG_MONITOR_MAX_OPEN_FILES=4"}})
	ctx := within(t, 3*time.Minute)
	script := program.TempFile(t, printers)
	id, err := head.Submit(ctx, realray.Submission{Entrypoint: "python3 " + script})
	if err != nil {
		t.Fatal(err)
	}
	logs := func(args ...string) (stdout string) {
		code, stdout, stderr := program.Run(t, nil, append(append([]string{"logs"}, args...), "--url", head.URL)...)
		if code != 0 {
			t.Fatalf("logs %q: %d, %s", args, code, stderr)
		}
		return stdout
	}
	// The actor's log is the one that is rotated.
	var worker string
	eventually(t, time.Minute, "the log of the actor is listed, rotated", func() error {
		var files []struct {
			Worker     string `json:"worker_id"`
			Name       string `json:"name"`
			Generation int    `json:"generation"`
		}
		if err := json.Unmarshal([]byte(logs("list", "--job", id, "--source", "worker", "-o", "json")), &files); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if f.Generation > 0 {
				worker = f.Worker
			}
		}
		if worker == "" {
			return fmt.Errorf("%+v", files)
		}
		return nil
	})
	file := []string{"--worker", worker, "--file", "*.out"}
	follow := program.NewCommand(t, nil, append([]string{"logs", "tail", "-f", "--url", head.URL}, file...)...)
	follow.Start()
	var want strings.Builder
	for i := range 4000 {
		fmt.Fprintln(&want, "line", i, strings.Repeat("x", 80))
	}
	want.WriteString("done\n")
	follow.Process.Until(time.Minute, "the actor is done", func() bool { return strings.HasSuffix(follow.Stdout.String(), "done\n") })
	if _, err := head.WaitJob(ctx, id, realray.JobInfo.Terminal); err != nil {
		t.Fatal(err)
	}
	all := logs(append([]string{"get", "--generations"}, file...)...)
	if !strings.HasSuffix(all, want.String()) {
		t.Errorf("the log has %d bytes and ends with %q, want %d bytes", len(all), program.Last(all, 200), want.Len())
	}
	if got := follow.Stdout.String(); got != all {
		t.Errorf("followed %d bytes of the log, which has %d", len(got), len(all))
	}
	if got := logs(append([]string{"tail", "-n", "2"}, file...)...); !strings.HasSuffix(got, "x\ndone\n") || strings.Count(got, "\n") != 2 {
		t.Errorf("the last lines: %q", got)
	}
	to := filepath.Join(t.TempDir(), "logs")
	logs("collect", "--job", id, "--to", to)
	var text strings.Builder
	matches, err := filepath.Glob(filepath.Join(to, "*", "*"))
	old, oldErr := filepath.Glob(filepath.Join(to, "*", "old", "*"))
	if err != nil || oldErr != nil {
		t.Fatal(err, oldErr)
	}
	for _, name := range append(matches, old...) {
		if b, err := os.ReadFile(name); err == nil {
			text.Write(b)
		}
	}
	for _, line := range []string{"line 0 x", "line 3999 x", "to stderr", "task 0\n", "task 4\n", "Running entrypoint for job " + id} {
		if strings.Count(text.String(), line) != 1 {
			t.Errorf("%q is %d times in what was collected", line, strings.Count(text.String(), line))
		}
	}
}
