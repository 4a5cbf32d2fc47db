package discovery

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
	// refreshInterval is the time between two reads of the files. Reading them
	// also finds changes without a notification: a swapped symbolic link, or a file
	// on a network file system.
	refreshInterval = 5 * time.Second
	// minAge is how old a change must be to be used: a program may still be writing
	// the file, and part of a list can be valid.
	minAge = 2 * time.Second
	// maxFiles bounds the files of all patterns together.
	maxFiles = 200
	// maxFileSize bounds a file, in bytes.
	maxFileSize = 8 << 20
)

// Files finds clusters in files. A file that is invalid or cannot be read keeps
// its last valid content. One that is missing in two reads in a row has no
// clusters: some programs remove a file and write it again. All methods but Run
// and Refresh are safe for concurrent use.
type Files struct {
	// Interval is the time between two reads. It is set before Run.
	Interval time.Duration

	sets    []config.ClusterFiles
	modules map[string]config.Module
	log     logrus.FieldLogger
	tooMany logthrottle.Condition

	mu    sync.Mutex
	files []*file // in the order of the configuration, then by name
}

// file is one file, as last read. A change replaces what files points to.
type file struct {
	path, module string

	sum      [sha256.Size]byte
	valid    bool // it was valid once
	missed   bool // the last read did not find it
	targets  []config.Target
	clusters []config.Cluster
	err      error // why the current content is not in use
	health   *logthrottle.Condition
}

// FileStatus is the status of one file.
type FileStatus struct {
	Path     string
	Clusters int   // in use
	Err      error // why the current content is not in use; nil: it is
}

// NewFiles returns the files of cfg, with the content that previous, which may be
// nil, has of them. It reads nothing.
func NewFiles(cfg config.Config, previous *Files, log logrus.FieldLogger) *Files {
	f := &Files{Interval: refreshInterval, sets: cfg.ClusterFiles, modules: cfg.Modules, log: log, tooMany: logthrottle.Condition{Log: log}}
	if previous == nil {
		return f
	}
	f.Interval = previous.Interval
	previous.mu.Lock()
	defer previous.mu.Unlock()
	for _, old := range previous.files {
		kept := *old
		// Clusters that the module no longer allows are dropped, even if the file
		// still lists them.
		if kept.clusters, kept.err = f.resolve(kept.module, kept.targets); kept.err != nil {
			kept.valid, kept.targets, kept.clusters = false, nil, nil
		}
		f.files = append(f.files, &kept)
	}
	return f
}

// Run reads the files until ctx ends, and sends to changed when their clusters
// changed.
func (f *Files) Run(ctx context.Context, changed chan<- struct{}) error {
	if len(f.sets) == 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(f.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if !f.Refresh(now) {
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

// Refresh reads the files once, and reports whether their clusters changed.
func (f *Files) Refresh(now time.Time) bool {
	f.mu.Lock()
	old := slices.Clone(f.files)
	f.mu.Unlock()
	var files []*file
	changed := false
	for _, set := range f.sets {
		for _, path := range list(set, old) {
			same := func(x *file) bool { return x.path == path && x.module == set.Module }
			if slices.ContainsFunc(files, same) {
				continue // two patterns match it
			}
			if len(files) == maxFiles {
				f.tooMany.Failed("Cluster file not read", fmt.Errorf("%s: there are more than %d files", path, maxFiles))
				continue
			}
			x := &file{path: path, module: set.Module}
			if i := slices.IndexFunc(old, same); i >= 0 {
				*x = *old[i]
			} else {
				x.health = &logthrottle.Condition{Log: f.log.WithField("file", path)}
			}
			changed = f.read(x, now) || changed
			files = append(files, x)
		}
	}
	for _, x := range old {
		kept := slices.ContainsFunc(files, func(y *file) bool { return y.path == x.path && y.module == x.module })
		changed = changed || !kept && len(x.clusters) > 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files = files
	return changed
}

// list returns the files of a set, sorted: those it names, those that match a
// pattern, and those of old whose absence is not certain.
func list(set config.ClusterFiles, old []*file) []string {
	var out []string
	for _, pattern := range set.Files {
		p := string(pattern)
		if !strings.ContainsAny(p, `*?[\`) {
			out = append(out, p)
			continue
		}
		names, _ := filepath.Glob(p) // the configuration has valid patterns only
		out = append(out, names...)
		for _, x := range old {
			match, _ := filepath.Match(p, x.path)
			// Glob ignores a directory that cannot be read, and a file may be missing
			// for a moment.
			if _, err := os.Lstat(x.path); match && x.module == set.Module && err != nil && (!errors.Is(err, fs.ErrNotExist) || x.valid && !x.missed) {
				out = append(out, x.path)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// read reads a file, and reports whether its clusters changed.
func (f *Files) read(x *file, now time.Time) bool {
	before := x.clusters
	data, at, err := readFile(x.path)
	if errors.Is(err, fs.ErrNotExist) {
		if x.valid && !x.missed {
			x.missed = true
			return false
		}
		x.targets, x.clusters, x.valid = nil, nil, false
	}
	if err == nil {
		x.missed = false
		sum := sha256.Sum256(data)
		if x.valid && sum == x.sum {
			x.setError(nil)
			return false
		}
		if age := now.Sub(at); x.valid && age >= 0 && age < minAge {
			return false
		}
		err = f.parse(x, data, sum)
	}
	x.setError(err)
	return !slices.EqualFunc(before, x.clusters, func(a, b config.Cluster) bool { return reflect.DeepEqual(a, b) })
}

// parse makes data the content of a file. On an error the file is unchanged.
func (f *Files) parse(x *file, data []byte, sum [sha256.Size]byte) error {
	targets, err := parseTargets(x.path, data)
	if err != nil {
		return err
	}
	clusters, err := f.resolve(x.module, targets)
	if err != nil {
		return err
	}
	x.targets, x.clusters, x.sum, x.valid = targets, clusters, sum, true
	return nil
}

// setError records and logs the result of a read.
func (x *file) setError(err error) {
	x.err = err
	switch {
	case errors.Is(err, fs.ErrNotExist):
		x.health.Failed("Cluster file is missing, its clusters are no longer watched", err)
	case err != nil:
		x.health.Failed("Cluster file is invalid, its last valid content stays in use", err)
	default:
		x.health.Recovered("Cluster file recovered")
	}
}

// resolve returns the clusters of targets, or an error if one is not valid.
func (f *Files) resolve(module string, targets []config.Target) ([]config.Cluster, error) {
	m, ok := f.modules[module]
	if !ok {
		return nil, fmt.Errorf("the module %q no longer exists", module)
	}
	names := map[string]bool{}
	out := make([]config.Cluster, 0, len(targets))
	for i, target := range targets {
		c, err := m.Resolve(target)
		switch {
		case err != nil:
			return nil, fmt.Errorf("target %d: %w", i+1, err)
		case names[c.Name]:
			return nil, fmt.Errorf("target %d: another target has the name %q", i+1, c.Name)
		}
		names[c.Name] = true
		out = append(out, c)
	}
	return out, nil
}

// readFile returns the content of a file, and when it was modified.
func readFile(path string) ([]byte, time.Time, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		return nil, time.Time{}, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err == nil && len(data) > maxFileSize {
		err = fmt.Errorf("it is larger than %s", config.Size(maxFileSize))
	}
	return data, info.ModTime(), err
}

// Clusters returns the clusters of all files, in the order of the configuration.
func (f *Files) Clusters() []Cluster {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []Cluster
	for _, x := range f.files {
		for _, c := range x.clusters {
			all = append(all, Cluster{Cluster: c, Source: x.path})
		}
	}
	return all
}

// Status returns the status of each file.
func (f *Files) Status() []FileStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]FileStatus, len(f.files))
	for i, x := range f.files {
		out[i] = FileStatus{Path: x.path, Clusters: len(x.clusters), Err: x.err}
	}
	return out
}
