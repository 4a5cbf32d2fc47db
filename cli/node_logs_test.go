package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"raytap/ray"
	"raytap/ray/dashboard"
	"raytap/ray/raytest"
	"raytap/ray/transport"
)

const logWorker = "aa0000000000000000000000000000000000000000000000000000"

// logConsole is a head whose logs the commands are run on.
type logConsole struct {
	t     *testing.T
	head  *raytest.Head
	token string
	width int // of the terminal that stderr is
}

// run runs a command and returns its output.
func (l logConsole) run(ctx context.Context, out io.Writer, args ...string) (stderr string, err error) {
	l.t.Helper()
	var messages bytes.Buffer
	app := kingpin.New("raytap", "").Terminate(nil)
	c := New(app, Options{
		Console: Console{Out: out, Err: &messages, ErrWidth: l.width, Now: func() time.Time { return now }}, ConnectFlags: func(Flags) {},
		Connect: func() (Cluster, error) { return l.client(), nil },
	})
	command, err := app.Parse(args)
	if err == nil {
		err = c.Run(ctx, command)
	}
	return messages.String(), err
}

// client returns a client of the head.
func (l logConsole) client() *dashboard.Client {
	l.t.Helper()
	o, agents := transport.Options{URL: l.head.URL(), Timeout: 20 * time.Second}, dashboard.NodeAgents{}
	if l.token != "" {
		o.Token, o.Scheme = transport.StaticToken(l.token), "Bearer "
		agents.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	}
	tr, err := transport.New(o)
	if err != nil {
		l.t.Fatal(err)
	}
	c, err := dashboard.New(tr, dashboard.Options{NodeAgents: agents})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(c.Close)
	return c
}

// must runs a command that succeeds without a message.
func (l logConsole) must(args ...string) string {
	l.t.Helper()
	var out bytes.Buffer
	stderr, err := l.run(l.t.Context(), &out, args...)
	if err != nil || stderr != "" {
		l.t.Fatalf("%v: %v, stderr %q", args, err, stderr)
	}
	return out.String()
}

func newLogConsole(t *testing.T) (logConsole, *raytest.Node) {
	l := logConsole{t: t, head: raytest.New(t)}
	node := l.head.Nodes()[0]
	l.head.Submit("train-1", raytest.JobOptions{EmptyLog: true}).Print("step 1\nstep 2\n")
	node.WriteFile("raylet.out", strings.Repeat("line\n", 20)+"last\n")
	node.WriteFile("worker-"+logWorker+"-ffffffff-7.out", "three\nfour")
	node.WriteFile("worker-"+logWorker+"-ffffffff-7.out.1", "two\n")
	node.WriteFile("worker-"+logWorker+"-ffffffff-7.out.2", "one\n")
	node.WriteFile("worker-"+logWorker+"-ffffffff-7.err", "")
	node.SetModified("raylet.out", now.Add(-3*time.Hour-time.Minute))
	node.SetModified("job-driver-train-1.log", now)
	return l, node
}

func TestLogs_List(t *testing.T) {
	l, node := newLogConsole(t)
	got := l.must("logs", "list", "--node", node.ID[:4], "--source", "system,driver")
	want := `NODE          SOURCE  FILE                    JOB      SIZE  MODIFIED
000000000000  driver  job-driver-train-1.log  train-1   14B  0s ago
000000000000  system  raylet.out                       105B  3h1m ago
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	var list []logFileView
	if err := json.Unmarshal([]byte(l.must("logs", "list", "--worker", "aa", "--file", "*.out", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 3 || list[1].Generation != 1 || list[1].WorkerID != logWorker || *list[1].Size != 4 || list[1].PID != 7 || list[1].Modified.IsZero() {
		t.Errorf("%+v", list)
	}
	if got := l.must("logs", "list", "--file", "raylet.out", "-o", "yaml"); !strings.HasPrefix(got, "- node_id: ") {
		t.Errorf("%s", got)
	}
	if got := l.must("logs", "list", "--job", "train-1", "--limit", "1"); !strings.Contains(got, "train-1.log") {
		t.Errorf("%s", got)
	}
	for _, args := range [][]string{{"--job", "nope"}, {"--node", "zz"}, {"--actor", "zz"}, {"--application", "zz"}} {
		if _, err := l.run(t.Context(), io.Discard, append([]string{"logs", "list"}, args...)...); ray.Code(err) != 404 {
			t.Errorf("%v: %v", args, err)
		}
	}
	var usage *UsageError
	if _, err := l.run(t.Context(), io.Discard, "logs", "list", "--file", "["); !errors.As(err, &usage) {
		t.Errorf("an invalid pattern: %v", err)
	}
	stderr, err := l.run(t.Context(), io.Discard, "logs", "list", "--file", "absent*")
	if err != nil || stderr != "raytap: no such log files\n" {
		t.Errorf("no file: %q, %v", stderr, err)
	}
}

func TestShownName(t *testing.T) {
	f := ray.LogFile{Name: "old/worker-" + logWorker + "-ffffffff-7.out.1", LogName: ray.ParseLogName("old/worker-" + logWorker + "-ffffffff-7.out.1")}
	for width, want := range map[int]string{0: f.Name, 80: "old/worker-aa0000000000…-ffffffff-7.out.1"} {
		if got := shownName(f, width); got != want {
			t.Errorf("at %d columns: %s, want %s", width, got, want)
		}
	}
}

func TestLogs_Get(t *testing.T) {
	l, node := newLogConsole(t)
	if got := l.must("logs", "get", "--worker", "aa", "--file", "*.out"); got != "three\nfour" {
		t.Errorf("%q", got)
	}
	if got := l.must("logs", "get", "--worker", "aa", "--file", "*.out", "--generations"); got != "one\ntwo\nthree\nfour" {
		t.Errorf("all generations: %q", got)
	}
	node.RenameFile("worker-"+logWorker+"-ffffffff-7.out", "old/worker-"+logWorker+"-ffffffff-7.out")
	if got := l.must("logs", "get", "--worker", "aa", "--file", "*.out", "--generations"); got != "one\ntwo\nthree\nfour" {
		t.Errorf("all generations of a dead worker: %q", got)
	}
	if got := l.must("logs", "get", "--worker", "aa", "--file", "*.err"); got != "" {
		t.Errorf("an empty file: %q", got)
	}
	_, err := l.run(t.Context(), io.Discard, "logs", "get", "--worker", "aa")
	var usage *UsageError
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), "2 logs match") || !strings.Contains(err.Error(), "--file worker-"+logWorker+"-ffffffff-7.err") {
		t.Errorf("two logs: %v", err)
	}
	if _, err := l.run(t.Context(), io.Discard, "logs", "get", "--file", "absent"); ray.Code(err) != 404 {
		t.Errorf("no log: %v", err)
	}
}

func TestLogs_Tail(t *testing.T) {
	l, node := newLogConsole(t)
	if got, want := l.must("logs", "tail", "--file", "raylet.out"), strings.Repeat("line\n", 9)+"last\n"; got != want {
		t.Errorf("%q", got)
	}
	for lines, want := range map[string]string{"0": "", "1": "last\n", "2": "line\nlast\n"} {
		if got := l.must("logs", "tail", "--file", "raylet.out", "-n", lines); got != want {
			t.Errorf("%s lines: %q", lines, got)
		}
	}
	if got := l.must("logs", "tail", "--worker", "aa", "--file", "*.out", "-n", "1"); got != "four" {
		t.Errorf("a partial line: %q", got)
	}
	for lines, want := range map[string]string{"2": "three\nfour", "3": "two\nthree\nfour", "9": "one\ntwo\nthree\nfour"} {
		if got := l.must("logs", "tail", "--worker", "aa", "--file", "*.out", "-n", lines); got != want {
			t.Errorf("%s lines of several generations: %q", lines, got)
		}
	}
	node.WriteFile("raylet.out", "first\n"+strings.Repeat(strings.Repeat("x", 999)+"\n", 400))
	if got := l.must("logs", "tail", "--file", "raylet.out", "-n", "300"); len(got) != 300_000 {
		t.Errorf("300 long lines: %d bytes", len(got))
	}
	if got := l.must("logs", "tail", "--file", "raylet.out", "-n", "1000"); len(got) != 400_006 {
		t.Errorf("more lines than there are: %d bytes", len(got))
	}
}

func TestLastLinesOffset(t *testing.T) {
	for _, tt := range []struct {
		text string
		n    int
		want string
	}{
		{"", 3, ""}, {"a", 1, "a"}, {"a\nb\n", 1, "b\n"}, {"a\nb", 1, "b"}, {"a\n\nb\n", 2, "\nb\n"}, {"a\nb\n", 2, "a\nb\n"}, {"a\nb\n", 9, "a\nb\n"}, {"a\n", 0, ""}, {"\n", 1, "\n"},
	} {
		if got := tt.text[lastLinesOffset([]byte(tt.text), tt.n):]; got != tt.want {
			t.Errorf("%d lines of %q: %q, want %q", tt.n, tt.text, got, tt.want)
		}
	}
}

// watched is an output on which a test can wait.
type watched struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{}
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b.Write(p)
	select {
	case w.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

// until waits until the output is want.
func (w *watched) until(t *testing.T, want string) {
	t.Helper()
	for {
		w.mu.Lock()
		got := w.b.String()
		w.mu.Unlock()
		switch {
		case got == want:
			return
		case !strings.HasPrefix(want, got):
			t.Fatalf("%q, want %q", got, want)
		}
		select {
		case <-w.more:
		case <-time.After(20 * time.Second):
			t.Fatalf("%q, want %q", got, want)
		}
	}
}

// TestLogs_Follow: rotations, and the move of the file to old/, lose and repeat nothing.
func TestLogs_Follow(t *testing.T) {
	t.Parallel() // it waits for looks
	l, node := newLogConsole(t)
	name := "worker-" + logWorker + "-ffffffff-7.out"
	out := &watched{more: make(chan struct{}, 1)}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := l.run(ctx, out, "logs", "tail", "-f", "--file", name, "--source", "worker")
		done <- err
	}()
	want := "one\ntwo\nthree\nfour"
	out.until(t, want)
	node.AppendFile(name, " and a half\n")
	node.RotateFile(name, 5)
	node.AppendFile(name, "five\n")
	want += " and a half\nfive\n"
	out.until(t, want)
	node.AppendFile(name, "six\n")
	node.RenameFile(name, "old/"+name)
	node.AppendFile("old/"+name, "seven\n")
	want += "six\nseven\n"
	out.until(t, want)
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	if l.head.Requests(raytest.EndpointLogFile)+l.head.Requests(raytest.EndpointLogStream) > 0 {
		t.Error("the head was asked")
	}
}

func TestLogs_FollowLastLines(t *testing.T) {
	t.Parallel() // it waits for looks
	l, node := newLogConsole(t)
	out := &watched{more: make(chan struct{}, 1)}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := l.run(ctx, out, "logs", "tail", "-f", "-n", "2", "--file", "raylet.out")
		done <- err
	}()
	out.until(t, "line\nlast\n")
	node.AppendFile("raylet.out", "new\n")
	out.until(t, "line\nlast\nnew\n")
	stop()
	<-done
}

// TestLogs_DeadNode: a node that is dead has no files to collect, which is not a success.
func TestLogs_DeadNode(t *testing.T) {
	l, _ := newLogConsole(t)
	second, err := l.head.AddNode("127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	second.Kill()
	for _, args := range [][]string{{"list"}, {"get"}, {"tail"}, {"tail", "-f"}, {"collect", "--to", filepath.Join(t.TempDir(), "x")}} {
		stderr, err := l.run(t.Context(), io.Discard, append(append([]string{"logs"}, args...), "--node", second.ID)...)
		if ray.Code(err) != 503 || !strings.Contains(stderr, "the node is not alive") || ErrorMessage(err) != "" {
			t.Errorf("%v: %v, %q", args, err, stderr)
		}
	}
}

// TestLogs_TokenWithheld: an agent that is not trusted with the token is not asked. The
// head reads the files, and what needs the agent says what to configure.
func TestLogs_TokenWithheld(t *testing.T) {
	l := logConsole{t: t, head: raytest.New(t, raytest.Token("secret")), token: "secret"}
	second, err := l.head.AddNode("127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	second.WriteFile("raylet.out", "one\ntwo\n")
	file := []string{"--node", second.ID, "--file", "raylet.out"}
	if got := l.must(append([]string{"logs", "get"}, file...)...); got != "one\ntwo\n" {
		t.Errorf("%q", got)
	}
	_, err = l.run(t.Context(), io.Discard, append([]string{"logs", "tail", "-f"}, file...)...)
	if !errors.Is(err, ray.ErrTokenWithheld) || !strings.HasSuffix(ErrorMessage(err), "add its network to node_agents.allow to read logs from it") {
		t.Errorf("follow: %v", err)
	}
	if n := second.Requests(""); n > 0 {
		t.Errorf("%d requests to the agent", n)
	}
}

// TestLogs_ThroughHead: where the agent cannot be used, one-shot commands still work.
func TestLogs_ThroughHead(t *testing.T) {
	l, node := newLogConsole(t)
	l.head.Inject(raytest.Fault{Endpoint: raytest.EndpointAgentIndex, Action: raytest.Respond, Status: 503, Body: "overloaded"})
	if got := l.must("logs", "get", "--worker", "aa", "--file", "*.out", "--generations"); got != "one\ntwo\nthree\nfour" {
		t.Errorf("get: %q", got)
	}
	if got := l.must("logs", "tail", "-n", "1", "--file", "raylet.out"); got != "last\n" {
		t.Errorf("tail: %q", got)
	}
	if got := l.must("logs", "list", "--file", "raylet.out"); strings.Contains(got, "SIZE") || !strings.Contains(got, "raylet.out") {
		t.Errorf("list: %q", got)
	}
	if _, err := l.run(t.Context(), io.Discard, "logs", "tail", "-f", "--file", "raylet.out"); ray.Code(err) != 503 {
		t.Errorf("follow: %v", err)
	}
	path := filepath.Join(t.TempDir(), "logs.tar.gz")
	if _, err := l.run(t.Context(), io.Discard, "logs", "collect", "--file", "raylet.out", "--to", path); err != nil {
		t.Fatal(err)
	}
	if got := untar(t, path); len(got[node.ID[:12]+"/raylet.out"]) != 105 {
		t.Errorf("collect: %q", got)
	}
	if n := node.Requests(raytest.EndpointNodeAgent) + l.head.Requests(raytest.EndpointLogStream); n > 0 {
		t.Errorf("%d other requests", n)
	}
}

func TestLogs_NotSupported(t *testing.T) {
	for _, args := range [][]string{{"list"}, {"get"}, {"tail"}, {"collect", "--to", "x"}} {
		app := kingpin.New("raytap", "")
		c := New(app, Options{Console: newScreen("").Console, ConnectFlags: func(Flags) {}, Connect: func() (Cluster, error) { return &fake{}, nil }})
		command, err := app.Parse(append([]string{"logs"}, args...))
		if err == nil {
			err = c.Run(t.Context(), command)
		}
		if ray.Code(err) != 501 {
			t.Errorf("%v: %v", args, err)
		}
	}
}
