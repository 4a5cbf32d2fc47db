//go:build linux

package realray

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Options configure a head. Ray is required.
type Options struct {
	// Ray is the path of the `ray` command in its virtual environment.
	Ray string
	// CPUs is the number of CPUs of the head, and of workers that Ray starts
	// immediately. 0 means 4.
	CPUs int
	// GPUs is the number of GPUs of the head. They need not exist.
	GPUs int
	// Token enables token authentication; "" disables it.
	Token string
	// AgentPort is the port of the node agent; 0 means a free one. Clients of Ray before
	// 2.60 know only the default, 52365, and that of a job's driver.
	AgentPort int
	// Env is added to the head's environment ("NAME=value").
	Env []string
}

// A Head is a running head node on loopback. Its methods may be called from
// any goroutine.
type Head struct {
	*Client
	// Dir is the head's temporary directory. Stop removes it.
	Dir string

	opts       Options
	env        []string
	supervisor *supervisor
	gcs        string // address for other nodes to join
}

// Start starts a head and returns when its dashboard is ready. After an error no
// process and no file is left.
func Start(ctx context.Context, o Options) (*Head, error) {
	if o.CPUs == 0 {
		o.CPUs = 4
	}
	// Ray creates Unix sockets below the directory; their paths have at most 107 bytes.
	dir, err := os.MkdirTemp("/tmp", "rt")
	if err != nil {
		return nil, err
	}
	ports, err := FreePorts(len(portFlags) + 2)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if o.AgentPort > 0 {
		ports[slices.Index(portFlags, "--dashboard-agent-listen-port")] = o.AgentPort
	}
	k, err := startSupervisor(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	h := &Head{Dir: dir, opts: o, env: headEnv(o, ports[len(portFlags):]), supervisor: k}
	h.gcs = fmt.Sprintf("%s:%d", nodeIP, ports[slices.Index(portFlags, "--port")])
	h.Client = &Client{URL: fmt.Sprintf("http://127.0.0.1:%d", ports[0]), Token: o.Token}
	if err := h.startRay(ctx, ports); err != nil {
		var logs strings.Builder
		writeTail(&logs, h.startLog())
		h.WriteLogs(&logs)
		return nil, errors.Join(fmt.Errorf("start a Ray head: %w\n%s", err, logs.String()), h.Stop())
	}
	return h, nil
}

// nodeIP is the address of the head's node. It is loopback, but not 127.0.0.1, which
// `ray start` (2.60.0) replaces by an address that others can reach.
const nodeIP = "127.0.0.2"

// portFlags are the flags of all fixed ports of a head, the dashboard's first. The
// defaults would collide with another Ray on the machine.
var portFlags = []string{
	"--dashboard-port", "--port", "--dashboard-agent-listen-port", "--dashboard-agent-grpc-port",
	"--runtime-env-agent-port", "--metrics-export-port", "--ray-client-server-port",
	"--node-manager-port", "--object-manager-port",
}

func (h *Head) startRay(ctx context.Context, ports []int) error {
	argv := []string{
		h.opts.Ray, "start", "--head", "--node-ip-address=" + nodeIP, "--dashboard-host=127.0.0.1",
		"--include-dashboard=true", "--disable-usage-stats", "--temp-dir=" + h.Dir,
		"--num-cpus=" + strconv.Itoa(h.opts.CPUs), "--num-gpus=" + strconv.Itoa(h.opts.GPUs), "--object-store-memory=100000000",
		// 0: any free port; the default range, 10002 to 19999, is shared by all heads.
		"--min-worker-port=0", "--max-worker-port=0",
	}
	for i, flag := range portFlags {
		argv = append(argv, fmt.Sprintf("%s=%d", flag, ports[i]))
	}
	defer context.AfterFunc(ctx, h.supervisor.closeInput)()
	a, err := h.supervisor.start(request{Argv: argv, Env: h.env, Dir: "/", Log: h.startLog(), Wait: true})
	if err != nil {
		return err
	}
	if a.Exit != 0 {
		return fmt.Errorf("ray start exited with code %d", a.Exit)
	}
	return h.WaitReady(ctx)
}

func (h *Head) startLog() string { return filepath.Join(h.Dir, "start.log") }

// headEnv returns the environment of a head, without variables that would direct a Ray
// command to another cluster.
func headEnv(o Options, ports []int) []string {
	set := []string{
		// python3 in jobs is the Python with Ray.
		"PATH=" + filepath.Dir(o.Ray) + string(os.PathListSeparator) + os.Getenv("PATH"),
		fmt.Sprintf("AUTOSCALER_METRIC_PORT=%d", ports[0]),
		fmt.Sprintf("DASHBOARD_METRIC_PORT=%d", ports[1]),
		"NO_PROXY=127.0.0.1,localhost",
		"PYTHONDONTWRITEBYTECODE=1",
		// Do not kill workers because of many small jobs on a busy machine.
		"RAY_memory_monitor_refresh_ms=0",
	}
	if o.Token == "" {
		set = append(set, "RAY_AUTH_MODE=disabled")
	} else {
		set = append(set, "RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN="+o.Token)
	}
	set = append(set, o.Env...)
	// One value per name: with two, programs differ in which one they use.
	env := slices.DeleteFunc(CleanEnv(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.ContainsFunc(set, func(s string) bool { return strings.HasPrefix(s, name+"=") })
	})
	return append(env, set...)
}

// CleanEnv returns the environment without the variables of Ray, raytap, Python and
// proxies, for a child that must use no other cluster.
func CleanEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(strings.ToUpper(kv), "=")
		return strings.HasPrefix(name, "RAY_") || strings.HasPrefix(name, "RAYTAP_") ||
			strings.HasPrefix(name, "PYTHON") || strings.HasSuffix(name, "_PROXY")
	})
}

// Address returns the address of the head's GCS, for programs that join the cluster.
func (h *Head) Address() string { return h.gcs }

// Stop kills every process of the head and removes its directory. It may be
// called more than once.
func (h *Head) Stop() error { return h.supervisor.stop() }

// LogDir returns the directory of Ray's own logs and the jobs' driver logs.
func (h *Head) LogDir() string { return filepath.Join(h.Dir, "session_latest", "logs") }

// WriteLogs writes the ends of the logs that help to find the cause of a failure.
func (h *Head) WriteLogs(w io.Writer) {
	for _, name := range []string{"dashboard.err", "dashboard_agent.log", "raylet.err", "raylet.out", "gcs_server.err"} {
		writeTail(w, filepath.Join(h.LogDir(), name))
	}
	writeTail(w, h.dashboardLog())
}

// writeTail writes the end of a file, if it exists and is not empty.
func writeTail(w io.Writer, name string) {
	if b, err := os.ReadFile(name); err == nil && len(b) > 0 {
		fmt.Fprintf(w, "==== %s\n%s\n", filepath.Base(name), tail(b, 2000))
	}
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}
