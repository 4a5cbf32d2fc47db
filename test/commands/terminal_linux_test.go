package commands

import (
	"strings"
	"syscall"
	"testing"

	"raytap/ray/raytest"
	"raytap/test/program"
)

// runIn starts a command in a terminal.
func runIn(term *program.Terminal, t *testing.T, env []string, args ...string) *program.Command {
	t.Helper()
	p := program.NewCommand(t, env, args...)
	term.Attach(p.Cmd)
	p.Start()
	return p
}

func TestTerminal_Confirmation(t *testing.T) {
	head := raytest.New(t)
	job := head.Submit("j", raytest.JobOptions{})
	for _, tt := range []struct {
		typed, status string
		code          int
	}{{"n\n", "RUNNING", 1}, {"\x04", "RUNNING", 1}, {"y\n", "STOPPED", 0}} {
		term := program.NewTerminal(t, 80)
		p := runIn(term, t, nil, "jobs", "stop", "--wait", "j", "--url", head.URL())
		p.Until("the question is shown", func() bool { return strings.Contains(term.Screen.String(), "Stop job j, RUNNING") })
		if _, err := term.WriteString(tt.typed); err != nil {
			t.Fatal(err)
		}
		if code := p.Code(); code != tt.code || job.Status() != tt.status {
			t.Errorf("%q: exit code %d, want %d; the job is %s; screen:\n%s", tt.typed, code, tt.code, job.Status(), term.Screen.String())
		}
	}
}

func TestTerminal_ConfirmationInterrupted(t *testing.T) {
	head := raytest.New(t)
	head.Submit("j", raytest.JobOptions{})
	term := program.NewTerminal(t, 80)
	p := runIn(term, t, nil, "jobs", "stop", "j", "--url", head.URL())
	p.Until("the question is shown", func() bool { return strings.Contains(term.Screen.String(), "[y/N]") })
	p.Signal(syscall.SIGINT)
	if code := p.Code(); code != 130 {
		t.Errorf("exit code %d", code)
	}
}

func TestTerminal_Table(t *testing.T) {
	head := raytest.New(t)
	head.Submit("job-1", raytest.JobOptions{Entrypoint: strings.Repeat("a long command ", 20)}).End("FAILED", 1)
	for name, tt := range map[string]struct {
		columns uint16
		env     []string
		args    string
		colors  bool
	}{
		"wide":            {200, nil, "", true},
		"narrow":          {60, nil, "", true},
		"NO_COLOR":        {80, []string{"NO_COLOR=1"}, "", false},
		"a dumb terminal": {80, []string{"TERM=dumb"}, "", false},
		"--color never":   {80, nil, "--color never", false},
		"--color always":  {80, []string{"NO_COLOR=1"}, "--color always", true},
		"JSON":            {80, nil, "-o json", false},
	} {
		t.Run(name, func(t *testing.T) {
			term := program.NewTerminal(t, tt.columns)
			p := runIn(term, t, tt.env, append(strings.Fields("jobs list --url "+head.URL()), strings.Fields(tt.args)...)...)
			if code := p.Code(); code != 0 {
				t.Fatalf("exit code %d", code)
			}
			term.Detach() // all output is on the screen then
			screen := term.Screen.String()
			if !strings.Contains(screen, "FAILED") {
				t.Errorf("screen: %q", screen)
			}
			if got := strings.Contains(screen, "\x1b["); got != tt.colors {
				t.Errorf("colored: %t, want %t: %q", got, tt.colors, screen)
			}
			if tt.args != "" {
				return
			}
			for line := range strings.Lines(screen) {
				bare := strings.NewReplacer("\x1b[0m", "", "\x1b[1m", "", "\x1b[2m", "", "\x1b[31m", "", "\r\n", "").Replace(line)
				if n := len([]rune(bare)); n > int(tt.columns) {
					t.Errorf("%d columns in %q", n, bare)
				}
			}
		})
	}
}
