//go:build linux

package realray

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// A Node is a worker node of a head, on the same machine.
type Node struct {
	IP string

	head *Head
}

// workerPorts are the flags of all fixed ports of a worker node.
var workerPorts = []string{
	"--dashboard-agent-listen-port", "--dashboard-agent-grpc-port", "--runtime-env-agent-port",
	"--metrics-export-port", "--node-manager-port", "--object-manager-port",
}

// AddNode starts a worker node at a loopback address without a node, such as
// "127.0.0.3", and returns when its raylet has joined. The node ends with the head.
func (h *Head) AddNode(ctx context.Context, ip string, cpus int) (*Node, error) {
	ports, err := FreePorts(len(workerPorts))
	if err != nil {
		return nil, err
	}
	argv := []string{
		h.opts.Ray, "start", "--address=" + h.gcs, "--node-ip-address=" + ip, "--disable-usage-stats",
		"--num-cpus=" + strconv.Itoa(cpus), "--num-gpus=0", "--object-store-memory=100000000",
		"--min-worker-port=0", "--max-worker-port=0",
	}
	for i, flag := range workerPorts {
		argv = append(argv, fmt.Sprintf("%s=%d", flag, ports[i]))
	}
	defer context.AfterFunc(ctx, h.supervisor.closeInput)()
	log := filepath.Join(h.Dir, "node-"+ip+".log")
	a, err := h.supervisor.start(request{Argv: argv, Env: h.env, Dir: "/", Log: log, Wait: true})
	if err == nil && a.Exit != 0 {
		err = fmt.Errorf("ray start exited with code %d", a.Exit)
	}
	if err != nil {
		return nil, fmt.Errorf("add a node: %w", err)
	}
	return &Node{IP: ip, head: h}, nil
}

// Kill kills the node's raylet with SIGKILL and returns when the process has exited. To
// the head this looks like a lost machine: the node's other processes exit, and the
// head marks the node dead some seconds later.
func (n *Node) Kill(ctx context.Context) error {
	for _, pid := range descendants(n.head.supervisor.cmd.Process.Pid) {
		argv := nulFields(fmt.Sprintf("/proc/%d/cmdline", pid))
		if len(argv) == 0 || filepath.Base(argv[0]) != "raylet" || !slices.Contains(argv, "--node_ip_address="+n.IP) {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill the raylet at %s: %w", n.IP, err)
		}
		for alive(pid) {
			select {
			case <-ctx.Done():
				return fmt.Errorf("the raylet at %s is still running: %w", n.IP, ctx.Err())
			case <-time.After(50 * time.Millisecond):
			}
		}
		return nil
	}
	return errors.New("there is no raylet at " + n.IP)
}
