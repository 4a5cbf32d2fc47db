package commands

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/ray/synapsetest"
	"raytap/test/program"
)

var update = flag.Bool("update", false, "write the golden files")

func TestCommand_Results(t *testing.T) {
	head := raytest.New(t)
	head.Submit("running", raytest.JobOptions{Metadata: map[string]string{"job_name": "train"}}).Print("a\nb\n")
	head.Submit("waits", raytest.JobOptions{Pending: true})
	guarded := raytest.New(t, raytest.Token("right"))
	right := program.TempFile(t, "right\n")
	one := program.TempFile(t, "clusters: [{name: only, url: '"+head.URL()+"'}]\n")
	two := program.TempFile(t, "clusters: [{name: first, url: '"+head.URL()+"'}, {name: second, url: 'http://127.0.0.1:1'}]\n")
	wrong := program.TempFile(t, "clusters: [{name: only, url: 'ray:8265'}]\n")
	url := "--url=" + head.URL()
	ray := "RAY_API_SERVER_ADDRESS=" + head.URL()
	for name, tt := range map[string]struct {
		args   string
		env    string
		code   int
		stdout string // a part of it; "" means empty
		stderr string // a part of it; "" means empty
	}{
		"a list":                     {"jobs list " + url, "", 0, "running", ""},
		"an empty list":              {"jobs list --status FAILED " + url, "", 0, "", "no jobs match (2 in total)"},
		"the singular of a group":    {"job get running " + url, "", 0, "train", ""},
		"the cluster of Ray's tools": {"jobs list", ray, 0, "running", ""},
		"the only cluster of a file": {"jobs list --config.file " + one, "", 0, "running", ""},
		"one of two":                 {"jobs list --cluster first --config.file " + two, "", 0, "running", ""},
		"an unreachable cluster":     {"jobs list --cluster second --config.file " + two, "", 1, "", "list jobs: 503 connection refused"},
		"one not chosen":             {"jobs list --config.file " + two, "", 2, "", "has 2 clusters: set --cluster to one of first, second"},
		"an unknown name":            {"jobs list --cluster third --config.file " + two, "", 2, "", `has no cluster "third": set --cluster to one of first, second`},
		"--cluster without a file":   {"jobs list --cluster first", ray, 2, "", "--cluster requires --config.file"},
		"--url with --config.file":   {"jobs list --config.file " + one + " " + url, "", 2, "", "cannot be combined with --config.file"},
		"an invalid file":            {"jobs list --config.file " + wrong, "", 2, "", "clusters[0].url"},
		"an invalid URL":             {"jobs list --url ray:8265", "", 2, "", "--url: "},
		"an unknown API":             {"jobs list --api dance " + url, "", 2, "", "raytap jobs list --help"},
		"an unknown flag":            {"jobs list --nope " + url, "", 2, "", "try raytap jobs list --help"},
		"no subcommand":              {"jobs", "", 2, "", "must select a subcommand"},
		"no id":                      {"jobs get " + url, "", 2, "", "required argument 'id' not provided"},
		"an unknown job":             {"jobs get nope " + url, "", 1, "", "get job: 404 "},
		"no token":                   {"jobs list --url " + guarded.URL(), "", 1, "", "check the token (--token-file"},
		"--token-file":               {"jobs list -o json --token-file " + right + " --url " + guarded.URL(), "", 0, "[]", ""},
		"RAY_AUTH_TOKEN":             {"jobs list -o json --url " + guarded.URL(), "RAY_AUTH_TOKEN=right", 0, "[]", ""},
		"a missing token file":       {"jobs list --token-file /nonexistent/token " + url, "", 2, "", "--token-file: stat /nonexistent/token: no such file"},
		"a command for agents only":  {"resources " + url, "", 1, "", "get cluster resources: 501 "},
		"health":                     {"health " + url, "", 0, "2.60.0", ""},
		"health of no cluster":       {"health --url http://127.0.0.1:1", "", 1, "", "connection refused"},
		"a log":                      {"jobs logs running " + url, "", 0, "a\nb\n", ""},
		"the last line of a log":     {"jobs tail -n 1 running " + url, "", 0, "b\n", ""},
		"a flag that needs --follow": {"jobs tail --max-lines 5 running " + url, "", 2, "", "--max-lines requires --follow"},
		"an invalid timeout":         {"jobs tail -f --timeout 301s running " + url, "", 2, "", "at most 5m"},
		"an invalid size":            {"jobs tail -f --max-bytes many running " + url, "", 2, "", "is not a size"},
		"stop without a terminal":    {"jobs stop running " + url, "", 2, "", "use --yes"},
		"stop --yes":                 {"jobs stop --yes waits " + url, "", 0, "", "stop requested for job waits"},
		"a script for bash":          {"completion bash", "", 0, "complete -F _raytap_bash_autocomplete", ""},
		"a script for zsh":           {"completion zsh", "", 0, "#compdef raytap", ""},
		"a script for fish":          {"completion fish", "", 0, "complete -c raytap", ""},
		"an unknown shell":           {"completion csh", "", 2, "", "raytap completion --help"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := program.Run(t, []string{tt.env}, strings.Fields(tt.args)...)
			if code != tt.code || !has(stdout, tt.stdout) || !has(stderr, tt.stderr) {
				t.Errorf("exit code %d, want %d\nstdout %q\n  want %q\nstderr %q\n  want %q", code, tt.code, stdout, tt.stdout, stderr, tt.stderr)
			}
		})
	}
}

// has reports whether a text has a part; the part "" means that the text is empty.
func has(text, part string) bool { return (text == "") == (part == "") && strings.Contains(text, part) }

func TestHelp_AllCommands(t *testing.T) {
	_, all, _ := program.Run(t, nil, "--help")
	names := regexp.MustCompile(`(?m)^  ([a-z]+(?: [a-z]+)?)(?: \[?<| {2,}|$)`).FindAllStringSubmatch(all[strings.Index(all, "Commands:"):strings.Index(all, "\nFlags:")], -1)
	if len(names) < 18 {
		t.Fatalf("only %d commands in:\n%s", len(names), all)
	}
	for _, name := range names {
		if name[1] == "help" || name[1] == "run" {
			continue
		}
		code, help, stderr := program.Run(t, nil, append(strings.Fields(name[1]), "--help")...)
		if code != 0 || stderr != "" || !strings.HasPrefix(help, "usage: raytap "+name[1]) {
			t.Errorf("%s: exit code %d, %q, %q", name[1], code, stderr, help)
		}
		if name[1] != "version" && !strings.Contains(help, "\n  raytap "+name[1]) && !strings.Contains(help, "raytap "+name[1]+" ") {
			t.Errorf("the help of %s has no example:\n%s", name[1], help)
		}
		if strings.Contains(help, "web.listen-address") != (name[1] == "config show") {
			t.Errorf("%s: daemon flags in the help of a wrong command:\n%s", name[1], help)
		}
	}
	if !strings.Contains(all, "--web.listen-address") {
		t.Errorf("no daemon flags in:\n%s", all)
	}
}

// Both APIs have the same schema.
func TestJSON_Golden(t *testing.T) {
	start, begun := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), time.Now()
	head := raytest.New(t)
	job := head.Submit("train-7", raytest.JobOptions{Metadata: map[string]string{"job_name": "train"}, JobID: "01000000", Start: start})
	job.Print("row 5 has no label\n")
	job.End("FAILED", 3)
	for endpoint, file := range map[string]string{raytest.EndpointTasks: "tasks_list_detail", raytest.EndpointServe: "serve_applications"} {
		recorded, err := os.ReadFile(filepath.Join("../../ray/dashboard/testdata/2.60.0", file+".json"))
		if err != nil {
			t.Fatal(err)
		}
		head.SetResponse(endpoint, recorded)
	}
	agent := synapsetest.New(t, synapsetest.Token("right"), synapsetest.Prefix("/agents/a1"))
	other := agent.Submit("train-7", synapsetest.JobOptions{Metadata: map[string]string{"job_name": "train"}, JobID: "01000000", Start: start})
	other.Print("row 5 has no label\n")
	other.End("FAILED", 3)
	token := program.TempFile(t, "right\n")
	for api, flags := range map[string][]string{
		"ray":     {"--url", head.URL()},
		"synapse": {"--api", "synapse", "--url", agent.URL(), "--token-file", token},
	} {
		for _, args := range []string{"jobs list", "jobs get train-7", "nodes list", "tasks list", "serve list", "gpus", "resources", "health"} {
			if api == "ray" && args == "resources" {
				continue
			}
			t.Run(api+" "+args, func(t *testing.T) {
				golden := filepath.Join("testdata", api, strings.ReplaceAll(args, " ", "-")+".json")
				code, stdout, stderr := program.Run(t, nil, append(append(strings.Fields(args), "-o", "json"), flags...)...)
				if code != 0 {
					t.Fatalf("exit code %d: %s", code, stderr)
				}
				compare(t, golden, normal(stdout, begun))
			})
		}
	}
}

var (
	times   = regexp.MustCompile(`"20[0-9T:.-]+Z"`)
	address = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	// The fake head reports the port of its own agent.
	agentPort = regexp.MustCompile(`("dashboard_agent": )\d+`)
)

// normal replaces what differs in each run: recent times, and addresses.
func normal(answer string, since time.Time) string {
	answer = times.ReplaceAllStringFunc(answer, func(s string) string {
		at, err := time.Parse(`"`+time.RFC3339Nano+`"`, s)
		if err == nil && at.After(since.Add(-time.Second)) && at.Before(time.Now().Add(time.Second)) {
			return `"NOW"`
		}
		return s
	})
	answer = agentPort.ReplaceAllString(answer, "${1}52365")
	return address.ReplaceAllString(answer, "ADDRESS")
}

func compare(t *testing.T, golden, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the output differs from %s (go test -update writes it). Got:\n%s", golden, got)
	}
}

func TestFollow_ReconnectsWithoutLoss(t *testing.T) {
	head, agent := raytest.New(t), synapsetest.New(t)
	rayJob, agentJob := head.Submit("j", raytest.JobOptions{EmptyLog: true}), agent.Submit("j", synapsetest.JobOptions{})
	for api, d := range map[string]struct {
		flags []string
		print func(string)
		cut   func()
		open  func() bool
		up    func() error
		down  func()
		end   func(string, int)
	}{
		"ray": {[]string{"--url", head.URL()}, rayJob.Print, func() { head.CutTails(raytest.CutReset, "j") },
			func() bool { return head.OpenTails() > 0 }, head.Up, head.Down, rayJob.End},
		"synapse": {[]string{"--api", "synapse", "--url", agent.URL()}, agentJob.Print, func() { agent.CutTails(synapsetest.CutReset, "j") },
			func() bool { return agent.OpenTails() > 0 }, agent.Up, agent.Down, agentJob.End},
	} {
		t.Run(api, func(t *testing.T) {
			p := program.NewCommand(t, nil, append([]string{"jobs", "tail", "-f", "j"}, d.flags...)...)
			p.Start()
			var want strings.Builder
			step := func(n int) {
				for i := range 25 {
					line := fmt.Sprintf("step %d line %d\n", n, i)
					d.print(line)
					want.WriteString(line)
				}
			}
			arrived := func() bool { return p.Stdout.String() == want.String() }
			for n := range 4 {
				step(n)
				p.Until("the lines arrive", arrived)
				p.Until("it is connected", d.open)
				if n < 2 {
					d.cut()
				} else {
					d.down()
					step(100 + n)
					if err := d.up(); err != nil {
						t.Fatal(err)
					}
				}
			}
			d.end("FAILED", 7)
			if code := p.Code(); code != 1 || !arrived() {
				t.Errorf("exit code %d; stdout %d bytes, want %d", code, len(p.Stdout.String()), want.Len())
			}
			if got := p.Stderr.String(); got != "raytap: job j: FAILED, driver exit code 7\n" && api == "synapse" ||
				!strings.Contains(got, "job j: FAILED, driver exit code 7") {
				t.Errorf("stderr: %q", got)
			}
		})
	}
}

func TestFollow_Succeeded(t *testing.T) {
	head := raytest.New(t)
	job := head.Submit("j", raytest.JobOptions{EmptyLog: true})
	job.Print("one\ntwo\nthree\n")
	job.End("SUCCEEDED", 0)
	for args, want := range map[string]string{"": "one\ntwo\nthree\n", "--lines 1": "three\n", "--protocol http": "one\ntwo\nthree\n", "--max-lines 3": "one\ntwo\nthree\n"} {
		code, stdout, stderr := program.Run(t, nil, append(strings.Fields("jobs tail -f j --url "+head.URL()), strings.Fields(args)...)...)
		if code != 0 || stdout != want || !strings.Contains(stderr, "SUCCEEDED, driver exit code 0") {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
	code, stdout, stderr := program.Run(t, nil, "jobs", "tail", "-f", "--max-lines", "2", "j", "--url", head.URL())
	if code != 1 || stdout != "one\ntwo\n" || !strings.Contains(stderr, "429") {
		t.Errorf("over a limit: exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestCommand_Interrupted(t *testing.T) {
	head := raytest.New(t)
	head.Submit("j", raytest.JobOptions{EmptyLog: true}).Print("one\n")
	hangs := raytest.New(t)
	hangs.Inject(raytest.Fault{Action: raytest.Hang})
	for name, tt := range map[string]struct {
		args  string
		ready func(*program.Command) bool
		by    syscall.Signal
		code  int
	}{
		"following, SIGINT":  {"jobs tail -f j --url " + head.URL(), func(p *program.Command) bool { return p.Stdout.String() == "one\n" }, syscall.SIGINT, 130},
		"following, SIGTERM": {"jobs tail -f j --url " + head.URL(), func(p *program.Command) bool { return p.Stdout.String() == "one\n" }, syscall.SIGTERM, 143},
		"a hanging request":  {"jobs list --url " + hangs.URL(), func(*program.Command) bool { return hangs.Requests("") > 0 }, syscall.SIGINT, 130},
	} {
		t.Run(name, func(t *testing.T) {
			p := program.NewCommand(t, nil, strings.Fields(tt.args)...)
			p.Start()
			p.Until("the command is running", func() bool { return tt.ready(p) })
			p.Signal(tt.by)
			if code := p.Code(); code != tt.code || p.Stderr.String() != "" {
				t.Errorf("exit code %d, want %d; stderr %q", code, tt.code, p.Stderr.String())
			}
		})
	}
}
