//go:build linux

package realkube

import (
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
	// AdminToken is the token of an administrator.
	AdminToken = "a-token-of-the-tests"
	// URL is the API server's.
	URL = "https://" + NodeIP + ":6443"
)

// Server is an API server with its etcd. Its methods are for the test's goroutine, except
// Get, Run and Try.
type Server struct {
	T          testing.TB
	Dir        string           // for files of the test
	Kubeconfig string           // of an administrator
	Authority  string           // the file with the certificate of the API server
	APIServer  *program.Process // its process
	Client     *http.Client     // trusts the API server

	args      []string // of the API server
	path      string   // PATH with kubectl and helm
	libraries string   // LD_LIBRARY_PATH for programs that are unpacked, but not installed
	last      error    // of the last command that failed
}

// NewServer starts an API server, with more flags, and waits until it is ready.
func NewServer(t testing.TB, flags ...string) *Server {
	t.Helper()
	s := &Server{T: t, Dir: os.Getenv(workDirEnv), Kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	if s.Dir == "" {
		t.Fatal("the TestMain of this package does not call realkube.Main")
	}
	t.Cleanup(func() {
		if t.Failed() && s.last != nil {
			t.Logf("the last command that failed: %v", s.last)
		}
	})
	s.commands()
	dir, err := os.MkdirTemp("/var/lib", "etcd")
	if err != nil {
		t.Fatal(err)
	}
	s.program("etcd", "--data-dir="+dir, "--unsafe-no-fsync", "--log-level=warn")
	s.serve(flags)
	return s
}

// commands puts kubectl and helm into the PATH.
func (s *Server) commands() {
	s.T.Helper()
	unpacked := unpacked(s.T)
	bin := s.T.TempDir()
	Write(s.T, filepath.Join(bin, "kubectl"), fmt.Sprintf("#!/bin/sh\nexec %q kubectl \"$@\"\n", program.Tool(s.T, "bin/hyperkube")), 0o755)
	if err := os.Symlink(program.Tool(s.T, "bin/helm"), filepath.Join(bin, "helm")); err != nil {
		s.T.Fatal(err)
	}
	s.path = strings.Join([]string{bin, filepath.Join(unpacked, "usr/bin"), filepath.Join(unpacked, "usr/sbin"), os.Getenv("PATH"), "/usr/sbin", "/sbin"}, ":")
	found, err := filepath.Glob(filepath.Join(unpacked, "usr/lib/*-linux-gnu"))
	if err != nil {
		s.T.Fatal(err)
	}
	s.libraries = strings.Join(found, ":")
}

// unpacked returns the directory of the unpacked packages.
func unpacked(t testing.TB) string {
	t.Helper()
	return filepath.Dir(filepath.Dir(filepath.Dir(program.Tool(t, "kubernetes/usr/bin/containerd"))))
}

func (s *Server) env() []string {
	return []string{"PATH=" + s.path, "HOME=" + s.Dir, "KUBECONFIG=" + s.Kubeconfig}
}

// Start starts a program of the cluster: with kubectl in its PATH, as the administrator,
// with the libraries that are not installed, and with more environment variables.
func (s *Server) Start(cmd *exec.Cmd, env ...string) *program.Process {
	s.T.Helper()
	cmd.Env = append(s.env(), append(env, "LD_LIBRARY_PATH="+s.libraries)...)
	return program.Start(s.T, cmd)
}

// program starts a program of Kubernetes.
func (s *Server) program(args ...string) *program.Process {
	s.T.Helper()
	return s.Start(exec.Command(program.Tool(s.T, "bin/hyperkube"), args...))
}

// serve starts the API server and writes the kubeconfig for all clients.
func (s *Server) serve(flags []string) {
	s.T.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.T.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		s.T.Fatal(err)
	}
	accounts := Write(s.T, s.accountsKey(), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})), 0o600)
	tokens := Write(s.T, filepath.Join(s.Dir, "tokens"), AdminToken+`,admin,1,"system:masters"`+"\n", 0o600)
	s.args = append([]string{"kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", "--bind-address=" + NodeIP, "--advertise-address=" + NodeIP,
		"--cert-dir=" + s.Dir, "--token-auth-file=" + tokens, "--authorization-mode=RBAC", "--kubelet-preferred-address-types=InternalIP", "--service-cluster-ip-range=10.96.0.0/16",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + accounts, "--service-account-signing-key-file=" + accounts}, flags...)
	s.APIServer = s.program(s.args...)
	s.Authority = filepath.Join(s.Dir, "apiserver.crt")
	Write(s.T, s.Kubeconfig, Kubeconfig(s.Authority, "default", AdminToken), 0o600)
	s.Until(s.APIServer, time.Minute, "the API server has a certificate", func() bool { _, err := os.Stat(s.Authority); return err == nil })
	authority, err := os.ReadFile(s.Authority)
	if err != nil {
		s.T.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	s.Client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	s.awaitReady()
}

func (s *Server) awaitReady() {
	s.T.Helper()
	s.Until(s.APIServer, 2*time.Minute, "the API server is ready", func() bool { return s.Get("/readyz", nil) == nil })
}

func (s *Server) accountsKey() string { return filepath.Join(s.Dir, "accounts.key") }

// Kubeconfig returns a kubeconfig for the API server with a certificate in a file, a
// namespace and a token.
func Kubeconfig(authority, namespace, token string) string {
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "node",
		"clusters": [{"name": "node", "cluster": {"server": %q, "certificate-authority": %q}}],
		"users": [{"name": "user", "user": {"token": %q}}],
		"contexts": [{"name": "node", "context": {"cluster": "node", "user": "user", "namespace": %q}}]}`, URL, authority, token, namespace)
}

// Get sends a GET request to the API server, and decodes the response into v unless v is
// nil.
func (s *Server) Get(path string, v any) error {
	b, err := s.Request(http.MethodGet, path, "", "")
	if err == nil && v != nil {
		err = json.Unmarshal(b, v)
	}
	return err
}

// Request sends a request to the API server and returns the body of a successful response.
func (s *Server) Request(method, path, contentType, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(context.WithoutCancel(s.T.Context()), method, URL+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+AdminToken)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := s.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %.300s", method, path, res.Status, b)
	}
	return b, err
}

// Run runs a shell script in the root of the repository. It returns its stdout.
func (s *Server) Run(script string) (string, error) {
	var out, stderr program.Output
	cmd := exec.CommandContext(context.WithoutCancel(s.T.Context()), "bash", "-euo", "pipefail", "-c", `trap 'kill $(jobs -p) 2>/dev/null || :' EXIT`+"\n"+script)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = "../..", s.env(), &out, &stderr, 10*time.Second
	if err := cmd.Run(); err != nil {
		s.last = fmt.Errorf("%w\n%s\n%s%s", err, script, out.String(), stderr.String())
		return out.String(), s.last
	}
	return out.String(), nil
}

// Try is Run without the output.
func (s *Server) Try(script string) error {
	_, err := s.Run(script)
	return err
}

// Must is Run, but a failure fails the test.
func (s *Server) Must(script string) string {
	s.T.Helper()
	out, err := s.Run(script)
	if err != nil {
		s.T.Fatal(err)
	}
	return out
}

// Output returns the output of a script without blanks around it, "" after an error.
func (s *Server) Output(script string) string {
	out, err := s.Run(script)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

// Apply applies objects in YAML or JSON.
func (s *Server) Apply(objects string) {
	s.T.Helper()
	s.Must("kubectl apply -f - <<'END'\n" + objects + "\nEND")
}

// Define applies definitions of resources, from a file or a directory, and waits until
// they can be used.
func (s *Server) Define(files string) {
	s.T.Helper()
	s.Must("kubectl apply --server-side -f " + files)
	s.Until(s.APIServer, time.Minute, "the resources of "+files+" are established", func() bool {
		return s.Try("kubectl wait --for=condition=Established --timeout=1s -f "+files) == nil
	})
}

// Until is Process.Until with a longer interval, because the conditions are expensive.
func (s *Server) Until(p *program.Process, limit time.Duration, what string, ok func() bool) {
	s.T.Helper()
	var last time.Time
	p.Until(limit, what, func() bool {
		if time.Since(last) < 250*time.Millisecond {
			return false
		}
		last = time.Now()
		return ok()
	})
}

// Restart kills the API server and starts it again: every watch breaks, and what a client
// saw last can be too old to continue from.
func (s *Server) Restart() {
	s.T.Helper()
	s.APIServer.Kill()
	s.APIServer = s.program(s.args...)
	s.awaitReady()
}
