package discovery

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"raytap/config"
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

// directory has cluster files, and a clock of its own.
type directory struct {
	t   *testing.T
	dir string
	cfg config.Config
	now time.Time
	f   *Files
}

func newDirectory(t *testing.T, patterns ...string) *directory {
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
	return &directory{t: t, dir: dir, cfg: cfg, now: time.Now(), f: NewFiles(cfg, nil, log)}
}

// write writes a file long before the next refresh.
func (f *directory) write(name, text string) {
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

func (f *directory) remove(name string) {
	f.t.Helper()
	if err := os.RemoveAll(filepath.Join(f.dir, name)); err != nil {
		f.t.Fatal(err)
	}
}

// refresh returns the names of the clusters after a refresh, and whether it
// reports a change.
func (f *directory) refresh() (string, bool) {
	changed := f.f.Refresh(f.now)
	var names []string
	for _, c := range f.f.Clusters() {
		names = append(names, c.Name)
	}
	return strings.Join(names, " "), changed
}

const oneTarget = `[{"targets": ["a:1"]}]`

func TestFiles_Refresh(t *testing.T) {
	for name, tt := range map[string]struct {
		before, after func(*directory)
		want          string // names of the clusters
		changed       bool
		wrong         string // error of a file; "": none
		next          bool   // another refresh reports a change
	}{
		"content changes": {
			after: func(f *directory) { f.write("x.json", `[{"targets": ["a:1", "b:2"]}]`) },
			want:  "a:1 b:2", changed: true,
		},
		"the same content written again": {after: func(f *directory) { f.write("x.json", oneTarget) }, want: "a:1"},
		"same clusters in another form":  {after: func(f *directory) { f.write("x.json", `[ {"labels": {}, "targets": ["a:1"]} ]`) }, want: "a:1"},
		"no clusters":                    {after: func(f *directory) { f.write("x.json", "[]") }, want: "", changed: true},
		"invalid content":                {after: func(f *directory) { f.write("x.json", `[{"targets": ["a:1", "b`) }, want: "a:1", wrong: "it is not a list"},
		"empty file":                     {after: func(f *directory) { f.write("x.json", "") }, want: "a:1", wrong: "it is empty"},
		"one invalid target":             {after: func(f *directory) { f.write("x.json", `[{"targets": ["b:2", "c"]}]`) }, want: "a:1", wrong: "target 2: the target must be host:port"},
		"duplicate name":                 {after: func(f *directory) { f.write("x.json", `[{"targets": ["b:2", "b:2"]}]`) }, want: "a:1", wrong: "another target has the name"},
		"valid again": {
			before: func(f *directory) { f.write("x.json", "nonsense"); f.refresh() },
			after:  func(f *directory) { f.write("x.json", `[{"targets": ["b:2"]}]`) },
			want:   "b:2", changed: true,
		},
		"recent change": {
			after: func(f *directory) {
				f.write("x.json", `[{"targets": ["b:2"]}]`)
				f.now = f.now.Add(-time.Minute + minAge/2)
			},
			want: "a:1",
		},
		"change old enough": {
			before: func(f *directory) {
				f.write("x.json", `[{"targets": ["b:2"]}]`)
				f.now = f.now.Add(-time.Minute + minAge/2)
				f.refresh()
			},
			after: func(f *directory) { f.now = f.now.Add(minAge) },
			want:  "b:2", changed: true,
		},
		"file missing twice": {
			before: func(f *directory) { f.remove("x.json"); f.refresh() },
			after:  func(*directory) {},
			want:   "", changed: true, wrong: "no such file",
		},
		"file missing once": {after: func(f *directory) { f.remove("x.json") }, want: "a:1", next: true},
		"file missing once, then back": {
			before: func(f *directory) { f.remove("x.json"); f.refresh() },
			after:  func(f *directory) { f.write("x.json", oneTarget) },
			want:   "a:1",
		},
		"matching file missing once": {
			before: func(f *directory) { f.write("d/y.json", `[{"targets": ["b:2"]}]`); f.refresh() },
			after:  func(f *directory) { f.remove("d/y.json") },
			want:   "b:2 a:1", next: true,
		},
		"directory in its place": {
			after: func(f *directory) {
				f.remove("x.json")
				if err := os.Mkdir(filepath.Join(f.dir, "x.json"), 0o700); err != nil {
					f.t.Fatal(err)
				}
			},
			want: "a:1", wrong: "is not a regular file",
		},
		"new file that matches":        {after: func(f *directory) { f.write("d/y.json", `[{"targets": ["b:2"]}]`) }, want: "b:2 a:1", changed: true},
		"new file that does not match": {after: func(f *directory) { f.write("d/y.yaml", `[{"targets": ["b:2"]}]`) }, want: "a:1"},
		"matching file removed": {
			before: func(f *directory) {
				f.write("d/y.json", `[{"targets": ["b:2"]}]`)
				f.refresh()
				f.remove("d/y.json")
				f.refresh()
			},
			after: func(*directory) {},
			want:  "a:1", changed: true,
		},
		"symbolic link swapped": {
			before: func(f *directory) {
				f.write("v1", `[{"targets": ["b:2"]}]`)
				f.write("v2", `[{"targets": ["c:3"]}]`)
				if err := os.Symlink("../v1", filepath.Join(f.dir, "d/l.json")); err != nil {
					f.t.Fatal(err)
				}
				f.refresh()
			},
			after: func(f *directory) {
				f.remove("d/l.json")
				if err := os.Symlink("../v2", filepath.Join(f.dir, "d/l.json")); err != nil {
					f.t.Fatal(err)
				}
			},
			want: "c:3 a:1", changed: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newDirectory(t, "x.json", "d/*.json")
			if err := os.Mkdir(filepath.Join(f.dir, "d"), 0o700); err != nil {
				t.Fatal(err)
			}
			f.write("x.json", oneTarget)
			if got, changed := f.refresh(); got != "a:1" || !changed {
				t.Fatalf("first refresh: got %q", got)
			}
			if tt.before != nil {
				tt.before(f)
			}
			tt.after(f)
			got, changed := f.refresh()
			if got != tt.want || changed != tt.changed {
				t.Errorf("got %q, changed %t; want %q, %t", got, changed, tt.want, tt.changed)
			}
			var wrong string
			for _, x := range f.f.Status() {
				if x.Err != nil {
					wrong += x.Err.Error()
				}
			}
			if (tt.wrong == "") != (wrong == "") || !strings.Contains(wrong, tt.wrong) {
				t.Errorf("errors %q, want %q", wrong, tt.wrong)
			}
			if _, changed := f.refresh(); changed != tt.next {
				t.Errorf("another refresh: changed %t, want %t", changed, tt.next)
			}
		})
	}
}

func TestNewFiles_Previous(t *testing.T) {
	f := newDirectory(t, "x.json", "y.json")
	f.write("x.json", oneTarget)
	f.write("y.json", `[{"targets": ["b:2"]}]`)
	f.refresh()
	f.cfg.Modules = map[string]config.Module{"m": module(t, "b:2")}
	f.f = NewFiles(f.cfg, f.f, f.f.log)
	if all := f.f.Clusters(); len(all) != 1 || all[0].Name != "b:2" {
		t.Errorf("a target that the module no longer allows is kept: %v", all)
	}
	if got, _ := f.refresh(); got != "b:2" {
		t.Errorf("got %q, want b:2", got)
	}
	// An invalid file keeps its last valid content.
	f.write("y.json", "nonsense")
	f.refresh()
	f.f = NewFiles(f.cfg, f.f, f.f.log)
	if got, _ := f.refresh(); got != "b:2" {
		t.Errorf("invalid file: got %q, want b:2", got)
	}
	// The settings of its module are the new ones.
	m := module(t, "b:2")
	m.Cluster.Auth.Token = "renewed"
	f.cfg.Modules = map[string]config.Module{"m": m}
	f.f = NewFiles(f.cfg, f.f, f.f.log)
	f.refresh()
	if all := f.f.Clusters(); len(all) != 1 || all[0].Auth.Token != "renewed" {
		t.Error("a cluster of an invalid file keeps the old token of its module")
	}
}
