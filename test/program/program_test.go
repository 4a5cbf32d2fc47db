//go:build linux

package program

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestOutput_KeepsEnd(t *testing.T) {
	for name, sizes := range map[string][]int{
		"small writes":            {10, 20, 30},
		"up to the limit":         {maxOutput - 1, 1},
		"one byte over the limit": {maxOutput - 1, 2},
		"one larger write":        {5, 2*maxOutput + 3},
		"after a larger write":    {maxOutput + 1, 7},
		"many large writes":       {maxOutput / 2, maxOutput / 2, maxOutput / 2, 1},
	} {
		var o Output
		var all strings.Builder
		for i, n := range sizes {
			text := strings.Repeat(string(rune('a'+i)), n)
			all.WriteString(text)
			if got, err := o.Write([]byte(text)); got != n || err != nil {
				t.Fatalf("%s: %d of %d bytes, %v", name, got, n, err)
			}
		}
		if got := o.String(); got != Last(all.String(), maxOutput) {
			t.Errorf("%s: got %d bytes, not the end of the output", name, len(got))
		}
	}
}

func TestProcess_EnvironmentAndStop(t *testing.T) {
	t.Setenv("RAYTAP_TEST_SECRET", "hunter2")
	p := Start(t, exec.Command("sh", "-c", `trap 'exit 3' TERM; env; echo "at $HOME" >&2; while :; do sleep 0.05; done`))
	p.Until(20*time.Second, "the script is running", func() bool { return strings.Contains(p.Output.String(), "at /") })
	if output := p.Output.String(); strings.Contains(output, "hunter2") || strings.Contains(output, "HOME="+os.Getenv("HOME")+"\n") {
		t.Errorf("the environment is the user's: %s", output)
	}
	if code := p.Stop(20 * time.Second); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	p.Kill() // after the exit
}

func TestProcess_EndsWithTest(t *testing.T) {
	var p *Process
	t.Run("inner test", func(t *testing.T) { p = Start(t, exec.Command("sleep", "1000")) })
	select {
	case <-p.Exited:
	default:
		p.Kill()
		t.Error("the process outlives the test that started it")
	}
}
