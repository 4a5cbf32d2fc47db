//go:build e2e && linux

package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"raytap/ray"
	"raytap/ray/dashboard"
	"raytap/ray/transport"
	"raytap/test/program"
	"raytap/test/realray"
)

// libraryClient returns a raytap client of a head.
func libraryClient(t *testing.T, head *realray.Head) *dashboard.Client {
	t.Helper()
	tr, err := transport.New(transport.Options{URL: head.URL})
	if err != nil {
		t.Fatal(err)
	}
	c, err := dashboard.New(tr, dashboard.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestLibrary_DeployServe(t *testing.T) {
	t.Parallel() // it has its own head
	head := ownHead(t, realray.Options{CPUs: 4})
	c, ctx := libraryClient(t, head), within(t, 3*time.Minute)
	app := func(name string) map[string]any {
		return map[string]any{"name": name, "route_prefix": "/" + name, "import_path": "greeter:app"}
	}
	port := freePort(t)
	config := func(apps ...any) []byte {
		b, err := json.Marshal(map[string]any{"proxy_location": "HeadOnly", "http_options": map[string]any{"host": "127.0.0.1", "port": port}, "applications": apps})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	checkPlan := func(want string, apps ...any) {
		t.Helper()
		plan, err := c.PlanServe(ctx, config(apps...))
		var got []string
		for _, p := range plan.Changes {
			got = append(got, p.Action+" "+p.Name)
		}
		if s := strings.Join(got, ", "); err != nil || s != want || len(plan.Notes) > 0 {
			t.Errorf("the plan is %q, %q, %v; want %q", s, plan.Notes, err, want)
		}
	}
	checkPlan("add a, add b", app("a"), app("b"))
	if err := c.DeployServe(ctx, config(map[string]any{"name": "a"})); ray.Code(err) != http.StatusBadRequest || !strings.Contains(err.Error(), "import_path") {
		t.Errorf("an invalid configuration: %v", err)
	}
	if err := c.DeployServe(ctx, config(app("a"), app("b"))); err != nil {
		t.Fatal(err)
	}
	replicas := func() (string, error) {
		var res struct {
			Applications map[string]struct {
				Status      string
				Deployments map[string]struct {
					Replicas []struct {
						ID string `json:"replica_id"`
					}
				}
			}
		}
		err := head.Do(ctx, http.MethodGet, "/api/serve/applications/", nil, &res)
		return fmt.Sprint(res.Applications["b"].Deployments), err
	}
	running := func(names ...string) func() error {
		return func() error {
			s, err := c.Serve(ctx)
			var got []string
			for _, a := range s.Applications {
				got = append(got, a.Name)
				if a.Status != "RUNNING" {
					err = errors.Join(err, fmt.Errorf("%s is %s", a.Name, a.Status))
				}
			}
			if !slices.Equal(got, names) || !s.Running {
				err = errors.Join(err, fmt.Errorf("applications %q, Serve running: %t", got, s.Running))
			}
			return err
		}
	}
	eventually(t, time.Minute, "both applications are running", running("a", "b"))
	before, err := replicas()
	if err != nil {
		t.Fatal(err)
	}
	checkPlan("remove a, add c, unchanged b", app("b"), app("c"))
	file := filepath.Join(t.TempDir(), "serve.yaml")
	if err := os.WriteFile(file, config(app("a"), app("b")), 0o600); err != nil {
		t.Fatal(err)
	}
	deploy := exec.CommandContext(ctx, program.Binary(t), "serve", "deploy", file, "--url", head.URL, "--yes", "--wait", "--timeout", "1m", "-o", "json")
	deploy.Env = realray.CleanEnv()
	if out, err := deploy.Output(); err != nil || strings.Count(string(out), `"action": "unchanged"`) != 2 {
		t.Errorf("deploy the same configuration: %v\n%s", err, out)
	}
	if err := c.DeleteServeApplication(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "one application is deleted", running("b"))
	if after, err := replicas(); err != nil || after != before {
		t.Errorf("the replicas of the other application were %s and are %s, %v", before, after, err)
	}
	if err := c.DeleteServeApplication(ctx, "a"); ray.Code(err) != http.StatusNotFound {
		t.Errorf("delete it again: %v", err)
	}
	if err := c.DeleteServeApplication(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "no application is left, and Serve is running", running())
}

func TestLibrary_Tail(t *testing.T) {
	t.Parallel()
	head := sharedHead(t)
	c, ctx := libraryClient(t, head), within(t, 2*time.Minute)
	for _, protocol := range []string{ray.TailAuto, ray.TailWebSocket, ray.TailHTTP} {
		id, err := head.Submit(ctx, realray.Submission{
			Entrypoint: `python3 -u -c "import time; [(print('line', i), time.sleep(0.02)) for i in range(100)]; print('no end', end='')"`,
		})
		if err != nil {
			t.Fatal(err)
		}
		o := ray.DefaultTailOptions()
		o.Protocol = protocol
		var got []string
		for line, err := range c.Tail(ctx, id, o) {
			if err != nil {
				t.Fatalf("%s: %v", protocol, err)
			}
			got = append(got, line.Text)
		}
		body, err := c.JobLogs(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := io.ReadAll(body)
		_ = body.Close()
		want := strings.FieldsFunc(string(whole), func(r rune) bool { return r == '\n' || r == '\r' })
		if err != nil || !slices.Equal(got, want) || len(want) < 101 || want[len(want)-1] != "no end" {
			t.Errorf("%s: %d lines, the log has %d, %v", protocol, len(got), len(want), err)
		}
		if err := c.StopJob(ctx, id); ray.Code(err) != http.StatusBadRequest {
			t.Errorf("stop a job that has ended: %v", err)
		}
	}
}
