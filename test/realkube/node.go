//go:build linux

package realkube

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"raytap/test/program"
)

const pause = "raytap.test/pause:1"

// Node is a Kubernetes cluster of one node.
type Node struct {
	*Server
	Kubelet    *program.Process
	containerd *program.Process
}

// NewNode starts a cluster and waits until its node is ready.
func NewNode(t testing.TB, images ...Image) *Node {
	t.Helper()
	n := &Node{Server: NewServer(t)}
	n.runtime()
	for _, i := range append(images, Image{Name: pause, Entrypoint: []string{"/pause"}, Files: map[string]string{"pause": filepath.Join(n.Dir, "pause")}}) {
		n.load(i)
	}
	n.control()
	n.Until(n.APIServer, time.Minute, "the default service account exists", func() bool {
		return n.Try("kubectl get serviceaccount default") == nil
	})
	n.join()
	n.Until(n.Kubelet, time.Minute, "the node is ready", func() bool {
		return n.Try("kubectl wait --for=condition=Ready node/node --timeout=1s") == nil
	})
	return n
}

// runtime starts containerd.
func (n *Node) runtime() {
	n.T.Helper()
	unpacked := unpacked(n.T)
	conf := filepath.Join(n.Dir, "cni")
	if err := os.MkdirAll(conf, 0o755); err != nil {
		n.T.Fatal(err)
	}
	// Each pod has a pair of interfaces and a route. Traffic on a bridge would bypass the
	// rules for services.
	Write(n.T, filepath.Join(conf, "10-pods.conflist"), `{"cniVersion": "0.4.0", "name": "pods", "plugins": [
		{"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}`, 0o644)
	config := Write(n.T, filepath.Join(n.Dir, "containerd.toml"), fmt.Sprintf(`
version = 2
disabled_plugins = ["io.containerd.internal.v1.opt"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  # root may not be permitted to lower oom_score_adj.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = %q
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
`, pause, program.Tool(n.T, "kubernetes/usr/sbin/runc"), filepath.Join(unpacked, "usr/lib/cni"), conf), 0o644)
	n.containerd = n.Start(exec.Command(program.Tool(n.T, "kubernetes/usr/bin/containerd"), "--config", config))
	n.Until(n.containerd, 30*time.Second, "containerd is ready", func() bool { return n.Try("ctr version") == nil })
}

// load imports an image, so that pods need not pull it.
func (n *Node) load(i Image) {
	n.T.Helper()
	cmd := exec.Command(program.Tool(n.T, "kubernetes/usr/bin/ctr"), "--namespace=k8s.io", "images", "import", "-")
	cmd.Env, cmd.Stdin = n.env(), bytes.NewReader(i.archive(n.T))
	if out, err := cmd.CombinedOutput(); err != nil {
		n.T.Fatalf("import %s: %v\n%s", i.Name, err, out)
	}
}

// control starts the controller manager and the scheduler.
func (n *Node) control() {
	n.T.Helper()
	n.program("kube-controller-manager", "--kubeconfig="+n.Kubeconfig, "--leader-elect=false",
		"--service-account-private-key-file="+n.accountsKey(), "--root-ca-file="+n.Authority)
	// A pod whose claim is bound while it is looked at would wait for five minutes (1.34.4).
	n.program("kube-scheduler", "--kubeconfig="+n.Kubeconfig, "--leader-elect=false", "--pod-max-in-unschedulable-pods-duration=5s")
}

// join starts the kubelet and kube-proxy.
func (n *Node) join() {
	n.T.Helper()
	resolv := Write(n.T, filepath.Join(n.Dir, "resolv.conf"), "", 0o644) // there is no network beyond the node
	config := Write(n.T, filepath.Join(n.Dir, "kubelet.yaml"), fmt.Sprintf(`
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %[1]s
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /%[2]s
enforceNodeAllocatable: [none]
failCgroupV1: false
failSwapOn: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDNS: [%[1]s]
clusterDomain: cluster.local
resolvConf: %[3]s
evictionHard: {memory.available: "0%%", nodefs.available: "0%%", imagefs.available: "0%%"}
imageGCHighThresholdPercent: 100
# Maximum delay until the files of a changed secret change; the default is a minute.
syncFrequency: 5s
`, NodeIP, filepath.Base(n.Dir), resolv), 0o644)
	groups(n.T, filepath.Base(n.Dir))
	n.Kubelet = n.program("kubelet", "--config="+config, "--kubeconfig="+n.Kubeconfig, "--hostname-override=node", "--node-ip="+NodeIP)
	config = Write(n.T, filepath.Join(n.Dir, "proxy.yaml"), fmt.Sprintf(`
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: node
clusterCIDR: 10.88.0.0/24
clientConnection: {kubeconfig: %s}
# These apply to the whole machine.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`, n.Kubeconfig), 0o644)
	n.program("kube-proxy", "--config="+config)
}

// groups creates the parent cgroups of the pods' cgroups.
func groups(t testing.TB, name string) {
	t.Helper()
	all := []string{"/sys/fs/cgroup/" + name}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		controllers, err := filepath.Glob("/sys/fs/cgroup/*")
		if err != nil {
			t.Fatal(err)
		}
		all = nil
		for _, c := range controllers {
			all = append(all, filepath.Join(c, name))
		}
	}
	for _, group := range all {
		if err := os.MkdirAll(group, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
