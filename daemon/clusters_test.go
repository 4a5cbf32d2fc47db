package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"raytap/config"
	"raytap/ray/raytest"
)

func TestMetrics_UnreachableCluster(t *testing.T) {
	hs := heads(t, "good", "hangs", "refuses")
	hs["good"].Submit("job-1", raytest.JobOptions{}).Print("hello\n")
	hang := hs["hangs"].Inject(raytest.Fault{Action: raytest.Hang})
	hs["refuses"].Down()
	c := configure(t, hs, "hangs", "refuses", "good")
	for i := range c.Clusters {
		c.Clusters[i].Timeout = config.Duration(time.Hour) // the scrape's deadline alone ends the wait
	}
	h := open(t, c, nil)
	page := h.scrape("2")
	for _, want := range []string{
		`raytap_up{ray_cluster="good"} 1`,
		`raytap_up{ray_cluster="hangs"} 0`,
		`raytap_up{ray_cluster="refuses"} 0`,
		`raytap_job_status{ray_cluster="good",status="RUNNING",submission_id="job-1"} 1`,
		`raytap_collector_success{collector="jobs",ray_cluster="good"} 1`,
		`raytap_collector_success{collector="jobs",ray_cluster="hangs"} 0`,
		`raytap_collector_success{collector="jobs",ray_cluster="refuses"} 0`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("/metrics has no %s:\n%s", want, page)
		}
	}
	if dead := regexp.MustCompile(`raytap_(?:jobs|nodes)\{.*ray_cluster="(?:hangs|refuses)"`).FindString(page); dead != "" {
		t.Errorf("/metrics has %s", dead)
	}
	if hang.Hits() == 0 {
		t.Error("no request hangs")
	}
}

// scrape returns /metrics as a Prometheus with this scrape timeout in seconds gets it.
func (h *harness) scrape(timeout string) string {
	h.t.Helper()
	r, err := http.NewRequest(http.MethodGet, h.base+"/metrics", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", timeout)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	var b strings.Builder
	if err := res.Write(&b); err != nil {
		h.t.Fatal(err)
	}
	return b.String()
}

func TestReload_ChangedCertificate(t *testing.T) {
	hs := heads(t, "prod", "other")
	target, err := url.Parse(hs["prod"].URL())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = &http.Transport{DisableKeepAlives: true}
	secure := httptest.NewUnstartedServer(proxy)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it logs each failed handshake
	secure.StartTLS()
	defer secure.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write := func(der []byte) {
		t.Helper()
		if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(stranger(t))
	c := configure(t, hs, "prod", "other")
	c.Shipper.Enabled = false
	c.Clusters[0].URL, c.Clusters[0].TLS.CAFile = config.URL(secure.URL), config.Path(ca)
	h := open(t, c, nil)
	h.until("it is ready", func() bool { code, _ := h.get("/-/ready"); return code == 200 })
	if page := h.page(); !strings.Contains(page, `raytap_up{ray_cluster="prod"} 0`) {
		t.Fatalf("a cluster with the wrong certificate is up:\n%s", page)
	}
	clusters := func() [2]*clusterRuntime { all := h.d.clusters.all(); return [2]*clusterRuntime{all[0], all[1]} }
	before := clusters()
	if code, text := h.reload(c, nil); code != 200 || clusters() != before {
		t.Errorf("a reload without a change replaces a cluster: %d %s", code, text)
	}
	write(secure.Certificate().Raw)
	if code, text := h.reload(c, nil); code != 200 {
		t.Fatalf("reload: %d %s", code, text)
	}
	h.until("the new certificate is in use", func() bool { return strings.Contains(h.page(), `raytap_up{ray_cluster="prod"} 1`) })
	if after := clusters(); after[0] == before[0] || after[1] != before[1] {
		t.Errorf("replaced: %v and the other one: %v", after[0] != before[0], after[1] != before[1])
	}
	if err := os.Remove(ca); err != nil {
		t.Fatal(err)
	}
	if code, text := h.reload(c, nil); code != 500 || !strings.Contains(text, "clusters[0]: read the CA file: ") {
		t.Errorf("a missing certificate: %d %s", code, text)
	}
	if page := h.page(); !strings.Contains(page, `raytap_up{ray_cluster="prod"} 1`) {
		t.Errorf("a failed reload stops the cluster:\n%s", page)
	}
}

// stranger returns a certificate that signed no other.
func stranger(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stranger"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestStatus(t *testing.T) {
	hs := heads(t, "prod", "down")
	hs["prod"].Submit("job-1", raytest.JobOptions{}).Print("hello\n")
	hs["down"].Down()
	c := configure(t, hs, "prod", "down")
	c.Clusters[0].Auth.Token = "open-sesame"
	c.Clusters[0].Headers = map[string]config.Secret{"X-Key": "hidden-value"}
	h := open(t, c, nil)
	h.until("the line is shipped", func() bool { return strings.Contains(h.out.String(), `"message":"hello"`) })
	h.page()
	h.until("the status has both clusters, and the tail with its lines", func() bool {
		_, page := h.get("/api/v1/status")
		for _, want := range []string{
			`"state": "up"`, `"ray_version": "2.`, `"session": "` + hs["prod"].Session() + `"`,
			`"state": "down"`, "connection refused",
			`"submission_id": "job-1"`, `"transport": "websocket"`, `"state": "reading"`, `"lines": 3`,
			`"name": "jobs"`, `"sink": "standard output"`,
		} {
			if !strings.Contains(page, want) {
				return false
			}
		}
		return true
	})
	if code, text := h.reload(c, &config.Problems{List: []config.Problem{{Path: "log.level", Message: "wrong"}}}); code != 500 {
		t.Fatalf("reload: %d %s", code, text)
	}
	_, page := h.get("/")
	for _, want := range []string{"1 up, 1 down", "reload failed", "log.level: wrong", "job-1", "connection refused", hs["prod"].Session()} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q:\n%s", want, page)
		}
	}
	_, script := h.get("/api/v1/status")
	for _, secret := range []string{"open-sesame", "hidden-value"} {
		if strings.Contains(page+script, secret) {
			t.Errorf("the status shows %q", secret)
		}
	}
}
