package web

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign(name, nil, nil)
	return a
}

// sign writes a certificate to <name>.pem and its key to <name>.key. Without a parent
// it is self-signed.
func (a *authority) sign(name string, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: parent == nil, BasicConstraintsValid: true,
	}
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "EC PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return cert, key
}

// client returns a client that trusts the authority, with a certificate of by unless
// that is nil.
func (a *authority) client(by *authority) *http.Client {
	a.t.Helper()
	conf := &tls.Config{RootCAs: x509.NewCertPool()}
	conf.RootCAs.AddCert(a.cert)
	if by != nil {
		by.sign("client", by.cert, by.key)
		cert, err := tls.LoadX509KeyPair(filepath.Join(by.dir, "client.pem"), filepath.Join(by.dir, "client.key"))
		if err != nil {
			a.t.Fatal(err)
		}
		// Sent also to a server that requests those of another authority.
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}}
}

// run serves with a web configuration until the test's end, and returns the
// addresses.
func run(t *testing.T, config string, addresses int) []string {
	t.Helper()
	var listen, got []string
	for range addresses {
		listen = append(listen, "127.0.0.1:0")
	}
	listeners, err := Listen(listen, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range listeners {
		got = append(got, l.Addr().String())
	}
	s, _ := newServer(t, func(o *Options) { o.Listeners, o.ConfigFile = listeners, config })
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return got
}

func TestServer_ClientCertificates(t *testing.T) {
	own, other := newAuthority(t, "own"), newAuthority(t, "other")
	own.sign("server", own.cert, own.key)
	config := func(t *testing.T, more string) string {
		t.Helper()
		file := filepath.Join(own.dir, "web.yaml")
		text := "tls_server_config: {cert_file: server.pem, key_file: server.key" + more + "}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	mutual := ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: own.pem"
	for name, tt := range map[string]struct {
		more   string
		scheme string
		client *http.Client
		ok     bool
	}{
		"TLS":                                {"", "https", own.client(nil), true},
		"TLS of a server that is unknown":    {"", "https", other.client(nil), false},
		"plain http to TLS":                  {"", "http", own.client(nil), false},
		"a client's certificate":             {mutual, "https", own.client(own), true},
		"no client's certificate":            {mutual, "https", own.client(nil), false},
		"a certificate of another authority": {mutual, "https", own.client(other), false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, address := range run(t, config(t, tt.more), 2) {
				for _, path := range []string{"/metrics", "/", "/probe?target=a", "/-/healthy"} {
					r, err := tt.client.Get(tt.scheme + "://" + address + path)
					ok := err == nil && r.StatusCode == http.StatusOK
					if err == nil {
						r.Body.Close()
					}
					if ok != tt.ok {
						t.Errorf("%s: %v, served %v", path, err, ok)
					}
				}
			}
		})
	}
}

// A renewed certificate is used without a restart, as in Prometheus' own programs.
func TestServer_RenewedCertificate(t *testing.T) {
	own, renewed := newAuthority(t, "own"), newAuthority(t, "renewed")
	own.sign("server", own.cert, own.key)
	file := filepath.Join(own.dir, "web.yaml")
	if err := os.WriteFile(file, []byte("tls_server_config: {cert_file: server.pem, key_file: server.key}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := run(t, file, 1)[0]
	get := func(c *http.Client) error {
		r, err := c.Get("https://" + address + "/-/healthy")
		if err == nil {
			r.Body.Close()
		}
		return err
	}
	if err := get(own.client(nil)); err != nil {
		t.Fatal(err)
	}
	renewed.sign("server", renewed.cert, renewed.key)
	for _, name := range []string{"server.pem", "server.key"} {
		if err := os.Rename(filepath.Join(renewed.dir, name), filepath.Join(own.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := get(renewed.client(nil)); err != nil {
		t.Error(err)
	}
}

// activated is set in the process that the test starts as systemd would.
const activated = "RAYTAP_TEST_ACTIVATED"

func TestListen_SystemdSocket(t *testing.T) {
	if os.Getenv(activated) != "" {
		serveActivated(t)
		return
	}
	var files []*os.File
	var addresses []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files, addresses = append(files, f), append(addresses, l.Addr().String())
	}
	// exec keeps the process id, which systemd sets to that of the process.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" -test.run='^TestListen_SystemdSocket$' -test.count=1`, os.Args[0])
	cmd.Env = append(os.Environ(), activated+"=1", "LISTEN_FDS="+strconv.Itoa(len(files)))
	cmd.ExtraFiles = files
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	for _, address := range addresses {
		r, err := client.Get("http://" + address + "/-/healthy") // waits in the socket's queue until it is served
		if err != nil {
			t.Error(err)
			continue
		}
		r.Body.Close()
		if r.StatusCode != http.StatusOK {
			t.Errorf("%s answers %d", address, r.StatusCode)
		}
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// serveActivated serves the listeners of systemd until stdin ends.
func serveActivated(t *testing.T) {
	listeners, err := Listen([]string{"127.0.0.1:1"}, true)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := newServer(t, func(o *Options) { o.Listeners = listeners })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	_, _ = os.Stdin.Read(make([]byte, 1))
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestListen_NoSystemdSocket(t *testing.T) {
	t.Setenv("LISTEN_PID", "")
	if _, err := Listen(nil, true); err == nil || !strings.Contains(err.Error(), "start raytap with a .socket unit") {
		t.Errorf("got %v", err)
	}
}
