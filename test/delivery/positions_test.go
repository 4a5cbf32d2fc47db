package delivery

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"raytap/ray/raytest"
	"raytap/test/program"
)

// positions show reads the file of a running daemon, by configuration and by name, and
// does not change it.
func TestPositions_ShowWhileDaemonRuns(t *testing.T) {
	d := deliver(t)
	d.head.Submit("job-1", raytest.JobOptions{}).Print("one\ntwo\n")
	p := d.start()
	conf := p.Cmd.Args[2]
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
	p.Until("both lines are saved", func() bool {
		code, out, stderr := program.Run(t, nil, "positions", "show", "-o", "json", "--config.file", conf)
		if code != 0 || json.Unmarshal([]byte(out), &saved) != nil {
			t.Fatalf("exit code %d, %s%s", code, out, stderr)
		}
		logs := saved.Clusters["default"].Logs
		return len(logs) == 1 && logs[0].ID == "job-1" && logs[0].Position.Lines >= 2
	})
	if saved.Sink.Path != d.file {
		t.Errorf("the sink is %q", saved.Sink.Path)
	}
	code, out, stderr := program.Run(t, nil, "positions", "show", file)
	if code != 0 || !strings.Contains(out, "job-1") || !strings.Contains(stderr, "sink file "+d.file+": committed up to byte ") {
		t.Errorf("exit code %d\n%s%s", code, out, stderr)
	}
	if code, out, stderr = program.Run(t, nil, "positions", "show", file, "--cluster", "other"); code != 0 || out != "" || !strings.Contains(stderr, "no positions in "+file) {
		t.Errorf("exit code %d\n%s%s", code, out, stderr)
	}
	for args, want := range map[string]string{
		"/nonexistent/positions.db": "open /nonexistent/positions.db: no such file or directory",
		d.file:                      "it holds no positions of raytap (it is JSON)",
	} {
		if code, out, stderr := program.Run(t, nil, "positions", "show", args); code != 1 || out != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %s%s", args, code, out, stderr)
		}
	}
	if code, _, stderr := program.Run(t, []string{"HOME=", "XDG_STATE_HOME="}, "positions", "show"); code != 2 || !strings.Contains(stderr, "give FILE") {
		t.Errorf("without a file: exit code %d, %s", code, stderr)
	}
	p.Signal(syscall.SIGTERM)
	if code := p.Code(); code != 0 {
		t.Errorf("exit code %d of the daemon: %s", code, p.Stderr.String())
	}
}

// The daemon writes a removed positions file again within a second, and continues
// after a restart without loss or duplicates.
func TestPositions_FileRemoved(t *testing.T) {
	d := deliver(t)
	job := d.head.Submit("job-1", raytest.JobOptions{})
	job.Print("one\n")
	p := d.start()
	file := d.file + ".positions.db"
	p.Until("the line is in the file", func() bool { return len(d.records(d.file)) >= 3 })
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	p.Until("it is written again", func() bool { _, err := os.Stat(file); return err == nil })
	p.Until("it is reported", func() bool {
		return strings.Contains(p.Stderr.String(), "Positions file was changed by another program, and was written again from memory (no data lost)")
	})
	p.Kill()
	job.Print("two\n")
	log := job.Log()
	p = d.start()
	job.End("SUCCEEDED", 0)
	d.ended(p)
	exact(t, d.records(d.file), log, 0)
	if names, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*positions*")); err != nil || fmt.Sprint(names) != fmt.Sprint([]string{file}) {
		t.Errorf("files of the positions: %v (%v)", names, err)
	}
}
