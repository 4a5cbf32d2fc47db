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

// Configure tells the names of the clusters that are configured from now on.
// What is remembered of others is kept for the retention, and may be taken over
// by a new name for the same Ray.
func (o *Output) Configure(names []string) { o.positions.configure(names, time.Now()) }

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
