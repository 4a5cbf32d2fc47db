//go:build e2e && linux

package compat

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

// restarting is a job whose actor is killed and restarted once, and prints in both of its
// workers.
const restarting = `import os, ray, time
ray.init(log_to_driver=False)

@ray.remote(max_restarts=1, max_task_retries=0)
class Restarted:
    def say(self, text):
        print(text, flush=True)
        return os.getpid()
    def die(self):
        os._exit(1)

actor = Restarted.remote()
print("actor", actor._actor_id.hex(), flush=True)
ray.get(actor.say.remote("first life"))
try:
    ray.get(actor.die.remote())
except ray.exceptions.RayError:
    pass
for _ in range(50):
    try:
        ray.get(actor.say.remote("second life"))
        break
    except ray.exceptions.RayError:
        time.sleep(0.2)
print("restarted", flush=True)
time.sleep(600)
`

// The commands for the log files of nodes work: also for both workers of an actor that was
// restarted.
func TestCompat_Logs(t *testing.T) {
	head := startHead(t, func(o *realray.Options) {
		if o.CPUs = 2; minor(t) < 60 { // it does not report the port
			o.AgentPort = 52365
		}
	})
	script := filepath.Join(t.TempDir(), "restarting.py")
	program.File(t, script, restarting)
	id, err := head.Submit(t.Context(), realray.Submission{Entrypoint: "python3 " + script})
	if err != nil {
		t.Fatal(err)
	}
	env := []string(nil)
	if head.Token != "" {
		env = []string{"RAY_AUTH_TOKEN=" + head.Token}
	}
	try := func(args ...string) (string, error) {
		code, stdout, stderr := program.Run(t, env, append(append([]string{"logs"}, args...), "--url", head.URL)...)
		if code != 0 {
			return "", fmt.Errorf("logs %q: exit code %d, %s", args, code, stderr)
		}
		return stdout, nil
	}
	logs := func(args ...string) string {
		t.Helper()
		out, err := try(args...)
		if err != nil {
			t.Error(err)
		}
		return out
	}
	driver := []string{"--job", id, "--source", "driver"}
	actor := ""
	eventually(t, 2*time.Minute, "the actor was restarted", func() error {
		text, err := try(append([]string{"get"}, driver...)...)
		_, rest, _ := strings.Cut(text, "actor ")
		actor, _, _ = strings.Cut(rest, "\n")
		if err == nil && !strings.Contains(text, "restarted") {
			err = fmt.Errorf("the driver's log: %q", text)
		}
		return err
	})
	if got := logs(append([]string{"tail", "-n", "1"}, driver...)...); got != "restarted\n" {
		t.Errorf("the last line of the driver: %q", got)
	}
	workers := map[string]bool{}
	eventually(t, time.Minute, "both workers of the actor are listed", func() error {
		text, err := try("list", "--actor", actor, "--file", "*.out", "-o", "json")
		if err != nil {
			return err
		}
		var files []struct {
			Worker string `json:"worker_id"`
			Size   *int64 `json:"size"`
		}
		if err := json.Unmarshal([]byte(text), &files); err != nil {
			return err
		}
		for _, f := range files {
			workers[f.Worker] = f.Size != nil
		}
		if len(workers) != 2 {
			return fmt.Errorf("got %s", text)
		}
		return nil
	})
	lines := ""
	for worker, sized := range workers {
		lines += logs("tail", "-n", "1", "--worker", worker, "--file", "*.out")
		if !sized && head.Token == "" {
			t.Errorf("the file of worker %s has no size", worker)
		}
	}
	if !strings.Contains(lines, "first life") || !strings.Contains(lines, "second life") {
		t.Errorf("the last lines of the actor's workers: %q", lines)
	}
	for what, selection := range map[string][]string{"job": {"--job", id}, "raylet.out": {"--source", "system", "--file", "raylet.out"}} {
		dir := filepath.Join(t.TempDir(), what)
		logs(append([]string{"collect", "--to", dir}, selection...)...)
		found, err := filepath.Glob(filepath.Join(dir, "*", "*"))
		if err != nil || len(found) == 0 {
			t.Errorf("nothing was collected of %s (%v)", what, err)
		}
		for _, f := range found {
			if s, err := os.Stat(f); err != nil || !s.Mode().IsRegular() {
				t.Errorf("%s was collected as %v (%v)", f, s, err)
			}
		}
	}
}
