package cli

import (
	"context"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kingpin/v2"

	"raytap/ray"
)

// parse parses a command line and runs nothing.
func parse(args ...string) error {
	app := kingpin.New("raytap", "").Terminate(func(int) {})
	New(app, Options{ConnectFlags: func(Flags) {}, Connect: func() (Cluster, error) { return nil, nil }})
	_, err := app.Parse(args)
	return err
}

// A filter with an unknown value is an error, not an empty list.
func TestFlags_Values(t *testing.T) {
	for line, want := range map[string]string{ // a part of the error; "": no error
		"jobs list --status running,FAILED --status Pending": "",
		"jobs list --status FAILD":                           `--status: unknown value "FAILD": must be one of PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED`,
		"jobs list --status running,,failed":                 `--status: unknown value ""`,
		"jobs list --type driver":                            "",
		"jobs list --type job":                               `--type: unknown value "job": must be one of SUBMISSION, DRIVER`,
		"nodes list --state alive":                           "",
		"nodes list --state idle":                            `--state: unknown value "idle": must be one of ALIVE, DEAD`,
		"tasks list --state running --type actor_task":       "",
		"tasks list --state waiting":                         `--state: unknown value "waiting"`,
		"tasks list --type x":                                `--type: unknown value "x"`,
		"serve list --status running,unhealthy":              "",
		"serve list --status up":                             `--status: unknown value "up"`,
		"jobs list --limit abc":                              `--limit: "abc" must be a whole number, 0 or greater`,
		"jobs list --limit 1.5":                              `--limit: "1.5" must be a whole number, 0 or greater`,
		"jobs list --limit=-1":                               `--limit: "-1" must be a whole number, 0 or greater`,
		"jobs list --limit 0":                                "",
		"jobs tail --lines x j":                              `--lines: "x" must be a whole number, 0 or greater`,
		"jobs tail -f --max-lines x j":                       `--max-lines: "x" must be a whole number, 0 or greater`,
	} {
		err := parse(strings.Fields(line)...)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "strconv")) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	var got []string
	c := choiceValue{"status", jobStatuses(), &got}
	if err := c.Set("running, failed"); err != nil || !slices.Equal(got, []string{"RUNNING", "FAILED"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

// Texts stay texts for YAML 1.1 parsers, too.
func TestYAML_AmbiguousTexts(t *testing.T) {
	texts := []string{"=", "<<", "y", "N", "yes", "On", "off", "~", "null", "NULL", "", "true", "0o7", "010", "0x1F", "0b1", "1_000", "190:20:30", "1:30.5",
		"1.", ".5", "+.INF", ".NaN", "1e3", "2026-11-24", "2026-1-2 3:4:5 +1", "12e03", "plain", "raysubmit_1"}
	var jobs []ray.Job
	for _, s := range texts {
		jobs = append(jobs, ray.Job{SubmissionID: "id", Metadata: map[string]string{"job_name": s, s + "": s}, Status: ray.JobRunning})
	}
	s := newScreen("")
	if err := listJobs(context.Background(), &fake{jobs: jobs}, jobFilter{}, s.printer(formatYAML)); err != nil {
		t.Fatal(err)
	}
	out := s.out.String()
	for _, text := range texts[:len(texts)-2] {
		if !strings.Contains(out, "job_name: \""+text+"\"\n") && !strings.Contains(out, "job_name: '"+text+"'\n") {
			t.Errorf("%q is not quoted", text)
		}
	}
	if !strings.Contains(out, "job_name: plain\n") {
		t.Error("an unambiguous text is quoted")
	}
	python, err := exec.LookPath("python3")
	if err != nil || exec.Command(python, "-c", "import yaml").Run() != nil {
		return // no PyYAML: the table above is the test
	}
	cmd := exec.Command(python, "-c", "import json, sys, yaml; print(json.dumps([j['metadata']['job_name'] for j in yaml.safe_load(sys.stdin)]))")
	cmd.Stdin = strings.NewReader(out)
	output, err := cmd.CombinedOutput()
	var read []string
	if err != nil || json.Unmarshal(output, &read) != nil || !slices.Equal(read, texts) {
		t.Errorf("PyYAML reads %s, %v", output, err)
	}
}
