package daemon

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/config"
	"raytap/logthrottle"
)

const (
	// lookAtFiles is the pause between two looks at the files of clusters. They
	// are read each time, which also finds what no notification tells of: a file
	// behind a symlink that was swapped, or on a network's disk.
	lookAtFiles = 5 * time.Second
	// settle is how old a changed file must be to be taken: somebody may still
	// write it, and half a list reads like a whole one.
	settle = 2 * time.Second
	// maxTargetFiles bounds the files of all patterns together.
	maxTargetFiles = 200
)

// found is a cluster that a file lists.
type found struct {
	cluster config.Cluster
	file    string
}

// discovery finds clusters in files. A file that is wrong, or cannot be read,
// stands for what it held before; one that is gone at two looks stands for
// nothing: some programs remove a file and write it again.
type discovery struct {
	sets    []config.ClusterFiles
	modules map[string]config.Module
	log     logrus.FieldLogger
	pause   time.Duration
	crowd   logthrottle.Condition

	mu    sync.Mutex
	files []*targetFile // in the order of the configuration, then by name
}

// targetFile is one file, as last read. A change replaces what it points to.
type targetFile struct {
	path, module string

	sum      [sha256.Size]byte
	read     bool // it was right once
	missed   bool // the last look did not find it
	targets  []config.Target
	clusters []config.Cluster
	err      error // why what it holds now is not in use
	health   *logthrottle.Condition
}

// newDiscovery finds what cfg says; before, which may be nil, is what it goes on
// from. It reads nothing yet.
func newDiscovery(cfg config.Config, before *discovery, log logrus.FieldLogger) *discovery {
	f := &discovery{sets: cfg.ClusterFiles, modules: cfg.Modules, log: log, pause: lookAtFiles, crowd: logthrottle.Condition{Log: log}}
	if before == nil {
		return f
	}
	before.mu.Lock()
	defer before.mu.Unlock()
	for _, old := range before.files {
		kept := *old
		// What the module does not allow any more is not watched any more,
		// whatever the file says.
		if kept.clusters, kept.err = f.resolve(kept.module, kept.targets); kept.err != nil {
			kept.read, kept.targets, kept.clusters = false, nil, nil
		}
		f.files = append(f.files, &kept)
	}
	return f
}

// run looks at the files until ctx ends, and says so on changed.
func (f *discovery) run(ctx context.Context, changed chan<- struct{}) error {
	if len(f.sets) == 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(f.pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if !f.look(now) {
				continue
			}
			select {
			case changed <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// look reads the files once, and tells whether other clusters are found now.
func (f *discovery) look(now time.Time) bool {
	f.mu.Lock()
	old := slices.Clone(f.files)
	f.mu.Unlock()
	var files []*targetFile
	changed := false
	for _, set := range f.sets {
		for _, path := range list(set, old) {
			i := slices.IndexFunc(old, func(t *targetFile) bool { return t.path == path && t.module == set.Module })
			if slices.ContainsFunc(files, func(t *targetFile) bool { return t.path == path && t.module == set.Module }) {
				continue // two patterns fit it
			}
			if len(files) == maxTargetFiles {
				f.crowd.Failed("a file of clusters is not read: "+path, fmt.Errorf("there are more than %d", maxTargetFiles))
				continue
			}
			t := &targetFile{path: path, module: set.Module}
			if i >= 0 {
				*t = *old[i]
			} else {
				t.health = &logthrottle.Condition{Log: f.log.WithField("file", path)}
			}
			changed = f.read(t, now) || changed
			files = append(files, t)
		}
	}
	for _, t := range old {
		kept := slices.ContainsFunc(files, func(x *targetFile) bool { return x.path == t.path && x.module == t.module })
		changed = changed || !kept && len(t.clusters) > 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files = files
	return changed
}

// list gives the files of a set, sorted: those that fit a pattern, those that it
// names, and those of before that cannot be looked for now.
func list(set config.ClusterFiles, before []*targetFile) []string {
	var out []string
	for _, pattern := range set.Files {
		p := string(pattern)
		if !strings.ContainsAny(p, `*?[\`) {
			out = append(out, p)
			continue
		}
		names, _ := filepath.Glob(p) // a pattern that is wrong does not load
		out = append(out, names...)
		for _, t := range before {
			fits, _ := filepath.Match(p, t.path)
			// Glob is silent about a folder that cannot be read, and one look does
			// not show that a file is gone.
			if _, err := os.Lstat(t.path); fits && t.module == set.Module && err != nil && (!errors.Is(err, fs.ErrNotExist) || t.read && !t.missed) {
				out = append(out, t.path)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// read takes what a file holds now, and tells whether that gives other clusters.
func (f *discovery) read(t *targetFile, now time.Time) bool {
	before := t.clusters
	data, at, err := readTargets(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		if t.read && !t.missed {
			t.missed = true
			return false
		}
		t.targets, t.clusters, t.read = nil, nil, false
	}
	if err == nil {
		t.missed = false
		sum := sha256.Sum256(data)
		if t.read && sum == t.sum {
			t.settled(nil)
			return false
		}
		if age := now.Sub(at); t.read && age >= 0 && age < settle {
			return false
		}
		err = f.take(t, data, sum)
	}
	t.settled(err)
	return !slices.EqualFunc(before, t.clusters, sameCluster)
}

// take makes data what t stands for, if it is right.
func (f *discovery) take(t *targetFile, data []byte, sum [sha256.Size]byte) error {
	targets, err := config.Targets(t.path, data)
	if err != nil {
		return err
	}
	clusters, err := f.resolve(t.module, targets)
	if err != nil {
		return err
	}
	t.targets, t.clusters, t.sum, t.read = targets, clusters, sum, true
	return nil
}

// settled notes what came of a look.
func (t *targetFile) settled(err error) {
	t.err = err
	switch {
	case errors.Is(err, fs.ErrNotExist):
		t.health.Failed("a file of clusters is missing: it stands for none", err)
		return
	case err != nil:
		t.health.Failed("a file of clusters is not in use as it is now: what it held before stays", err)
		return
	}
	t.health.Recovered("the file of clusters is in use again")
}

// resolve makes clusters of targets: all or none.
func (f *discovery) resolve(module string, targets []config.Target) ([]config.Cluster, error) {
	m, ok := f.modules[module]
	if !ok {
		return nil, fmt.Errorf("there is no module %q any more", module)
	}
	names := map[string]bool{}
	out := make([]config.Cluster, 0, len(targets))
	for i, target := range targets {
		c, err := m.At(target)
		switch {
		case err != nil:
			return nil, fmt.Errorf("target %d: %w", i+1, err)
		case names[c.Name]:
			return nil, fmt.Errorf("target %d: the name %q stands for another one already", i+1, c.Name)
		}
		names[c.Name] = true
		out = append(out, c)
	}
	return out, nil
}

func readTargets(path string) ([]byte, time.Time, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	if !info.Mode().IsRegular() { // to open a pipe would wait for its writer
		return nil, time.Time{}, fmt.Errorf("%s is no regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, config.MaxTargetFile+1))
	if err == nil && len(data) > config.MaxTargetFile {
		err = fmt.Errorf("it is over %s long", config.Size(config.MaxTargetFile))
	}
	return data, info.ModTime(), err
}

// clusters gives what is found beside the clusters of the configuration, and
// what is found and cannot be watched, with the reason.
func (f *discovery) clusters(cfg config.Config) (all []found, refused []string) {
	taken := map[string]bool{}
	for _, name := range cfg.Names() {
		taken[name] = true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.files {
		for _, c := range t.clusters {
			switch {
			case taken[c.Name]:
				refused = append(refused, fmt.Sprintf("%s in %s: another cluster has that name", c.Name, t.path))
			case len(taken) >= cfg.MaxClusters:
				refused = append(refused, fmt.Sprintf("%s in %s: max_clusters is %d", c.Name, t.path, cfg.MaxClusters))
			default:
				taken[c.Name] = true
				all = append(all, found{c, t.path})
			}
		}
	}
	return all, refused
}

func sameCluster(a, b config.Cluster) bool { return reflect.DeepEqual(a, b) }

// status gives each file with the number of its clusters, and what is wrong with it.
func (f *discovery) status() []targetFile {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]targetFile, len(f.files))
	for i, t := range f.files {
		out[i] = *t
	}
	return out
}
