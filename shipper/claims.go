package shipper

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

func (p *Positions) configure(names []string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claims.configured = make(map[string]bool, len(names))
	for _, n := range names {
		p.claims.configured[n] = true
	}
	for k, e := range p.logs {
		if !p.claims.configured[k.cluster] && e.gone.IsZero() {
			e.gone = now
			p.touch(e)
		}
	}
}

// claim makes name the one that ships a session. A name that was never seen
// takes over what is remembered of the session under one that is not configured
// any more. An error: another name ships it, or will.
func (p *Positions) claim(name, session string) error {
	if session == "" || session == ray.UnknownSession {
		return nil // it does not tell one Ray from another
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if owner := p.claims.owner[session]; owner != "" && owner != name {
		return sameRay(name, owner)
	}
	if c := p.clusters[name]; c == nil || c.session == "" {
		for old, c := range p.clusters {
			if old == name || c.session != session {
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
func (p *Positions) rename(old, name string) {
	p.clusters[name] = p.clusters[old]
	delete(p.clusters, old)
	p.pending.clusters[old], p.pending.clusters[name] = true, true
	for k, e := range p.logs {
		if k.cluster == old {
			p.forget(k)
			e.key.cluster = name
			e.gone = time.Time{}
			p.logs[e.key] = e
			p.touch(e)
		}
	}
	p.dirty = true
}

// unclaim lets what a name ships go, so that another one may.
func (p *Positions) unclaim(name string) {
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
func (p *Positions) readToEnd(k logKey, started time.Time) (*logState, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.logs[k]
	if e == nil || !e.done || !e.atEnd || !sameRun(e.run.Start, started) {
		return nil, false
	}
	return &logState{snapshot: e.snapshot, entry: e, reached: e.pos.Content}, true
}

// checked remembers how often a log was checked after its end.
func (p *Positions) checked(k logKey, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.logs[k]; e != nil && e.checks < n {
		e.checks = n
		p.touch(e)
	}
}

// dropping lists the finished logs of a session whose positions are dropped for
// their age once it is t: submission id and start of the run.
func (p *Positions) dropping(cluster, session string, t time.Time) map[string]time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	var old map[string]time.Time
	for k, e := range p.logs {
		if k.cluster == cluster && k.session == session && e.done && e.atEnd && !e.gone.IsZero() && t.Sub(e.gone) > keptFor {
			if old == nil {
				old = map[string]time.Time{}
			}
			old[k.submission] = e.run.Start
		}
	}
	return old
}

// accepted is what the positions said of a log when they were saved last.
type accepted struct {
	snapshot snapshot
	sinkHas  *recoveredLog
}

// keep remembers what is saved of a log, before a state is accepted that is not.
// It is called under the lock.
func (p *Positions) keep(e *logEntry) {
	if _, ok := p.unsaved[e]; !ok {
		if p.unsaved == nil {
			p.unsaved = map[*logEntry]accepted{}
		}
		p.unsaved[e] = accepted{e.snapshot, e.sinkHas}
	}
}

// rollback takes all logs back to what is saved. No stream may be at work.
func (p *Positions) rollback() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for e, was := range p.unsaved {
		e.snapshot, e.sinkHas = was.snapshot, was.sinkHas
	}
	p.unsaved = nil
	p.dirty = true
}
