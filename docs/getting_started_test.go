package docs

import (
	"os"
	"os/exec"
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

// The commands of getting-started.md run on fakes: the test replaces the addresses and
// submits the jobs.
func TestGettingStarted_Commands(t *testing.T) {
	text, err := os.ReadFile("getting-started.md")
	if err != nil {
		t.Fatal(err)
	}
	const token = "0123456789abcdef"
	for title, prepare := range map[string]func(t *testing.T, home string) (url string, submit func()){
		"Ray on this machine": func(t *testing.T, _ string) (string, func()) {
			head := raytest.New(t)
			return head.URL(), func() { head.Submit("raysubmit_1", raytest.JobOptions{}).Print("hello\n") }
		},
		"Ray with token authentication": func(t *testing.T, home string) (string, func()) {
			head := raytest.New(t, raytest.Token(token))
			save(t, filepath.Join(home, ".ray", "auth_token"), token)
			return head.URL(), func() {}
		},
		"Synapse agent": func(t *testing.T, home string) (string, func()) {
			agent := synapsetest.New(t, synapsetest.Token(token), synapsetest.Prefix("/agents/lab"))
			save(t, filepath.Join(home, "trial", "agent-token"), token)
			return agent.URL(), func() {}
		},
	} {
		t.Run(title, func(t *testing.T) {
			home := t.TempDir()
			url, submit := prepare(t, home)
			if err := os.Mkdir(filepath.Join(home, "bin"), 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(program.Binary(t), filepath.Join(home, "bin", "raytap")); err != nil {
				t.Fatal(err)
			}
			script := strings.NewReplacer("http://127.0.0.1:8265", url, "https://agent.example/agents/lab", url,
				"127.0.0.1:9265", program.FreeAddress(t), "sleep 1", "sleep 0.1", "ray job submit ", "touch submitted; : ",
			).Replace(commandsOf(t, string(text), title))
			runSteps(t, home, script, submit)
		})
	}
}

// runSteps runs a script, and submits a job when the script creates the file submitted.
func runSteps(t *testing.T, home, script string, submit func()) {
	t.Helper()
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = home, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := program.Start(t, cmd)
	defer func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }() // and its children
	if strings.Contains(script, "touch submitted") {
		p.Until(time.Minute, "a job is submitted", func() bool { return os.Remove(filepath.Join(home, "submitted")) == nil })
		submit()
	}
	if code := p.Wait(time.Minute); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func save(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// commandsOf returns the content of the sh blocks of a section.
func commandsOf(t *testing.T, text, title string) string {
	t.Helper()
	_, section, _ := strings.Cut(text, "\n## "+title+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var out strings.Builder
	for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(section, -1) {
		out.WriteString(m[1])
	}
	if out.Len() == 0 {
		t.Fatalf("no section %q with commands", title)
	}
	return out.String()
}
