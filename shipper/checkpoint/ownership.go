package checkpoint

import (
	"fmt"
	"time"

	"raytap/ray"
)

// claims tell which of several names for one Ray ships its lines. They belong
// to the Positions' lock.
type claims struct {
	configured map[string]bool   // the clusters that the configuration names
	owner      map[string]string // session -> the name that ships it
}

func (p *Store) Configure(names []string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claims.configured = make(map[string]bool, len(names))
	for _, n := range names {
		p.claims.configured[n] = true
	}
	for k, e := range p.logs {
		if !p.claims.configured[k.Cluster] && e.unlistedSince.IsZero() {
			e.unlistedSince = now
			p.touch(e)
		}
	}
}

// claim makes name the one that ships a session. A name that was never seen
// takes over what is remembered of the session under one that is not configured
// any more. An error: another name ships it, or will.
func (p *Store) Claim(name, session string) error {
	if session == "" || session == ray.UnknownSession {
		return nil // it does not tell one Ray from another
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if owner := p.claims.owner[session]; owner != "" && owner != name {
		return sameRay(name, owner)
	}
	if c := p.clusters[name]; c == nil || c.Session == "" {
		for old, c := range p.clusters {
			if old == name || c.Session != session {
				continue
			}
			if p.claims.configured[old] {
				return sameRay(name, old)
			}
			p.rename(old, name)
			break
		}
	}
	if p.claims.owner == nil {
		p.claims.owner = map[string]string{}
	}
	p.claims.owner[session] = name
	return nil
}

func sameRay(name, owner string) error {
	return fmt.Errorf("cluster %q is the Ray that cluster %q ships already: its lines are not shipped twice; take one of the two out of the configuration", name, owner)
}

// rename gives what is remembered of a cluster to another name.
func (p *Store) rename(old, name string) {
	p.clusters[name] = p.clusters[old]
	delete(p.clusters, old)
	p.pending.clusters[old], p.pending.clusters[name] = true, true
	for k, e := range p.logs {
		if k.Cluster == old {
			p.forget(k)
			e.key.Cluster = name
			e.unlistedSince = time.Time{}
			p.logs[e.key] = e
			p.touch(e)
		}
	}
	p.dirty = true
}

// unclaim lets what a name ships go, so that another one may.
func (p *Store) Release(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for session, owner := range p.claims.owner {
		if owner == name {
			delete(p.claims.owner, session)
		}
	}
}

// readToEnd returns the state of a run's log that was read to its end, as the
// sink has accepted it. It must not be changed.
func (p *Store) ReadToEnd(k Key, started time.Time) (*Log, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.logs[k]
	if e == nil || !e.Done || !e.AtEnd || !SameRun(e.Run.Start, started) {
		return nil, false
	}
	return &Log{State: e.State, Entry: e, Reached: e.Pos.Content}, true
}

// checked remembers how often a log was checked after its end.
func (p *Store) SetChecks(k Key, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.logs[k]; e != nil && e.Checks < n {
		e.Checks = n
		p.touch(e)
	}
}

// dropping lists the finished logs of a session whose positions are dropped for
// their age once it is t: submission id and start of the run.
func (p *Store) Expiring(cluster, session string, t time.Time) map[string]time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	var old map[string]time.Time
	for k, e := range p.logs {
		if k.Cluster == cluster && k.Session == session && e.Done && e.AtEnd && !e.unlistedSince.IsZero() && t.Sub(e.unlistedSince) > Retention {
			if old == nil {
				old = map[string]time.Time{}
			}
			old[k.SubmissionID] = e.Run.Start
		}
	}
	return old
}

// accepted is what the positions said of a log when they were saved last.
type accepted struct {
	snapshot  State
	recovered *recoveredLog
}

// keep remembers what is saved of a log, before a state is accepted that is not.
// It is called under the lock.
func (p *Store) keep(e *Entry) {
	if _, ok := p.unsaved[e]; !ok {
		if p.unsaved == nil {
			p.unsaved = map[*Entry]accepted{}
		}
		p.unsaved[e] = accepted{e.State, e.recovered}
	}
}

// rollback takes all logs back to what is saved. No stream may be at work.
func (p *Store) Rollback() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for e, was := range p.unsaved {
		e.State, e.recovered = was.snapshot, was.recovered
	}
	p.unsaved = nil
	p.dirty = true
}

const (
	// keptLogs bounds what is remembered of logs whose runs are over.
	MaxRetained = 10_000
	// keptFor is how long that is kept once Ray does not list the job any more.
	Retention = 7 * 24 * time.Hour
)
