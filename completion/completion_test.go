package completion_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"raytap/test/program"
)

// withRaytap returns an environment in which a shell finds raytap.
func withRaytap(t *testing.T) []string {
	return []string{"PATH=" + filepath.Dir(program.Binary(t)) + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
}

func bash(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	return path
}

// oddNames are clusters whose names have a meaning for a shell; {dir} is a directory
// in which no file may appear.
const oddNames = `clusters:
  - {name: "$(touch {dir}/a)", url: 'http://127.0.0.1:1'}
  - {name: "\u0060touch {dir}/b\u0060", url: 'http://127.0.0.1:1'}
  - {name: "my  big cluster", url: 'http://127.0.0.1:1'}
  - {name: "it's \"x\" \\ !y", url: 'http://127.0.0.1:1'}
  - {name: "prod:eu", url: 'http://127.0.0.1:1'}
  - {name: "prod:us", url: 'http://127.0.0.1:1'}
  - {name: "*", url: 'http://127.0.0.1:1'}
`

// The bash script offers raytap's suggestions, each as one word.
func TestBash(t *testing.T) {
	bash := bash(t)
	file := program.TempFile(t, "clusters: [{name: prod-a, url: 'http://127.0.0.1:1'}, {name: prod-b, url: 'http://127.0.0.1:2'}]\n")
	dir := t.TempDir()
	odd := program.File(t, filepath.Join(dir, "odd.yaml"), strings.ReplaceAll(oddNames, "{dir}", dir))
	const script = `source <(raytap completion bash)
COMP_WORDS=(raytap "$@"); COMP_CWORD=$#
_raytap_bash_autocomplete; IFS='|'; echo "${COMPREPLY[*]}"`
	for line, want := range map[string]string{
		"jo":                   "jobs",
		"jobs ":                "list|get|logs|tail|stop",
		"jobs list --sta":      "--status",
		"jobs list --status S": "SUCCEEDED|STOPPED",
		"nodes list --output ": "table|json|yaml",
		"run --log.level ":     "debug|info|warning|error",
		"completion ":          "bash|zsh|fish",
		"--config.file " + file + " jobs list --cluster ": "prod-a|prod-b",
		"jobs get --config.file=" + file + " --cluster ":  "prod-a|prod-b",
		"jobs get --config.file=/nonexistent --cluster ":  "",
		// As readline splits them.
		"jobs get --config.file = " + file + " --cluster = prod-": "prod-a|prod-b",
		"jobs get --config.file = " + file + " --cluster =":       "prod-a|prod-b",
		"jobs get --config.file " + odd + " --cluster prod : e":   "eu",
		"jobs get --config.file " + odd + " --cluster prod :":     "eu|us",
		"jobs get --config.file " + odd + " --cluster my":         `my\ \ big\ cluster`,
		"jobs get --config.file " + odd + ` --cluster "my`:        `my  big cluster`,
		"jobs get --config.file " + odd + ` --cluster it\'s`:      `it\'s\ \"x\"\ \\\ \!y`,
		"jobs get --config.file " + odd + ` --cluster "it`:        `it's \"x\" \\ "'!'"y`,
		"jobs get --config.file " + odd + ` --cluster 'it`:        `it'\''s "x" \ !y`,
		"jobs get --config.file " + odd + ` --cluster \$`:         `\$\(touch\ ` + dir + `/a\)`,
		"jobs get --config.file " + odd + ` --cluster "\` + "`":   "\\`touch " + dir + "/b\\`",
		"jobs get --config.file " + odd + " --cluster ": strings.Join([]string{`\$\(touch\ ` + dir + `/a\)`, "\\`touch\\ " + dir + "/b\\`",
			`my\ \ big\ cluster`, `it\'s\ \"x\"\ \\\ \!y`, "prod:eu", "prod:us", `\*`}, "|"),
	} {
		cmd := exec.Command(bash, append([]string{"-c", script, "bash"}, strings.Split(line, " ")...)...)
		cmd.Env = withRaytap(t)
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("after %q: %q, %v, want %q", line, got, err, want)
		}
	}
	cmd := exec.Command(bash, "-c", script, "bash", "")
	cmd.Env = withRaytap(t)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "jobs|logs|nodes|tasks|serve") {
		t.Errorf("all commands: %q, %v", out, err)
	}
	checkFiles(t, dir, "odd.yaml")
}

func checkFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("%s has %q, want %q", dir, got, names)
	}
}

// The parser's own scripts evaluate the suggestions: they must be replaced.
func TestScript_HiddenFlags(t *testing.T) {
	for _, shell := range []string{"bash", "zsh"} {
		_, want, _ := program.Run(t, nil, "completion", shell)
		code, got, _ := program.Run(t, nil, "--completion-script-"+shell)
		if code != 0 || strings.TrimSpace(got) != strings.TrimSpace(want) || strings.Contains(got, "compgen") {
			t.Errorf("--completion-script-%s: exit code %d, %q", shell, code, got)
		}
	}
}
