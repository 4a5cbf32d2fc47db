package completion_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"raytap/test/program"
)

// TAB in a real shell executes nothing from a file, and completes a name with spaces
// as one word.
func TestShells_TabExecutesNothing(t *testing.T) {
	for _, shell := range []struct {
		name    string
		args    []string
		prepare string
	}{
		{"bash", []string{"--norc", "--noprofile", "-i"}, "source <(raytap completion bash)"},
		{"zsh", []string{"-f", "-i"}, "autoload -U compinit; compinit -D; source <(raytap completion zsh)"},
		{"fish", []string{"--no-config", "-i"}, "raytap completion fish | source"},
	} {
		t.Run(shell.name, func(t *testing.T) {
			path, err := exec.LookPath(shell.name)
			if err != nil {
				t.Skip("no ", shell.name)
			}
			dir := t.TempDir()
			file := program.File(t, filepath.Join(dir, "odd.yaml"), strings.ReplaceAll(oddNames, "{dir}", dir))
			term := program.NewTerminal(t, 200)
			cmd := exec.Command(path, shell.args...)
			cmd.Dir, cmd.Env = dir, append(withRaytap(t), "TERM=dumb", "LC_ALL=C.UTF-8", "PS1=> ")
			term.Attach(cmd)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			p := program.Start(t, cmd)
			typed := func(text, until string) {
				t.Helper()
				if _, err := term.WriteString(text); err != nil {
					t.Fatal(err)
				}
				p.Until(20*time.Second, "the screen shows "+until, func() bool { return strings.Contains(term.Screen.String(), until) })
			}
			typed(shell.prepare+"; echo \"re\"ady\r", "ready")
			line := "raytap jobs get --config.file " + file + " --cluster "
			typed(line+`\$`+"\t", `\$\(touch\ `+dir+`/a\)`)
			typed("\x15"+line+"my\t", `my\ \ big\ cluster`)
			typed("\x15"+line+"prod:e\t", "prod:eu")
			p.Signal(syscall.SIGKILL)
			p.Wait(20 * time.Second)
			entries, _ := filepath.Glob(filepath.Join(dir, "[ab]"))
			if len(entries) > 0 {
				t.Errorf("TAB executed a cluster name: %q", entries)
			}
		})
	}
}
