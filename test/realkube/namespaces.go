//go:build linux

package realkube

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"raytap/test/program"
)

// NodeIP is the address of the node, at which pods reach the servers of the tests.
const NodeIP = "10.77.0.1"

// Pods is a network whose addresses are all this machine's, for servers of a test that pose
// as pods.
const Pods = "10.99.0.0/16"

// sysctls are the kernel parameters of the whole machine that a kubelet sets if they have
// other values. These files hide the real ones, so that the kubelet does not change them.
var sysctls = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

// enter prepares the new namespaces for a node, and runs the tests.
func enter(m *testing.M) int {
	if err := prepare(os.Getenv(workDirEnv)); err != nil {
		fmt.Fprintln(os.Stderr, "prepare the namespaces:", err)
		return 1
	}
	return program.Main(m)
}

func prepare(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// kubelet, containerd and the network plugins always write to these directories. They
	// are in memory, so that a busy disk does not slow the tests down.
	for _, dir := range []string{"/run", "/var/lib", "/var/log"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	for name, value := range sysctls {
		file := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(file, filepath.Join("/proc/sys", name), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("hide %s: %w", name, err)
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return err
	}
	if err := up("lo", "127.0.0.1", 8); err != nil {
		return err
	}
	pods, err := netip.ParsePrefix(Pods)
	if err != nil {
		return err
	}
	if err := up("lo:1", pods.Addr().Next().String(), pods.Bits()); err != nil {
		return err
	}
	return up("lo:0", NodeIP, 32)
}

// up sets the address of an interface, or of an alias of one, and enables it.
func up(name, ip string, bits int) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	for _, set := range []struct {
		request uint
		value   net.IP
	}{{unix.SIOCSIFADDR, net.ParseIP(ip)}, {unix.SIOCSIFNETMASK, net.IP(net.CIDRMask(bits, 32))}} {
		if err := request.SetInet4Addr(set.value.To4()); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(s, set.request, request); err != nil {
			return fmt.Errorf("set the address of %s: %w", name, err)
		}
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, request)
}
