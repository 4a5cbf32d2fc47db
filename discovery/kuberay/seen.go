package kuberay

import (
	"maps"
	"slices"
	"sync"

	"github.com/sirupsen/logrus"

	"raytap/config"
)

// Memory keeps which RayClusters were there before raytap, across restarts. Its methods
// are not called concurrently.
type Memory interface {
	// Load returns the uids by namespace, as they were last saved. No error means
	// that it is complete; nothing saved is an empty map.
	Load() (map[string][]string, error)
	// Save replaces what was saved.
	Save(map[string][]string) error
}

// firstSeen says which clusters were there when raytap first saw a complete list of
// their namespace: all others were made later, and all their jobs are new to raytap,
// however late it gets there. No clocks are compared. Safe for concurrent use.
type firstSeen struct {
	memory Memory // nil: it is forgotten at the end of the process
	log    logrus.FieldLogger

	mu  sync.Mutex
	old map[string]map[string]bool // watched namespace to uids; without a first list it is absent
}

func newFirstSeen(m Memory, log logrus.FieldLogger) *firstSeen {
	f := &firstSeen{memory: m, log: log, old: map[string]map[string]bool{}}
	if m == nil {
		return f
	}
	saved, err := m.Load()
	if err != nil {
		log.WithError(err).Warn("It is not known which RayClusters were new: those that exist now count as old")
	}
	for namespace, uids := range saved {
		f.old[namespace] = set(uids)
	}
	return f
}

func set(list []string) map[string]bool {
	out := make(map[string]bool, len(list))
	for _, x := range list {
		out[x] = true
	}
	return out
}

// listed notes a complete list of a watched namespace. What is not in it any more is
// forgotten: a uid does not come back.
func (f *firstSeen) listed(namespace string, uids []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := set(uids)
	old, again := f.old[namespace]
	if again {
		before := len(old)
		maps.DeleteFunc(old, func(uid string, _ bool) bool { return !now[uid] })
		if len(old) == before {
			return
		}
	} else {
		if all, ok := f.old[config.AllNamespaces]; ok { // it was part of an earlier first list
			maps.DeleteFunc(now, func(uid string, _ bool) bool { return !all[uid] })
		}
		f.old[namespace] = now
	}
	if f.memory == nil {
		return
	}
	all := make(map[string][]string, len(f.old))
	for namespace, uids := range f.old {
		all[namespace] = slices.Sorted(maps.Keys(uids))
	}
	if err := f.memory.Save(all); err != nil {
		f.log.WithError(err).Warn("It was not saved which RayClusters are new")
	}
}

// isNew reports whether a cluster of a watched namespace came after the first list.
func (f *firstSeen) isNew(namespace, uid string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	old, listed := f.old[namespace]
	return listed && !old[uid]
}
