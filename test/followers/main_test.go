//go:build e2e && linux

// Package followers runs the real raytap with programs that follow its sink file, and at
// its memory limits. The head is a fake, so that every line is known.
package followers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"raytap/test/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

// run starts one of the programs that scripts/tools installs.
func run(t *testing.T, name string, args ...string) *program.Process {
	t.Helper()
	return program.Start(t, exec.Command(program.Tool(t, "bin/"+name), args...))
}

// memory returns a value of a process's status in MiB: VmRSS or VmHWM.
func memory(t *testing.T, p *program.Process, key string) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if name, value, _ := strings.Cut(line, ":"); name == key {
			kb, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kb >> 10
		}
	}
	t.Fatalf("the process has no %s", key)
	return 0
}

// sample returns the sum of the samples of a metric.
func sample(text, name string) (sum float64) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		fields := strings.Fields(rest)
		v, _ := strconv.ParseFloat(fields[len(fields)-1], 64) // raytap's output is valid
		sum += v
	}
	return sum
}

// raytap starts raytap with this configuration and a free port. out is its stdout; nil
// means that Process.Output keeps it. metrics is a URL.
func raytap(t *testing.T, out *os.File, config string) (p *program.Process, metrics string) {
	t.Helper()
	cmd := program.Raytap(t, "--config.file", program.File(t, filepath.Join(t.TempDir(), "raytap.yaml"), config))
	if out != nil {
		cmd.Stdout = out
	}
	p, url := program.Serve(t, cmd)
	t.Cleanup(func() { // runs before it is killed
		if !t.Failed() {
			return
		}
		for line := range strings.Lines(program.Get(url + "/metrics")) {
			if strings.HasPrefix(line, "raytap_shipper_") && !strings.Contains(line, "_bucket{") && !strings.HasSuffix(line, " 0\n") {
				t.Log(strings.TrimSpace(line))
			}
		}
	})
	return p, url + "/metrics"
}

// disk is a small disk for the sink if the test can mount one. Otherwise raytap's files
// get a size limit, which makes writes fail in the same way.
type disk struct {
	t       *testing.T
	dir     string
	mounted bool
}

func newDisk(t *testing.T, size string) *disk {
	t.Helper()
	d := &disk{t: t, dir: t.TempDir()}
	if d.mounted = syscall.Mount("raytap-test", d.dir, "tmpfs", 0, "size="+size) == nil; d.mounted {
		t.Cleanup(func() {
			if err := syscall.Unmount(d.dir, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	}
	return d
}
