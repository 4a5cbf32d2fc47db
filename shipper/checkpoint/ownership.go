package checkpoint

import (
	"fmt"
	"slices"
	"time"

	"raytap/ray"
)

// ownership records which of several clusters for one Ray ships its logs. Store.mu guards it.
type ownership struct {
	configured map[string]bool            // the ids of the clusters that are watched; nil before Configure
	owners     map[string]map[string]bool // session -> ids of the clusters that ship it
	named      map[string][]string        // ray_cluster -> ids, for recovery; nil before it
}

// A cluster is known by its id: the uid of one that Kubernetes has, else its name. Register
// sets the name of a uid.

// Register sets the name of a cluster whose id is not its name: the ray_cluster of its records.
func (s *Store) Register(id, name string) {
	if id == name {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clusters[id]
	if c == nil {
		c = &ClusterState{}
		s.clusters[id] = c
	}
	if c.name != name {
		c.name = name
		s.clusterChanged(id)
	}
}

func (s *Store) clusterChanged(id string) {
	s.pending.clusters[id] = true
	s.dirty = true
}

// nameOf returns the name of a cluster. The caller holds s.mu.
func (s *Store) nameOf(id string) string {
	if c := s.clusters[id]; c != nil && c.name != "" {
		return c.name
	}
	return id
}

// UIDs returns the names of the clusters that are known by a uid, by uid.
func (s *Store) UIDs() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]string{}
	for id := range s.clusters {
		if s.hasUID(id) {
			out[id] = s.nameOf(id)
		}
	}
	return out
}

// hasUID reports whether a cluster is known by a uid. The caller holds s.mu.
func (s *Store) hasUID(id string) bool { return s.nameOf(id) != id }

// Configure sets the ids of the clusters that are watched, or may still be found. The
// positions of other clusters are kept for Retention, those of a uid, which never comes back,
// for closedRetention; until then a new id for the same Ray can take them over.
func (s *Store) Configure(ids []string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ownership.configured = make(map[string]bool, len(ids))
	for _, id := range ids {
		s.ownership.configured[id] = true
	}
	for k, e := range s.logs {
		if !s.ownership.configured[k.Cluster] && e.unlistedSince.IsZero() {
			e.unlistedSince = now
			s.markDirty(e)
		}
	}
	for _, f := range s.files {
		if s.clusters[f.cluster] == nil { // the process died before it had saved more of it
			s.clusters[f.cluster] = &ClusterState{}
		}
	}
	for id, c := range s.clusters {
		if removed := !s.ownership.configured[id]; removed == c.removed.IsZero() {
			c.removed = time.Time{}
			if removed {
				c.removed = now
			}
			s.clusterChanged(id)
		}
	}
}

// Claim makes a cluster the one that ships a session, until Release. One that was never
// seen takes over the session's positions from one that is no longer watched. It is an error
// if another one that is watched ships the session, or has its positions.
//
// Between two uids the session proves nothing: Kubernetes says that they are two clusters, and
// they can share what their heads store. Only one with the name of one that was deleted
// takes over its positions, so that its records are distinguished by their epochs.
func (s *Store) Claim(id, session string) error {
	if session == "" || session == ray.UnknownSession {
		return nil // it does not identify a Ray
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for owner := range s.ownership.owners[session] {
		if owner != id && !s.different(id, owner) {
			return s.errSameCluster(id, owner)
		}
	}
	if c := s.clusters[id]; c == nil || c.Session == "" {
		for old, c := range s.clusters {
			if old == id || c.Session != session || s.different(id, old) {
				continue
			}
			if s.ownership.configured[old] {
				return s.errSameCluster(id, old)
			}
			s.rename(old, id)
			break
		}
		if name := s.nameOf(id); name != id && !s.ownership.configured[name] {
			s.adoptRecovered(name, session, id)
		}
	}
	if s.ownership.owners == nil {
		s.ownership.owners = map[string]map[string]bool{}
	}
	if s.ownership.owners[session] == nil {
		s.ownership.owners[session] = map[string]bool{}
	}
	s.ownership.owners[session][id] = true
	return nil
}

// different reports whether two clusters are two even if they report one session. The caller
// holds s.mu.
func (s *Store) different(id, other string) bool {
	return s.hasUID(id) && s.hasUID(other) && s.nameOf(id) != s.nameOf(other)
}

// UnfinishedClusters returns the clusters with positions of logs that are not read to their ends.
func (s *Store) UnfinishedClusters() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	clusters := map[string]bool{}
	for k, e := range s.logs {
		if !e.Done {
			clusters[k.Cluster] = true
		}
	}
	for _, f := range s.files {
		if len(f.entries) > 0 {
			clusters[f.cluster] = true
		}
	}
	return clusters
}

// errSameCluster returns the error that owner ships the session, or has its positions. The
// caller holds s.mu.
func (s *Store) errSameCluster(id, owner string) error {
	name, other := s.nameOf(id), s.nameOf(owner)
	if s.hasUID(id) && s.hasUID(owner) {
		return fmt.Errorf("cluster %q was deleted and created again with what its head had stored: its logs are shipped when those of the deleted one are", name)
	}
	return fmt.Errorf("cluster %q is the same Ray as cluster %q, which ships its logs already: remove one of the two from the configuration", name, other)
}

// rename moves the state and the positions of a cluster to another id. The caller holds s.mu.
func (s *Store) rename(old, id string) {
	c := *s.clusters[old]
	c.name, c.removed = "", time.Time{}
	if name := s.nameOf(id); name != id {
		c.name = name
	}
	delete(s.clusters, old)
	s.clusters[id] = &c
	s.clusterChanged(old)
	s.clusterChanged(id)
	s.moveLogs(id, func(k Key) bool { return k.Cluster == old })
	s.renameFiles(id, func(f *Files) bool { return f.cluster == old })
}

// moveLogs moves logs to another cluster. The caller holds s.mu.
func (s *Store) moveLogs(id string, which func(Key) bool) {
	for k, e := range s.logs {
		if which(k) {
			s.remove(k)
			e.key.Cluster = id
			e.unlistedSince = time.Time{}
			s.logs[e.key] = e
			s.markDirty(e)
		}
	}
}

// adoptRecovered moves what recovery has found under the name of a cluster with a uid: the
// process died before it had saved anything of the cluster. The caller holds s.mu.
func (s *Store) adoptRecovered(name, session, id string) {
	s.moveLogs(id, func(k Key) bool { return k.Cluster == name && k.Session == session })
	s.renameFiles(id, func(f *Files) bool { return f.cluster == name && f.session == session })
}

// idOf returns the id of the cluster that wrote a record with this name and session. The
// caller holds s.mu.
func (s *Store) idOf(name, session string) string {
	if s.ownership.named == nil { // no cluster is added while records are recovered
		s.ownership.named = map[string][]string{}
		for id, c := range s.clusters {
			if c.name != "" {
				s.ownership.named[c.name] = append(s.ownership.named[c.name], id)
			}
		}
	}
	if c := s.clusters[name]; c != nil && c.removed.IsZero() {
		return name
	}
	found := name
	for _, id := range s.ownership.named[name] {
		switch c := s.clusters[id]; {
		case c == nil:
		case c.Session == session:
			return id
		case c.removed.IsZero(): // its head was restarted, or only its name was saved
			found = id
		}
	}
	return found
}

// Release ends the claims of a cluster, so that another one can claim its sessions.
func (s *Store) Release(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for session, owners := range s.ownership.owners {
		delete(owners, id)
		if len(owners) == 0 {
			delete(s.ownership.owners, session)
		}
	}
}

// ReadToEnd returns the accepted state of the log of the run that started at started, if
// the log was read to its end. The state must not be changed.
func (s *Store) ReadToEnd(k Key, started time.Time) (*Log, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.logs[k]
	if e == nil || !e.Done || !e.AtEnd || !SameRun(e.Run.Start, started) {
		return nil, false
	}
	return &Log{State: e.State, Entry: e, Reached: e.Pos.Content}, true
}

// EndPending reports whether the store has the run of a log, but not its end: the writer
// has not accepted it yet.
func (s *Store) EndPending(k Key, started time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.logs[k]
	return e != nil && !e.Done && SameRun(e.Run.Start, started)
}

// SetChecks sets how many of the checks after its end a log has had. A lower number than
// before changes nothing.
func (s *Store) SetChecks(k Key, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.logs[k]; e != nil && e.Checks < n {
		e.Checks = n
		s.markDirty(e)
	}
}

// Expiring returns the logs of a session that were read to their end and whose positions
// Expire removes at time t because of their age: submission id and start of the run.
func (s *Store) Expiring(cluster, session string, t time.Time) map[string]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var old map[string]time.Time
	for k, e := range s.logs {
		if k.Cluster == cluster && k.Session == session && e.Done && e.AtEnd && !e.unlistedSince.IsZero() && t.Sub(e.unlistedSince) > Retention {
			if old == nil {
				old = map[string]time.Time{}
			}
			old[k.SubmissionID] = e.Run.Start
		}
	}
	return old
}

// savedState is the state of a log as of the last save.
type savedState struct {
	state     State
	recovered *recoveredLog
}

// rememberSaved keeps the saved state of a log before the first change after a save. The
// caller holds s.mu.
func (s *Store) rememberSaved(e *Entry) {
	if _, ok := s.saved.states[e]; !ok {
		if s.saved.states == nil {
			s.saved.states = map[*Entry]savedState{}
		}
		s.saved.states[e] = savedState{e.State, e.recovered}
	}
}

// Rollback returns all logs to their saved states. No tail may run meanwhile.
func (s *Store) Rollback() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e, saved := range s.saved.states {
		e.State, e.recovered = saved.state, saved.recovered
	}
	s.saved.states = nil
	s.rollbackFiles()
	s.dirty = true
}

const (
	// MaxRetained is the number of logs beyond which Expire removes positions of finished
	// ones before their time.
	MaxRetained = 10_000
	// Retention is how long a position is kept after Ray has stopped listing the job, and
	// after its cluster was removed from the configuration.
	Retention = 7 * 24 * time.Hour
	// closedRetention is how long those of a uid are kept after its end: a cluster with its
	// name and its session may follow it.
	closedRetention = time.Hour
)

// Expire removes the positions of finished logs that Ray has not listed for Retention, and
// of clusters that were removed from the configuration that long ago, and the clusters
// themselves; then the oldest ones beyond MaxRetained. It returns the number removed.
func (s *Store) Expire(now time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var old []Key
	removed := s.expireClusters(now)
	for k, e := range s.logs {
		switch {
		case e.unlistedSince.IsZero() || !e.Done && s.isConfigured(k.Cluster):
		case now.Sub(e.unlistedSince) > Retention:
			s.remove(k)
			removed++
		default:
			old = append(old, k)
		}
	}
	if over := len(s.logs) - MaxRetained; over > 0 {
		slices.SortFunc(old, func(a, b Key) int { return s.logs[a].unlistedSince.Compare(s.logs[b].unlistedSince) })
		for _, k := range old[:min(over, len(old))] {
			s.remove(k)
			removed++
		}
	}
	return removed
}

// expireClusters forgets the clusters that were removed long ago, with their positions, and
// the stream slots of their sessions. One with a uid that has unfinished logs is kept for
// Retention, too. It returns the number of logs removed. The caller holds s.mu.
func (s *Store) expireClusters(now time.Time) int {
	unfinished := map[string]bool{}
	for k, e := range s.logs {
		if !e.Done {
			unfinished[k.Cluster] = true
		}
	}
	for _, f := range s.files {
		if len(f.entries) > 0 {
			unfinished[f.cluster] = true
		}
	}
	expired := map[string]bool{}
	for id, c := range s.clusters {
		keep := Retention
		if s.hasUID(id) && !unfinished[id] {
			keep = closedRetention
		}
		if !s.isConfigured(id) && !c.removed.IsZero() && now.Sub(c.removed) > keep {
			expired[id] = true
		}
	}
	if len(expired) == 0 {
		return 0
	}
	sessions, removed := map[string]bool{}, 0
	for k := range s.logs {
		if expired[k.Cluster] {
			sessions[k.Session] = true
			s.remove(k)
			removed++
		}
	}
	for _, f := range slices.Clone(s.files) {
		if expired[f.cluster] {
			removed += len(f.entries)
			s.dropFiles(f.cluster, f.session)
		}
	}
	for id := range expired {
		sessions[s.clusters[id].Session] = true
		delete(s.clusters, id)
		s.clusterChanged(id)
	}
	for _, c := range s.clusters {
		delete(sessions, c.Session)
	}
	for session := range sessions {
		if s.slots[session] != nil {
			delete(s.slots, session)
			s.pending.slots[session] = true
		}
	}
	return removed
}
