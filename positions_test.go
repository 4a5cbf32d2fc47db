package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"raytap/ray/raytest"
)

// What a daemon has saved can be looked at while it runs, by its configuration
// and by the file, and nothing of it is changed.
func TestPositionsAreShownBesideADaemon(t *testing.T) {
	d := deliver(t)
	d.head.Submit("job-1", raytest.JobOptions{}).Print("one\ntwo\n")
	p := d.start()
	conf := p.cmd.Args[2]
	file := d.file + ".positions.db"
	var saved struct {
		Sink     struct{ Path string }
		Clusters map[string]struct {
			Logs []struct {
				ID       string `json:"submission_id"`
				Position struct{ Lines, Content int }
			}
		}
	}
	p.until("both lines are saved", func() bool {
		code, out, stderr := ask(t, nil, "positions", "show", "-o", "json", "--config.file", conf)
		if code != 0 || json.Unmarshal([]byte(out), &saved) != nil {
			t.Fatalf("exit code %d, %s%s", code, out, stderr)
		}
		logs := saved.Clusters["default"].Logs
		return len(logs) == 1 && logs[0].ID == "job-1" && logs[0].Position.Lines >= 2
	})
	if saved.Sink.Path != d.file {
		t.Errorf("the sink is %q", saved.Sink.Path)
	}
	code, out, stderr := ask(t, nil, "positions", "show", file)
	if code != 0 || !strings.Contains(out, "job-1") || !strings.Contains(stderr, "sink file "+d.file+": committed up to byte ") {
		t.Errorf("exit code %d\n%s%s", code, out, stderr)
	}
	if code, out, stderr = ask(t, nil, "positions", "show", file, "--cluster", "other"); code != 0 || out != "" || !strings.Contains(stderr, "no positions in "+file) {
		t.Errorf("exit code %d\n%s%s", code, out, stderr)
	}
	for args, want := range map[string]string{
		"/nonexistent/positions.db": "open /nonexistent/positions.db: no such file or directory",
		d.file:                      "it holds no positions of raytap (it is JSON)",
	} {
		if code, out, stderr := ask(t, nil, "positions", "show", args); code != 1 || out != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %s%s", args, code, out, stderr)
		}
	}
	if code, _, stderr := ask(t, []string{"HOME=", "XDG_STATE_HOME="}, "positions", "show"); code != 2 || !strings.Contains(stderr, "give FILE") {
		t.Errorf("without a file: exit code %d, %s", code, stderr)
	}
	p.Signal(syscall.SIGTERM)
	if code := p.code(); code != 0 {
		t.Errorf("the daemon ended with %d: %s", code, p.stderr.String())
	}
}

// A positions file that is removed beneath a daemon is there again within a
// second, and a restart goes on exactly where it was.
func TestAPositionsFileThatIsRemovedIsWrittenAgain(t *testing.T) {
	d := deliver(t)
	job := d.head.Submit("job-1", raytest.JobOptions{})
	job.Print("one\n")
	p := d.start()
	file := d.file + ".positions.db"
	p.until("the line is in the file", func() bool { return len(d.records(d.file)) >= 3 })
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	p.until("it is written again", func() bool { _, err := os.Stat(file); return err == nil })
	p.until("it is reported", func() bool {
		return strings.Contains(p.stderr.String(), "The positions file was not as raytap had left it (it was removed), and was written again from memory; nothing is lost")
	})
	p.Kill()
	job.Print("two\n")
	log := job.Log()
	p = d.start()
	job.End("SUCCEEDED", 0)
	d.ended(p)
	exact(t, d.records(d.file), log, 0)
	if names, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*positions*")); err != nil || fmt.Sprint(names) != fmt.Sprint([]string{file}) {
		t.Errorf("beside it lie %v (%v)", names, err)
	}
}
