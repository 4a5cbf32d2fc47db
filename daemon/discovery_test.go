package daemon

import (
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"raytap/config"
	"raytap/ray/raytest"
)

// module gives the module of a test, which is for some targets.
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

// folder is a place for files of clusters, on a clock of its own.
type folder struct {
	t   *testing.T
	dir string
	cfg config.Config
	now time.Time
	f   *discovery
}

func newFolder(t *testing.T, patterns ...string) *folder {
	t.Helper()
	dir := t.TempDir()
	log, _ := test.NewNullLogger()
	cfg := config.Default()
	cfg.Modules = map[string]config.Module{"m": module(t, "*:*")}
	set := config.ClusterFiles{Module: "m"}
	for _, p := range patterns {
		set.Files = append(set.Files, config.Path(filepath.Join(dir, p)))
	}
	cfg.ClusterFiles = []config.ClusterFiles{set}
	return &folder{t: t, dir: dir, cfg: cfg, now: time.Now(), f: newDiscovery(cfg, nil, log)}
}

// write gives a file a content, long before the next look.
func (f *folder) write(name, text string) {
	f.t.Helper()
	file := filepath.Join(f.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Chtimes(file, f.now, f.now); err != nil {
		f.t.Fatal(err)
	}
	f.now = f.now.Add(time.Minute)
}

func (f *folder) remove(name string) {
	f.t.Helper()
	if err := os.RemoveAll(filepath.Join(f.dir, name)); err != nil {
		f.t.Fatal(err)
	}
}

// look gives the names of what is found, and whether that is called a change.
func (f *folder) look() (string, bool) {
	changed := f.f.look(f.now)
	all, _ := f.f.clusters(f.cfg)
	var names []string
	for _, c := range all {
		names = append(names, c.cluster.Name)
	}
	return strings.Join(names, " "), changed
}

const oneTarget = `[{"targets": ["a:1"]}]`

func TestWhatFilesOfClustersStandFor(t *testing.T) {
	for name, tt := range map[string]struct {
		before, after func(*folder)
		want          string // what is found then
		changed       bool
		wrong         string // what is told of a file; "": nothing
		next          bool   // another look at the same finds a change
	}{
		"another content": {
			after: func(f *folder) { f.write("x.json", `[{"targets": ["a:1", "b:2"]}]`) },
			want:  "a:1 b:2", changed: true,
		},
		"the same content written again": {after: func(f *folder) { f.write("x.json", oneTarget) }, want: "a:1"},
		"another writing of the same":    {after: func(f *folder) { f.write("x.json", `[ {"labels": {}, "targets": ["a:1"]} ]`) }, want: "a:1"},
		"no clusters":                    {after: func(f *folder) { f.write("x.json", "[]") }, want: "", changed: true},
		"a content that is wrong":        {after: func(f *folder) { f.write("x.json", `[{"targets": ["a:1", "b`) }, want: "a:1", wrong: "it is not a list"},
		"an empty file":                  {after: func(f *folder) { f.write("x.json", "") }, want: "a:1", wrong: "it is empty"},
		"one target that is wrong":       {after: func(f *folder) { f.write("x.json", `[{"targets": ["b:2", "c"]}]`) }, want: "a:1", wrong: "target 2: the target must be host:port"},
		"one name twice":                 {after: func(f *folder) { f.write("x.json", `[{"targets": ["b:2", "b:2"]}]`) }, want: "a:1", wrong: "stands for another one already"},
		"right again": {
			before: func(f *folder) { f.write("x.json", "nonsense"); f.look() },
			after:  func(f *folder) { f.write("x.json", `[{"targets": ["b:2"]}]`) },
			want:   "b:2", changed: true,
		},
		"a change that may still be written": {
			after: func(f *folder) {
				f.write("x.json", `[{"targets": ["b:2"]}]`)
				f.now = f.now.Add(-time.Minute + settle/2)
			},
			want: "a:1",
		},
		"a change that has settled": {
			before: func(f *folder) {
				f.write("x.json", `[{"targets": ["b:2"]}]`)
				f.now = f.now.Add(-time.Minute + settle/2)
				f.look()
			},
			after: func(f *folder) { f.now = f.now.Add(settle) },
			want:  "b:2", changed: true,
		},
		"a file that is gone": {
			before: func(f *folder) { f.remove("x.json"); f.look() },
			after:  func(*folder) {},
			want:   "", changed: true, wrong: "no such file",
		},
		"a file that one look does not find": {after: func(f *folder) { f.remove("x.json") }, want: "a:1", next: true},
		"a file that is back after one look": {
			before: func(f *folder) { f.remove("x.json"); f.look() },
			after:  func(f *folder) { f.write("x.json", oneTarget) },
			want:   "a:1",
		},
		"one that fits and that one look does not find": {
			before: func(f *folder) { f.write("d/y.json", `[{"targets": ["b:2"]}]`); f.look() },
			after:  func(f *folder) { f.remove("d/y.json") },
			want:   "b:2 a:1", next: true,
		},
		"a folder in its place": {
			after: func(f *folder) {
				f.remove("x.json")
				if err := os.Mkdir(filepath.Join(f.dir, "x.json"), 0o700); err != nil {
					f.t.Fatal(err)
				}
			},
			want: "a:1", wrong: "is no regular file",
		},
		"a new file that fits the pattern": {after: func(f *folder) { f.write("d/y.json", `[{"targets": ["b:2"]}]`) }, want: "b:2 a:1", changed: true},
		"a new file that does not fit":     {after: func(f *folder) { f.write("d/y.yaml", `[{"targets": ["b:2"]}]`) }, want: "a:1"},
		"one that fits goes": {
			before: func(f *folder) {
				f.write("d/y.json", `[{"targets": ["b:2"]}]`)
				f.look()
				f.remove("d/y.json")
				f.look()
			},
			after: func(*folder) {},
			want:  "a:1", changed: true,
		},
		"a name that another file has": {after: func(f *folder) { f.write("d/y.json", `[{"targets": ["a:1", "b:2"]}]`) }, want: "a:1 b:2", changed: true},
		"a link that is swapped": {
			before: func(f *folder) {
				f.write("v1", `[{"targets": ["b:2"]}]`)
				f.write("v2", `[{"targets": ["c:3"]}]`)
				if err := os.Symlink("../v1", filepath.Join(f.dir, "d/l.json")); err != nil {
					f.t.Fatal(err)
				}
				f.look()
			},
			after: func(f *folder) {
				f.remove("d/l.json")
				if err := os.Symlink("../v2", filepath.Join(f.dir, "d/l.json")); err != nil {
					f.t.Fatal(err)
				}
			},
			want: "c:3 a:1", changed: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t, "x.json", "d/*.json")
			if err := os.Mkdir(filepath.Join(f.dir, "d"), 0o700); err != nil {
				t.Fatal(err)
			}
			f.write("x.json", oneTarget)
			if got, changed := f.look(); got != "a:1" || !changed {
				t.Fatalf("at first it finds %q", got)
			}
			if tt.before != nil {
				tt.before(f)
			}
			tt.after(f)
			got, changed := f.look()
			if got != tt.want || changed != tt.changed {
				t.Errorf("found %q, changed %v; want %q, %v", got, changed, tt.want, tt.changed)
			}
			var wrong string
			for _, x := range f.f.status() {
				if x.err != nil {
					wrong += x.err.Error()
				}
			}
			if (tt.wrong == "") != (wrong == "") || !strings.Contains(wrong, tt.wrong) {
				t.Errorf("told of the files: %q, want %q", wrong, tt.wrong)
			}
			if _, changed := f.look(); changed != tt.next {
				t.Errorf("another look at the same files calls them changed: %t", changed)
			}
		})
	}
}

func TestAReloadDropsWhatItsModuleDoesNotAllowAnyMore(t *testing.T) {
	f := newFolder(t, "x.json", "y.json")
	f.write("x.json", oneTarget)
	f.write("y.json", `[{"targets": ["b:2"]}]`)
	f.look()
	f.cfg.Modules = map[string]config.Module{"m": module(t, "b:2")}
	f.f = newDiscovery(f.cfg, f.f, f.f.log)
	if all, _ := f.f.clusters(f.cfg); len(all) != 1 || all[0].cluster.Name != "b:2" {
		t.Errorf("before the files are read again: %v", all)
	}
	if got, _ := f.look(); got != "b:2" {
		t.Errorf("found %q", got)
	}
	// A file that is wrong now keeps its last good content over a reload.
	f.write("y.json", "nonsense")
	f.look()
	f.f = newDiscovery(f.cfg, f.f, f.f.log)
	if got, _ := f.look(); got != "b:2" {
		t.Errorf("found %q after another reload", got)
	}
	// It follows its module all the same: a token may be another one now.
	m := module(t, "b:2")
	m.Cluster.Auth.Token = "renewed"
	f.cfg.Modules = map[string]config.Module{"m": m}
	f.f = newDiscovery(f.cfg, f.f, f.f.log)
	f.look()
	if all, _ := f.f.clusters(f.cfg); len(all) != 1 || all[0].cluster.Auth.Token != "renewed" {
		t.Error("a cluster of a file that is wrong keeps the token that its module had")
	}
}

func TestAFoundClusterThatCannotBeBuiltHoldsUpNoOther(t *testing.T) {
	hs := heads(t, "stays")
	f := newFolder(t, "x.json")
	f.write("x.json", `[{"targets": ["secure:1"], "labels": {"ray_cluster": "secure"}}]`)
	c := configure(t, hs, "stays")
	m := module(t, "*:*")
	m.Cluster.TLS.CAFile = config.Path(filepath.Join(f.dir, "ca.pem"))
	c.Modules, c.ClusterFiles = map[string]config.Module{"m": m}, f.cfg.ClusterFiles
	h := open(t, c, nil)
	h.until("the other one is up, and this one is counted", func() bool {
		page := h.page()
		return strings.Contains(page, `raytap_up{ray_cluster="stays"} 1`) && strings.Contains(page, "raytap_cluster_files_refused 1")
	})
	if !strings.Contains(h.lines(), "secure in "+f.dir+"/x.json: read the CA file: ") {
		t.Errorf("the log does not say why:%s", h.lines())
	}
	f.write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: stranger(t)})))
	if code, text := h.reload(c, nil); code != 200 {
		t.Fatalf("reload: %d %s", code, text)
	}
	if page := h.page(); !strings.Contains(page, `raytap_up{ray_cluster="secure"} 0`) || !strings.Contains(page, "raytap_cluster_files_refused 0") {
		t.Errorf("the page once it can be built:\n%s", page)
	}
}

// Else a file of clusters that changes would replace those of the configuration
// whose certificates were renewed meanwhile.
func TestCertificatesCountAsTheyWereAtTheReload(t *testing.T) {
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
		t.Error("they are read again before the next reload")
	}
	if (certificates{}).of(tls) == before {
		t.Error("a reload does not see what changed")
	}
}

func TestFoundClustersAreBounded(t *testing.T) {
	f := newFolder(t, "x.json")
	f.cfg.Clusters = []config.Cluster{{Name: "own"}, {Name: "c1:1"}}
	f.cfg.MaxClusters = 4
	var targets []string
	for i := range 5 {
		targets = append(targets, fmt.Sprintf("%q", fmt.Sprintf("c%d:1", i)))
	}
	f.write("x.json", `[{"targets": [`+strings.Join(targets, ",")+`]}]`)
	if got, _ := f.look(); got != "c0:1 c2:1" {
		t.Errorf("found %q", got)
	}
	_, refused := f.f.clusters(f.cfg)
	told := strings.Join(refused, "; ")
	if len(refused) != 3 || !strings.Contains(told, "c1:1 in "+f.dir+"/x.json: another cluster has that name") || !strings.Contains(told, "max_clusters is 4") {
		t.Errorf("refused: %s", told)
	}
}

func TestFilesAddAndRemoveClustersWhileOthersGoOn(t *testing.T) {
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
	c.Modules = map[string]config.Module{"m": module(t, "127.0.0.1:*")}
	c.ClusterFiles = []config.ClusterFiles{{Module: "m", Files: []config.Path{config.Path(dir + "/*.json")}}}
	h := openWith(t, c, nil, func(d *Daemon) { d.files.pause = 10 * time.Millisecond })
	h.until("both are shipped", func() bool {
		return strings.Contains(h.out.String(), "from stays") && strings.Contains(h.out.String(), "from listed")
	})
	tails := hs["stays"].Requests(raytest.EndpointTail)

	list("later")
	h.until("the new one is shipped", func() bool { return strings.Contains(h.out.String(), "from later") })
	h.until("the tail of the one that went is closed", func() bool { return hs["listed"].OpenTails() == 0 })
	page := h.page()
	if strings.Contains(page, `ray_cluster="listed"`) || !strings.Contains(page, `raytap_up{ray_cluster="later"} 1`) || !strings.Contains(page, "raytap_clusters 2") {
		t.Errorf("the page:\n%s", page)
	}

	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Minute)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	h.until("the file is told to be wrong", func() bool {
		return strings.Contains(h.page(), fmt.Sprintf("raytap_cluster_file_valid{file=%q} 0", file))
	})
	if page := h.page(); !strings.Contains(page, `raytap_up{ray_cluster="later"} 1`) || !strings.Contains(page, fmt.Sprintf("raytap_cluster_file_clusters{file=%q} 1", file)) {
		t.Errorf("the page with a wrong file:\n%s", page)
	}
	if n := strings.Count(h.lines(), "what it held before stays"); n != 1 {
		t.Errorf("the log says so %d times:%s", n, h.lines())
	}
	if n := hs["stays"].Requests(raytest.EndpointTail); n != tails {
		t.Errorf("the cluster that stayed was dialled %d times more", n-tails)
	}
	if n := strings.Count(h.out.String(), `"message":"from stays"`); n != 1 {
		t.Errorf("its line was shipped %d times", n)
	}

	// A reload watches the files on.
	if code, text := h.reload(c, nil); code != 200 {
		t.Fatalf("reload: %d %s", code, text)
	}
	if page := h.page(); !strings.Contains(page, `raytap_up{ray_cluster="later"} 1`) {
		t.Errorf("the page after a reload:\n%s", page)
	}
	c.ClusterFiles = nil
	if code, text := h.reload(c, nil); code != 200 {
		t.Fatalf("reload: %d %s", code, text)
	}
	if page := h.page(); strings.Contains(page, `ray_cluster="later"`) || strings.Contains(page, "raytap_cluster_file_valid") {
		t.Errorf("the page without files:\n%s", page)
	}
}
