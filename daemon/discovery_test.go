package daemon

import (
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/config"
	"raytap/ray/raytest"
)

// module returns a module for some targets.
func module(t *testing.T, targets ...string) config.Module {
	t.Helper()
	m := config.Module{Targets: make([]config.TargetPattern, len(targets)), Cluster: config.Cluster{
		API: "ray", Timeout: config.Duration(2 * time.Second), MaxConcurrent: 8, MaxBody: 1 << 20,
		NodeAgents: config.NodeAgents{Mode: "off"},
	}}
	for i, s := range targets {
		if err := m.Targets[i].UnmarshalText([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func TestDiscovery_ClusterCannotBeBuilt(t *testing.T) {
	hs := heads(t, "stays")
	dir := t.TempDir()
	file, ca := filepath.Join(dir, "x.json"), filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, []byte(`[{"targets": ["secure:1"], "labels": {"ray_cluster": "secure"}}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	c := configure(t, hs, "stays")
	m := module(t, "*:*")
	m.Cluster.TLS.CAFile = config.Path(ca)
	c.Modules = map[string]config.Module{"m": m}
	c.ClusterFiles = []config.ClusterFiles{{Module: "m", Files: []config.Path{config.Path(file)}}}
	h := open(t, c, nil)
	h.until("the other cluster is up, and this one is counted", func() bool {
		page := h.page()
		return strings.Contains(page, `raytap_up{ray_cluster="stays"} 1`) && strings.Contains(page, "raytap_clusters_rejected 1")
	})
	if !strings.Contains(h.lines(), "secure in "+file+": read the CA file: ") {
		t.Errorf("the log has no reason:%s", h.lines())
	}
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: stranger(t)}), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, text := h.reload(c, nil); code != 200 {
		t.Fatalf("reload: %d %s", code, text)
	}
	if page := h.page(); !strings.Contains(page, `raytap_up{ray_cluster="secure"} 0`) || !strings.Contains(page, "raytap_clusters_rejected 0") {
		t.Errorf("/metrics once it can be built:\n%s", page)
	}
}

// Otherwise a change of a cluster file would replace clusters of the configuration
// whose certificates were renewed.
func TestCertificates(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	tls, c := config.TLS{CAFile: config.Path(file)}, certificates{}
	before := c.of(tls)
	write("two")
	if c.of(tls) != before {
		t.Error("the files are read again before a reload")
	}
	if (certificates{}).of(tls) == before {
		t.Error("a reload does not see the change")
	}
}

func TestDiscovery_AddAndRemoveClusters(t *testing.T) {
	hs := heads(t, "stays", "listed", "later")
	for name, head := range hs {
		head.Submit("job-"+name, raytest.JobOptions{}).Print("from " + name + "\n")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "clusters.json")
	list := func(names ...string) {
		var groups []string
		for _, name := range names {
			groups = append(groups, fmt.Sprintf(`{"targets": [%q], "labels": {"ray_cluster": %q}}`, hs[name].URL(), name))
		}
		tmp := filepath.Join(dir, "tmp")
		if err := os.WriteFile(tmp, []byte("["+strings.Join(groups, ",")+"]"), 0o600); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-time.Minute)
		if err := os.Chtimes(tmp, old, old); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, file); err != nil {
			t.Fatal(err)
		}
	}
	list("listed")
	c := configure(t, hs, "stays")
	c.EndedClusters.Keep = 0
	c.Modules = map[string]config.Module{"m": module(t, "127.0.0.1:*")}
	c.ClusterFiles = []config.ClusterFiles{{Module: "m", Files: []config.Path{config.Path(dir + "/*.json")}}}
	h := openWith(t, c, nil, func(d *Daemon) { d.files.Interval = 10 * time.Millisecond })
	h.until("both are shipped", func() bool {
		return strings.Contains(h.out.String(), "from stays") && strings.Contains(h.out.String(), "from listed")
	})
	tails := hs["stays"].Requests(raytest.EndpointTail)

	list("later")
	h.until("the new cluster is shipped", func() bool { return strings.Contains(h.out.String(), "from later") })
	h.until("the tail of the removed cluster is closed", func() bool { return hs["listed"].OpenTails() == 0 })
	page := h.page()
	if strings.Contains(page, `ray_cluster="listed"`) || !strings.Contains(page, `raytap_up{ray_cluster="later"} 1`) || !strings.Contains(page, "raytap_clusters 2") {
		t.Errorf("/metrics:\n%s", page)
	}

	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Minute)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	h.until("the file is reported as invalid", func() bool {
		return strings.Contains(h.page(), fmt.Sprintf("raytap_cluster_file_valid{file=%q} 0", file))
	})
	if page := h.page(); !strings.Contains(page, `raytap_up{ray_cluster="later"} 1`) || !strings.Contains(page, fmt.Sprintf("raytap_cluster_file_clusters{file=%q} 1", file)) {
		t.Errorf("/metrics with an invalid file:\n%s", page)
	}
	if n := strings.Count(h.lines(), "Cluster file is invalid"); n != 1 {
		t.Errorf("it is logged %d times:%s", n, h.lines())
	}
	if n := hs["stays"].Requests(raytest.EndpointTail); n != tails {
		t.Errorf("the other cluster was dialled %d more times", n-tails)
	}
	if n := strings.Count(h.out.String(), `"message":"from stays"`); n != 1 {
		t.Errorf("its line was shipped %d times", n)
	}

	// A reload keeps the clusters of the files.
	if code, text := h.reload(c, nil); code != 200 {
		t.Fatalf("reload: %d %s", code, text)
	}
	if page := h.page(); !strings.Contains(page, `raytap_up{ray_cluster="later"} 1`) {
		t.Errorf("/metrics after a reload:\n%s", page)
	}
	c.ClusterFiles = nil
	if code, text := h.reload(c, nil); code != 200 {
		t.Fatalf("reload: %d %s", code, text)
	}
	if page := h.page(); strings.Contains(page, `ray_cluster="later"`) || strings.Contains(page, "raytap_cluster_file_valid") {
		t.Errorf("/metrics without files:\n%s", page)
	}
}
