package checkpoint

import (
	"fmt"
	"time"

	"raytap/ray"
)

// ownership records which of several cluster names for one Ray ships its logs. Store.mu
// guards it.
type ownership struct {
	configured map[string]bool   // the clusters in the configuration; nil before Configure
	owner      map[string]string // session -> the cluster name that ships it
}

// Configure sets the names of the configured clusters. The positions of other clusters
// are kept for Retention; until then a new name for the same Ray can take them over.
func (s *Store) Configure(names []string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ownership.configured = make(map[string]bool, len(names))
	for _, n := range names {
		s.ownership.configured[n] = true
	}
	for k, e := range s.logs {
		if !s.ownership.configured[k.Cluster] && e.unlistedSince.IsZero() {
			e.unlistedSince = now
			s.markDirty(e)
		}
	}
}

// Claim makes name the cluster that ships a session, until Release. A name that was never
// seen takes over the session's positions from a name that is no longer configured. It is
// an error if another configured name ships the session, or has its positions.
func (s *Store) Claim(name, session string) error {
	if session == "" || session == ray.UnknownSession {
		return nil // it does not identify a Ray
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if owner := s.ownership.owner[session]; owner != "" && owner != name {
		return errSameCluster(name, owner)
	}
	if c := s.clusters[name]; c == nil || c.Session == "" {
		for old, c := range s.clusters {
			if old == name || c.Session != session {
				continue
			}
			if s.ownership.configured[old] {
				return errSameCluster(name, old)
			}
			s.rename(old, name)
			break
		}
	}
	if s.ownership.owner == nil {
		s.ownership.owner = map[string]string{}
	}
	s.ownership.owner[session] = name
	return nil
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

// errSameCluster returns the error that owner ships the session, or has its positions.
func errSameCluster(name, owner string) error {
	return fmt.Errorf("cluster %q is the same Ray as cluster %q, which ships its logs already: remove one of the two from the configuration", name, owner)
}

// rename moves the state and the positions of a cluster to another name. The caller holds
// s.mu.
func (s *Store) rename(old, name string) {
	s.clusters[name] = s.clusters[old]
	delete(s.clusters, old)
	s.pending.clusters[old], s.pending.clusters[name] = true, true
	for k, e := range s.logs {
		if k.Cluster == old {
			s.remove(k)
			e.key.Cluster = name
			e.unlistedSince = time.Time{}
			s.logs[e.key] = e
			s.markDirty(e)
		}
	}
	s.renameFiles(old, name)
	s.dirty = true
}

// Release ends the claims of a name, so that another name can claim its sessions.
func (s *Store) Release(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for session, owner := range s.ownership.owner {
		if owner == name {
			delete(s.ownership.owner, session)
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
	// Retention is how long a position is kept after Ray has stopped listing the job.
	Retention = 7 * 24 * time.Hour
)
