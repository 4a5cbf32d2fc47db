package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"raytap/ray/raytest"
	"raytap/test/program"
)

// terminal is a pseudo terminal: what is written to it is typed, what its
// process prints is kept.
type terminal struct {
	*os.File
	slave  *os.File
	screen program.Output
	done   chan struct{} // closed when all that was printed is on the screen
}

func openTerminal(t *testing.T, columns uint16) *terminal {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	master := os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { master.Close() })
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns})
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{File: master, slave: slave, done: make(chan struct{})}
	go func() {
		defer close(term.done)
		_, _ = io.Copy(&term.screen, master) // ends with the last of its users
	}()
	t.Cleanup(term.close)
	return term
}

// close ends the terminal once its process has ended.
func (term *terminal) close() {
	term.slave.Close()
	<-term.done
}

// run starts a command whose streams are the terminal.
func (term *terminal) run(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := command(t, env, args...)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = term.slave, term.slave, term.slave
	p.start()
	return p
}

func TestAtATerminalACommandAsks(t *testing.T) {
	head := raytest.New(t)
	job := head.Submit("j", raytest.JobOptions{})
	for _, tt := range []struct {
		typed, status string
		code          int
	}{{"n\n", "RUNNING", 1}, {"\x04", "RUNNING", 1}, {"y\n", "STOPPED", 0}} {
		term := openTerminal(t, 80)
		p := term.run(t, nil, "jobs", "stop", "--wait", "j", "--url", head.URL())
		p.until("it asks", func() bool { return strings.Contains(term.screen.String(), "Stop job j, RUNNING") })
		if _, err := term.WriteString(tt.typed); err != nil {
			t.Fatal(err)
		}
		if code := p.code(); code != tt.code || job.Status() != tt.status {
			t.Errorf("%q: exit code %d, want %d; the job is %s; screen:\n%s", tt.typed, code, tt.code, job.Status(), term.screen.String())
		}
	}
}

func TestAQuestionIsInterruptedByCtrlC(t *testing.T) {
	head := raytest.New(t)
	head.Submit("j", raytest.JobOptions{})
	term := openTerminal(t, 80)
	p := term.run(t, nil, "jobs", "stop", "j", "--url", head.URL())
	p.until("it asks", func() bool { return strings.Contains(term.screen.String(), "[y/N]") })
	p.Signal(syscall.SIGINT)
	if code := p.code(); code != 130 {
		t.Errorf("exit code %d", code)
	}
}

func TestAtATerminalATableIsColouredAndFits(t *testing.T) {
	head := raytest.New(t)
	head.Submit("job-1", raytest.JobOptions{Entrypoint: strings.Repeat("a long command ", 20)}).End("FAILED", 1)
	for name, tt := range map[string]struct {
		columns uint16
		env     []string
		args    string
		colours bool
	}{
		"wide":             {200, nil, "", true},
		"narrow":           {60, nil, "", true},
		"NO_COLOR":         {80, []string{"NO_COLOR=1"}, "", false},
		"a dumb terminal":  {80, []string{"TERM=dumb"}, "", false},
		"--color never":    {80, nil, "--color never", false},
		"asked for anyway": {80, []string{"NO_COLOR=1"}, "--color always", true},
		"JSON":             {80, nil, "-o json", false},
	} {
		t.Run(name, func(t *testing.T) {
			term := openTerminal(t, tt.columns)
			p := term.run(t, tt.env, append(strings.Fields("jobs list --url "+head.URL()), strings.Fields(tt.args)...)...)
			if code := p.code(); code != 0 {
				t.Fatalf("exit code %d", code)
			}
			term.close() // and all is on the screen
			screen := term.screen.String()
			if !strings.Contains(screen, "FAILED") {
				t.Errorf("screen: %q", screen)
			}
			if got := strings.Contains(screen, "\x1b["); got != tt.colours {
				t.Errorf("coloured: %t, want %t: %q", got, tt.colours, screen)
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
