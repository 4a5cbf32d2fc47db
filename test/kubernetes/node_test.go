//go:build e2e && linux

package kubernetes

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/test/program"
)

const (
	token  = "a-token-of-the-tests" // of all who ask the API server; it is an administrator's
	server = "https://" + nodeIP + ":6443"
	pause  = "raytap.test/pause:1"
)

// node is a cluster of one node.
type node struct {
	t          *testing.T
	dir        string
	kubeconfig string
	path       string // of commands: kubectl and helm are on it
	libraries  string // for programs that were unpacked and not installed
	client     *http.Client
	containerd *program.Process
	apiserver  *program.Process
	kubelet    *program.Process
	last       error // of a command, for a condition that never came
}

// newNode starts a cluster and waits until its node is ready for pods.
func newNode(t *testing.T, images ...image) *node {
	t.Helper()
	n := &node{t: t, dir: os.Getenv(inside), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	t.Cleanup(func() {
		if t.Failed() && n.last != nil {
			t.Logf("the last command that failed: %v", n.last)
		}
	})
	n.commands()
	n.program("etcd", "--data-dir=/var/lib/etcd", "--unsafe-no-fsync", "--log-level=warn")
	n.runtime()
	n.serve()
	for _, i := range append(images, image{name: pause, entrypoint: []string{"/pause"}, files: map[string]string{"pause": filepath.Join(n.dir, "pause")}}) {
		n.load(i)
	}
	n.control()
	n.until(n.apiserver, time.Minute, "the default service account is there", func() bool {
		return n.try("kubectl get serviceaccount default") == nil
	})
	n.join()
	n.until(n.kubelet, time.Minute, "the node is ready", func() bool {
		return n.try("kubectl wait --for=condition=Ready node/node --timeout=1s") == nil
	})
	return n
}

// commands puts kubectl and helm where a reader of the docs has them.
func (n *node) commands() {
	n.t.Helper()
	unpacked := filepath.Dir(filepath.Dir(filepath.Dir(program.Tool(n.t, "kubernetes/usr/bin/containerd"))))
	bin := filepath.Join(n.dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		n.t.Fatal(err)
	}
	write(n.t, filepath.Join(bin, "kubectl"), fmt.Sprintf("#!/bin/sh\nexec %q kubectl \"$@\"\n", program.Tool(n.t, "bin/hyperkube")), 0o755)
	if err := os.Symlink(program.Tool(n.t, "bin/helm"), filepath.Join(bin, "helm")); err != nil {
		n.t.Fatal(err)
	}
	n.path = strings.Join([]string{bin, filepath.Join(unpacked, "usr/bin"), filepath.Join(unpacked, "usr/sbin"), os.Getenv("PATH"), "/usr/sbin", "/sbin"}, ":")
	found, err := filepath.Glob(filepath.Join(unpacked, "usr/lib/*-linux-gnu"))
	if err != nil {
		n.t.Fatal(err)
	}
	n.libraries = strings.Join(found, ":")
}

func (n *node) env(more ...string) []string {
	return append([]string{"PATH=" + n.path, "HOME=" + n.dir, "KUBECONFIG=" + n.kubeconfig}, more...)
}

// start starts a program of the node, which may need libraries that are not
// installed.
func (n *node) start(name string, args ...string) *program.Process {
	n.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = n.env("LD_LIBRARY_PATH=" + n.libraries)
	return program.Start(n.t, cmd)
}

// program starts one of those that are Kubernetes.
func (n *node) program(args ...string) *program.Process {
	n.t.Helper()
	return n.start(program.Tool(n.t, "bin/hyperkube"), args...)
}

// runtime starts containerd.
func (n *node) runtime() {
	n.t.Helper()
	unpacked := filepath.Dir(filepath.Dir(filepath.Dir(program.Tool(n.t, "kubernetes/usr/bin/containerd"))))
	conf := filepath.Join(n.dir, "cni")
	if err := os.MkdirAll(conf, 0o755); err != nil {
		n.t.Fatal(err)
	}
	// A pair of interfaces and a route for each pod: no bridge, whose traffic would
	// pass by the services' rules.
	write(n.t, filepath.Join(conf, "10-pods.conflist"), `{"cniVersion": "0.4.0", "name": "pods", "plugins": [
		{"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}`, 0o644)
	config := write(n.t, filepath.Join(n.dir, "containerd.toml"), fmt.Sprintf(`
version = 2
disabled_plugins = ["io.containerd.internal.v1.opt"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  # A machine's root may lack the right to make its processes less killable.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = %q
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
`, pause, program.Tool(n.t, "kubernetes/usr/sbin/runc"), filepath.Join(unpacked, "usr/lib/cni"), conf), 0o644)
	n.containerd = n.start(program.Tool(n.t, "kubernetes/usr/bin/containerd"), "--config", config)
	n.until(n.containerd, 30*time.Second, "containerd answers", func() bool { return n.try("ctr version") == nil })
}

// load puts an image where a pod finds it that may not pull.
func (n *node) load(i image) {
	n.t.Helper()
	cmd := exec.Command(program.Tool(n.t, "kubernetes/usr/bin/ctr"), "--namespace=k8s.io", "images", "import", "-")
	cmd.Env, cmd.Stdin = n.env(), bytes.NewReader(i.archive(n.t))
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Fatalf("import %s: %v\n%s", i.name, err, out)
	}
}

// serve starts the API server and writes the file by which all others reach it.
func (n *node) serve() {
	n.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		n.t.Fatal(err)
	}
	accounts := write(n.t, filepath.Join(n.dir, "accounts.key"), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})), 0o600)
	tokens := write(n.t, filepath.Join(n.dir, "tokens"), token+`,admin,1,"system:masters"`+"\n", 0o600)
	n.apiserver = n.program("kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", "--bind-address="+nodeIP, "--advertise-address="+nodeIP,
		"--cert-dir="+n.dir, "--token-auth-file="+tokens, "--authorization-mode=RBAC", "--kubelet-preferred-address-types=InternalIP", "--service-cluster-ip-range=10.96.0.0/16",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+accounts, "--service-account-signing-key-file="+accounts)
	ca := filepath.Join(n.dir, "apiserver.crt")
	write(n.t, n.kubeconfig, fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "node",
		"clusters": [{"name": "node", "cluster": {"server": %q, "certificate-authority": %q}}],
		"users": [{"name": "admin", "user": {"token": %q}}], "contexts": [{"name": "node", "context": {"cluster": "node", "user": "admin"}}]}`, server, ca, token), 0o600)
	n.until(n.apiserver, time.Minute, "the API server has a certificate", func() bool { _, err := os.Stat(ca); return err == nil })
	authority, err := os.ReadFile(ca)
	if err != nil {
		n.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	n.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	n.until(n.apiserver, 2*time.Minute, "the API server is ready", func() bool { return n.get("/readyz", nil) == nil })
}

// get asks the API server, and decodes its answer into v where that is not nil.
func (n *node) get(path string, v any) error {
	req, err := http.NewRequestWithContext(n.t.Context(), http.MethodGet, server+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %.300s", path, res.Status, b)
	}
	if err == nil && v != nil {
		err = json.Unmarshal(b, v)
	}
	return err
}

// control starts what makes pods of objects, and gives them a node.
func (n *node) control() {
	n.t.Helper()
	n.program("kube-controller-manager", "--kubeconfig="+n.kubeconfig, "--leader-elect=false",
		"--service-account-private-key-file="+filepath.Join(n.dir, "accounts.key"), "--root-ca-file="+filepath.Join(n.dir, "apiserver.crt"))
	n.program("kube-scheduler", "--kubeconfig="+n.kubeconfig, "--leader-elect=false")
}

// join starts the kubelet, and the proxy that makes services' addresses work.
func (n *node) join() {
	n.t.Helper()
	resolv := write(n.t, filepath.Join(n.dir, "resolv.conf"), "", 0o644) // nothing is beyond the node
	config := write(n.t, filepath.Join(n.dir, "kubelet.yaml"), fmt.Sprintf(`
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
# A secret that changes is a changed file within this time, a minute by default.
syncFrequency: 5s
`, nodeIP, filepath.Base(n.dir), resolv), 0o644)
	groups(n.t, filepath.Base(n.dir))
	n.kubelet = n.program("kubelet", "--config="+config, "--kubeconfig="+n.kubeconfig, "--hostname-override=node", "--node-ip="+nodeIP)
	config = write(n.t, filepath.Join(n.dir, "proxy.yaml"), fmt.Sprintf(`
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: node
clusterCIDR: 10.88.0.0/24
clientConnection: {kubeconfig: %s}
# These are the whole machine's.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`, n.kubeconfig), 0o644)
	n.program("kube-proxy", "--config="+config)
}

// groups makes the control groups under which the kubelet has those of pods.
func groups(t *testing.T, name string) {
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

// run runs a command, or several, as a reader of the docs does, in the root of the
// repository. It gives what they say on stdout.
func (n *node) run(script string) (string, error) {
	var out, said program.Output
	cmd := exec.CommandContext(context.WithoutCancel(n.t.Context()), "bash", "-euo", "pipefail", "-c", `trap 'kill $(jobs -p) 2>/dev/null || :' EXIT`+"\n"+script)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = "../..", n.env(), &out, &said, 10*time.Second
	if err := cmd.Run(); err != nil {
		n.last = fmt.Errorf("%w\n%s\n%s%s", err, script, out.String(), said.String())
		return out.String(), n.last
	}
	return out.String(), nil
}

func (n *node) try(script string) error {
	_, err := n.run(script)
	return err
}

func (n *node) must(script string) string {
	n.t.Helper()
	out, err := n.run(script)
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

// until polls less often than Process.Until does: what is asked costs more here.
func (n *node) until(p *program.Process, limit time.Duration, what string, ok func() bool) {
	n.t.Helper()
	var asked time.Time
	p.Until(limit, what, func() bool {
		if time.Since(asked) < 250*time.Millisecond {
			return false
		}
		asked = time.Now()
		return ok()
	})
}
