package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"raytap/ray"
)

var aPlan = ray.ServePlan{
	Changes: []ray.ServePlanned{
		{Name: "old", Action: ray.ServeRemove}, {Name: "greeter", Action: ray.ServeChange, Fields: []string{"args", "import_path"}},
		{Name: "search", Action: ray.ServeAdd}, {Name: "code", Action: ray.ServeKeep},
	},
	Notes: []string{"the target capacity is 50 and will be none"},
}

// The plan is shown first, and nothing is deployed without a confirmation.
func TestDeploy_Confirmation(t *testing.T) {
	const (
		table = "APPLICATION  ACTION  DETAIL\nold          remove  not in the configuration\n" +
			"greeter      change  args, import_path\nsearch       add\ncode         keep    deployed by code (serve.run)\n"
		note     = "raytap: the target capacity is 50 and will be none\n"
		question = "Deploy this configuration (remove old; change 1; add 1)? [y/N] "
		accepted = "raytap: configuration accepted; Ray is deploying the applications\n"
	)
	file := filepath.Join(t.TempDir(), "serve.yaml")
	if err := os.WriteFile(file, []byte("# built\napplications:\n- name: greeter\n  args: {x: 1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		o           deployOptions
		input       string
		interactive bool
		deployed    bool
		stderr      string
		usage       bool
		refused     bool
	}{
		"yes":             {input: "y\n", interactive: true, deployed: true, stderr: note + question + accepted},
		"no":              {input: "n\n", interactive: true, stderr: note + question, refused: true},
		"no terminal":     {stderr: note, usage: true, refused: true},
		"--yes":           {o: deployOptions{yes: true}, deployed: true, stderr: note + accepted},
		"--dry-run":       {o: deployOptions{dryRun: true}, stderr: note},
		"--dry-run --yes": {o: deployOptions{dryRun: true, yes: true}, stderr: note},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := newScreen(row.input), cluster()
			s.Interactive, f.plan, row.o.file = row.interactive, aPlan, file
			err := deployApplications(context.Background(), f, row.o, s.printer(formatTable))
			s.want(t, table, row.stderr)
			var usage *UsageError
			if (err != nil) != row.refused || errors.As(err, &usage) != row.usage {
				t.Errorf("got %v", err)
			}
			if (len(f.calls) == 1) != row.deployed || f.config != `{"applications":[{"args":{"x":1},"name":"greeter"}]}` {
				t.Errorf("calls %q, configuration %s", f.calls, f.config)
			}
		})
	}
}

func TestDeploy_ReadConfiguration(t *testing.T) {
	for in, want := range map[string]string{
		`{"applications": [ ]}`:            `{"applications": [ ]}`, // unchanged
		"applications: []\n":               `{"applications":[]}`,
		"a: 0123456789\nb: 1.50\nc: yes\n": `{"a":123456789,"b":1.5,"c":"yes"}`,
		"a: [1":                            "neither YAML nor JSON",
		"a: 1\n---\nb: 2\n":                "more than one YAML document",
		"a: .nan\n":                        "JSON cannot express",
		"1: a\n":                           "JSON cannot express",
		"a: 1\na: 2\n":                     "neither YAML nor JSON",
		"":                                 "neither YAML nor JSON",
		strings.Repeat("#", maxServeConfig) + "\n": "larger than 16 MiB",
	} {
		out, err := readServeConfig("-", strings.NewReader(in))
		var usage *UsageError
		if err != nil && (!errors.As(err, &usage) || !strings.Contains(err.Error(), want)) || err == nil && string(out) != want {
			t.Errorf("%.40q: %s, %v; want %s", in, out, err, want)
		}
	}
	var usage *UsageError
	if _, err := readServeConfig(filepath.Join(t.TempDir(), "none"), nil); !errors.As(err, &usage) {
		t.Errorf("a missing file: %v", err)
	}
}

// steps is a cluster whose applications change with each request.
type steps struct {
	*fake
	answers [][]ray.ServeApplication
}

func (s *steps) Serve(context.Context) (ray.ServeStatus, error) {
	apps := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	return ray.ServeStatus{Applications: apps, Running: true}, nil
}

// --wait ends when all applications are running and removed ones are gone, or with
// Ray's message when one fails. The status of an earlier deployment is ignored.
func TestDeploy_Wait(t *testing.T) {
	begin := time.Unix(1000, 0)
	app := func(name, status, message string, deployed int) ray.ServeApplication {
		return ray.ServeApplication{Name: name, Status: status, Message: message, LastDeployed: begin.Add(time.Duration(deployed) * time.Second)}
	}
	list := func(apps ...ray.ServeApplication) []ray.ServeApplication { return apps }
	failed := app("search", "DEPLOY_FAILED", "Failed to update B.\n", 1)
	failed.Deployments = []ray.ServeDeployment{{Name: "A", Status: "HEALTHY", Message: "fine"}, {Name: "B", Status: "DEPLOY_FAILED", Message: "Traceback:\nboom\n"}}
	before := list(app("old", "RUNNING", "", 0), app("greeter", "DEPLOY_FAILED", "earlier error", 0))
	for name, row := range map[string]struct {
		answers [][]ray.ServeApplication
		err     string
	}{
		"all running": {answers: [][]ray.ServeApplication{before, before,
			list(app("old", "DELETING", "", 0), app("greeter", "DEPLOYING", "", 1), app("search", "DEPLOYING", "", 1)),
			list(app("greeter", "RUNNING", "", 1), app("search", "RUNNING", "", 1), app("code", "UNHEALTHY", "", 0)),
		}},
		"one fails": {answers: [][]ray.ServeApplication{before,
			list(app("old", "DELETING", "", 0), app("greeter", "DEPLOYING", "", 1), failed),
		}, err: "application search: DEPLOY_FAILED: Failed to update B.\nB: Traceback:\nboom"},
		"timeout": {answers: [][]ray.ServeApplication{before, list(app("greeter", "UNHEALTHY", "", 1))},
			err: "configuration accepted, but not deployed within 1m0s (--timeout): greeter is UNHEALTHY, search does not exist yet"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := newScreen(`{"applications":[]}`), &steps{cluster(), row.answers}
				c.plan = aPlan
				err := deployApplications(t.Context(), c, deployOptions{file: "-", yes: true, wait: true, timeout: time.Minute}, s.printer(formatJSON))
				if (row.err == "") != (err == nil) || err != nil && err.Error() != row.err {
					t.Errorf("got %v", err)
				}
				if !strings.Contains(s.out.String(), `"action": "remove"`) {
					t.Errorf("the plan is not JSON: %s", s.out.String())
				}
			})
		})
	}
}

// Only "-" is standard input; an empty file name is an error.
func TestDeploy_Stdin(t *testing.T) {
	for _, arg := range []string{"-", ""} {
		s, f := newScreen("applications: []"), cluster()
		app := kingpin.New("raytap", "")
		c := New(app, Options{Console: s.Console, ConnectFlags: func(Flags) {}, Connect: func() (Cluster, error) { return f, nil }, Dash: arg == "-"})
		command, err := app.Parse([]string{"serve", "deploy", arg, "--dry-run"})
		if err == nil {
			err = c.Run(t.Context(), command)
		}
		var usage *UsageError
		if errors.As(err, &usage) != (arg == "") || (f.config == `{"applications":[]}`) != (arg == "-") {
			t.Errorf("%q: %v; planned %q", arg, err, f.config)
		}
	}
}
