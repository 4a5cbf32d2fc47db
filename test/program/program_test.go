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

func TestOutputKeepsTheLast(t *testing.T) {
	for name, sizes := range map[string][]int{
		"in small writes":     {10, 20, 30},
		"up to its bound":     {keep - 1, 1},
		"one byte over it":    {keep - 1, 2},
		"a write larger":      {5, 2*keep + 3},
		"after a larger one":  {keep + 1, 7},
		"many that are large": {keep / 2, keep / 2, keep / 2, 1},
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
		if got := o.String(); got != Last(all.String(), keep) {
			t.Errorf("%s: %d bytes, which are not the last", name, len(got))
		}
	}
}

func TestAProcessHasNothingOfTheUsersAndEndsAsAsked(t *testing.T) {
	t.Setenv("RAYTAP_TEST_SECRET", "hunter2")
	p := Start(t, exec.Command("sh", "-c", `trap 'exit 3' TERM; env; echo "at $HOME" >&2; while :; do sleep 0.05; done`))
	p.Until(20*time.Second, "it is at work", func() bool { return strings.Contains(p.Said.String(), "at /") })
	if said := p.Said.String(); strings.Contains(said, "hunter2") || strings.Contains(said, "HOME="+os.Getenv("HOME")+"\n") {
		t.Errorf("its environment is the user's: %s", said)
	}
	if code := p.Stop(20 * time.Second); code != 3 {
		t.Errorf("exit code %d", code)
	}
	p.Kill() // of one that has ended
}

func TestAProcessEndsWithItsTest(t *testing.T) {
	var p *Process
	t.Run("one test", func(t *testing.T) { p = Start(t, exec.Command("sleep", "1000")) })
	select {
	case <-p.Exited:
	default:
		p.Kill()
		t.Error("it outlives the test that started it")
	}
}
