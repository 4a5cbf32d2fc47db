//go:build e2e && linux

// Package followers runs the real raytap beside programs that follow its file,
// and at the bounds of its memory. The head is a fake one, so that every line
// that there ever was is known.
package followers

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is the raytap under test; tools is where the Makefile put the others.
var binary, tools string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "raytap-followers")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if tools, err = filepath.Abs("../../.tools/bin"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	binary = filepath.Join(dir, "raytap")
	build := exec.Command("go", "build", "-o", binary, "../..")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build raytap:", err)
		return 1
	}
	return m.Run()
}

// tool gives the path of one of the programs that scripts/tools installs. A
// test without it would show nothing, so it fails.
func tool(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(tools, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("there is no %s to test with (make followers installs it): %v", name, err)
	}
	return path
}

// process is one that ends with the test at the latest.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	exited chan struct{}
	said   said
}

// said is what a process wrote to stderr, the last of it.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.b.Len() > 1<<20 {
		s.b.Reset()
	}
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// start runs a program. out is its stdout; nil: what it says goes with stderr.
func start(t *testing.T, out *os.File, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...), exited: make(chan struct{})}
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	// It must not outlive the test.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	if out != nil {
		p.cmd.Stdout = out
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // whether it was told to end is what counts
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			text := p.said.String()
			t.Logf("%s said:\n%s", filepath.Base(name), text[max(0, len(text)-3000):])
		}
	})
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // one that has ended is fine
	<-p.exited
}

// until polls for a condition while the process runs.
func (p *process) until(d time.Duration, what string, ok func() bool) {
	p.t.Helper()
	limit := time.After(d)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-p.exited:
			p.t.Fatalf("%s ended before this: %s", filepath.Base(p.cmd.Path), what)
		case <-limit:
			p.t.Fatalf("not within %s: %s", d, what)
		case <-tick.C:
		}
	}
}

// memory reads a figure of the process's status in MiB: VmRSS, VmHWM.
func (p *process) memory(key string) int {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if name, value, _ := strings.Cut(line, ":"); name == key {
			kb, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				p.t.Fatal(err)
			}
			return kb >> 10
		}
	}
	p.t.Fatalf("the process has no %s", key)
	return 0
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// get gives the body of a page, "" where there is none.
func get(url string) string {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	res, err := client.Get(url)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return ""
	}
	return string(b)
}

// sample sums the samples of a metric on a page.
func sample(page, name string) (sum float64) {
	for line := range strings.Lines(page) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		fields := strings.Fields(rest)
		v, _ := strconv.ParseFloat(fields[len(fields)-1], 64) // the page is raytap's
		sum += v
	}
	return sum
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// raytap starts one with this configuration, its page apart.
func raytap(t *testing.T, out *os.File, config string) (p *process, page string) {
	t.Helper()
	address := freeAddress(t)
	p = start(t, out, binary, "--config.file", write(t, filepath.Join(t.TempDir(), "raytap.yaml"), config), "--web.listen-address", address)
	t.Cleanup(func() { // before it is killed
		if !t.Failed() {
			return
		}
		for line := range strings.Lines(get("http://" + address + "/metrics")) {
			if strings.HasPrefix(line, "raytap_shipper_") && !strings.Contains(line, "_bucket{") && !strings.HasSuffix(line, " 0\n") {
				t.Log(strings.TrimSpace(line))
			}
		}
	})
	p.until(20*time.Second, "raytap serves its page", func() bool { return get("http://"+address+"/-/healthy") != "" })
	return p, "http://" + address + "/metrics"
}

// disk is a small one of the sink's own where the test may mount, else a limit
// of the size of raytap's files: writes fail likewise.
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
