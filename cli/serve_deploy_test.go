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

// The law: what a deployment does is shown before it is done, and nothing is
// done without a yes.
func TestDeployingShowsThePlanAndAsks(t *testing.T) {
	const (
		table = "APPLICATION  ACTION  DETAIL\nold          remove  it is not in the configuration\n" +
			"greeter      change  args, import_path\nsearch       add\ncode         keep    code deployed it (serve.run)\n"
		note     = "raytap: the target capacity is 50 and will be none\n"
		question = "Deploy this configuration (remove old; change 1; add 1)? [y/N] "
		accepted = "raytap: Ray has accepted the configuration: its applications are being deployed\n"
	)
	file := filepath.Join(t.TempDir(), "serve.yaml")
	if err := os.WriteFile(file, []byte("# built\napplications:\n- name: greeter\n  args: {x: 1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		o        deployOptions
		input    string
		asks     bool
		deployed bool
		stderr   string
		usage    bool
		refused  bool
	}{
		"yes":            {input: "y\n", asks: true, deployed: true, stderr: note + question + accepted},
		"no":             {input: "n\n", asks: true, stderr: note + question, refused: true},
		"nobody to ask":  {stderr: note, usage: true, refused: true},
		"--yes":          {o: deployOptions{yes: true}, deployed: true, stderr: note + accepted},
		"--dry-run":      {o: deployOptions{dryRun: true}, stderr: note},
		"both, dry wins": {o: deployOptions{dryRun: true, yes: true}, stderr: note},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := newScreen(row.input), cluster()
			s.Asks, f.plan, row.o.file = row.asks, aPlan, file
			err := deployApplications(context.Background(), f, row.o, s.printer(formTable))
			s.want(t, table, row.stderr)
			var usage *UsageError
			if (err != nil) != row.refused || errors.As(err, &usage) != row.usage {
				t.Errorf("got %v", err)
			}
			if (len(f.asked) == 1) != row.deployed || f.config != `{"applications":[{"args":{"x":1},"name":"greeter"}]}` {
				t.Errorf("asked %q with %s", f.asked, f.config)
			}
		})
	}
}

func TestAServeConfigurationIsYAMLOrJSON(t *testing.T) {
	for in, want := range map[string]string{
		`{"applications": [ ]}`:            `{"applications": [ ]}`, // as it is
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
		t.Errorf("a file that is not there: %v", err)
	}
}

// steps is a cluster whose applications change with each look.
type steps struct {
	*fake
	looks [][]ray.ServeApplication
}

func (s *steps) Serve(context.Context) (ray.ServeStatus, error) {
	apps := s.looks[0]
	if len(s.looks) > 1 {
		s.looks = s.looks[1:]
	}
	return ray.ServeStatus{Applications: apps, Running: true}, nil
}

// The law: --wait ends when all run and what was removed is gone, or with Ray's
// words at what failed; what an earlier deployment came to does not count.
func TestWaitingForADeployment(t *testing.T) {
	begin := time.Unix(1000, 0)
	app := func(name, status, message string, deployed int) ray.ServeApplication {
		return ray.ServeApplication{Name: name, Status: status, Message: message, LastDeployed: begin.Add(time.Duration(deployed) * time.Second)}
	}
	list := func(apps ...ray.ServeApplication) []ray.ServeApplication { return apps }
	failed := app("search", "DEPLOY_FAILED", "Failed to update B.\n", 1)
	failed.Deployments = []ray.ServeDeployment{{Name: "A", Status: "HEALTHY", Message: "well"}, {Name: "B", Status: "DEPLOY_FAILED", Message: "Traceback:\nboom\n"}}
	before := list(app("old", "RUNNING", "", 0), app("greeter", "DEPLOY_FAILED", "of before", 0))
	for name, row := range map[string]struct {
		looks [][]ray.ServeApplication
		err   string
	}{
		"all run": {looks: [][]ray.ServeApplication{before, before,
			list(app("old", "DELETING", "", 0), app("greeter", "DEPLOYING", "", 1), app("search", "DEPLOYING", "", 1)),
			list(app("greeter", "RUNNING", "", 1), app("search", "RUNNING", "", 1), app("code", "UNHEALTHY", "", 0)),
		}},
		"one fails": {looks: [][]ray.ServeApplication{before,
			list(app("old", "DELETING", "", 0), app("greeter", "DEPLOYING", "", 1), failed),
		}, err: "the application search: DEPLOY_FAILED: Failed to update B.\nB: Traceback:\nboom"},
		"one does not get there": {looks: [][]ray.ServeApplication{before, list(app("greeter", "UNHEALTHY", "", 1))},
			err: "the configuration was accepted, and within 1m0s (--timeout) it was not done: greeter is UNHEALTHY, search is not there yet"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := newScreen(`{"applications":[]}`), &steps{cluster(), row.looks}
				c.plan = aPlan
				err := deployApplications(t.Context(), c, deployOptions{file: "-", yes: true, wait: true, timeout: time.Minute}, s.printer(formJSON))
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

// The law: only a - that was typed is standard input; an empty name is not.
func TestADashIsStandardInput(t *testing.T) {
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
			t.Errorf("%q: %v; a plan was made of %q", arg, err, f.config)
		}
	}
}
