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

// workerPorts name every fixed port of a worker node.
var workerPorts = []string{
	"--dashboard-agent-listen-port", "--dashboard-agent-grpc-port", "--runtime-env-agent-port",
	"--metrics-export-port", "--node-manager-port", "--object-manager-port",
}

// AddNode starts a worker node at an address of loopback that the head has no
// node at ("127.0.0.3"), and returns when its raylet has joined. It ends with the
// head.
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
	defer context.AfterFunc(ctx, h.keeper.hangUp)()
	log := filepath.Join(h.Dir, "node-"+ip+".log")
	a, err := h.keeper.tell(order{Argv: argv, Env: h.env, Dir: "/", Log: log, Wait: true})
	if err == nil && a.Exit != 0 {
		err = fmt.Errorf("ray start ended with %d", a.Exit)
	}
	if err != nil {
		return nil, fmt.Errorf("add a node: %w", err)
	}
	return &Node{IP: ip, head: h}, nil
}

// Kill kills the node's raylet with SIGKILL, as a machine that is gone looks to
// the head, and returns when the process is gone. Ray's own part of the node
// follows it; the head takes the node for dead some seconds later.
func (n *Node) Kill(ctx context.Context) error {
	for _, pid := range descendants(n.head.keeper.cmd.Process.Pid) {
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
				return fmt.Errorf("the raylet at %s is still there: %w", n.IP, ctx.Err())
			case <-time.After(50 * time.Millisecond):
			}
		}
		return nil
	}
	return errors.New("there is no raylet at " + n.IP)
}
