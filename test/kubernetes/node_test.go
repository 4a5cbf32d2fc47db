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
	token  = "a-token-of-the-tests" // of an administrator, for all clients of the API server
	server = "https://" + nodeIP + ":6443"
	pause  = "raytap.test/pause:1"
)

// node is a Kubernetes cluster of one node.
type node struct {
	t          *testing.T
	dir        string
	kubeconfig string
	path       string // PATH with kubectl and helm
	libraries  string // LD_LIBRARY_PATH for programs that are unpacked, but not installed
	client     *http.Client
	containerd *program.Process
	apiserver  *program.Process
	kubelet    *program.Process
	last       error // of the last command that failed
}

// newNode starts a cluster and waits until its node is ready.
func newNode(t *testing.T, images ...image) *node {
	t.Helper()
	n := &node{t: t, dir: os.Getenv(workDirEnv), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
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
	n.until(n.apiserver, time.Minute, "the default service account exists", func() bool {
		return n.try("kubectl get serviceaccount default") == nil
	})
	n.join()
	n.until(n.kubelet, time.Minute, "the node is ready", func() bool {
		return n.try("kubectl wait --for=condition=Ready node/node --timeout=1s") == nil
	})
	return n
}

// commands puts kubectl and helm into the PATH.
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

// start starts a program of the node, with the libraries that are not installed.
func (n *node) start(name string, args ...string) *program.Process {
	n.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = n.env("LD_LIBRARY_PATH=" + n.libraries)
	return program.Start(n.t, cmd)
}

// program starts a program of Kubernetes.
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
	// Each pod has a pair of interfaces and a route. Traffic on a bridge would bypass the
	// rules for services.
	write(n.t, filepath.Join(conf, "10-pods.conflist"), `{"cniVersion": "0.4.0", "name": "pods", "plugins": [
		{"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}`, 0o644)
	config := write(n.t, filepath.Join(n.dir, "containerd.toml"), fmt.Sprintf(`
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
`, pause, program.Tool(n.t, "kubernetes/usr/sbin/runc"), filepath.Join(unpacked, "usr/lib/cni"), conf), 0o644)
	n.containerd = n.start(program.Tool(n.t, "kubernetes/usr/bin/containerd"), "--config", config)
	n.until(n.containerd, 30*time.Second, "containerd is ready", func() bool { return n.try("ctr version") == nil })
}

// load imports an image, so that pods need not pull it.
func (n *node) load(i image) {
	n.t.Helper()
	cmd := exec.Command(program.Tool(n.t, "kubernetes/usr/bin/ctr"), "--namespace=k8s.io", "images", "import", "-")
	cmd.Env, cmd.Stdin = n.env(), bytes.NewReader(i.archive(n.t))
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Fatalf("import %s: %v\n%s", i.name, err, out)
	}
}

// serve starts the API server and writes the kubeconfig for all clients.
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

// get sends a GET request to the API server, and decodes the response into v unless v is
// nil.
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

// control starts the controller manager and the scheduler.
func (n *node) control() {
	n.t.Helper()
	n.program("kube-controller-manager", "--kubeconfig="+n.kubeconfig, "--leader-elect=false",
		"--service-account-private-key-file="+filepath.Join(n.dir, "accounts.key"), "--root-ca-file="+filepath.Join(n.dir, "apiserver.crt"))
	n.program("kube-scheduler", "--kubeconfig="+n.kubeconfig, "--leader-elect=false")
}

// join starts the kubelet and kube-proxy.
func (n *node) join() {
	n.t.Helper()
	resolv := write(n.t, filepath.Join(n.dir, "resolv.conf"), "", 0o644) // there is no network beyond the node
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
# Maximum delay until the files of a changed secret change; the default is a minute.
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
# These apply to the whole machine.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`, n.kubeconfig), 0o644)
	n.program("kube-proxy", "--config="+config)
}

// groups creates the parent cgroups of the pods' cgroups.
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

// run runs a shell script in the root of the repository. It returns its stdout.
func (n *node) run(script string) (string, error) {
	var out, stderr program.Output
	cmd := exec.CommandContext(context.WithoutCancel(n.t.Context()), "bash", "-euo", "pipefail", "-c", `trap 'kill $(jobs -p) 2>/dev/null || :' EXIT`+"\n"+script)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = "../..", n.env(), &out, &stderr, 10*time.Second
	if err := cmd.Run(); err != nil {
		n.last = fmt.Errorf("%w\n%s\n%s%s", err, script, out.String(), stderr.String())
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

// until is Process.Until with a longer interval, because the conditions are expensive.
func (n *node) until(p *program.Process, limit time.Duration, what string, ok func() bool) {
	n.t.Helper()
	var last time.Time
	p.Until(limit, what, func() bool {
		if time.Since(last) < 250*time.Millisecond {
			return false
		}
		last = time.Now()
		return ok()
	})
}
