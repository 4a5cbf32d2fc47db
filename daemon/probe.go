package daemon

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"raytap/collector"
	"raytap/config"
	"raytap/web"
)

// defaultModule is the module of a probe that names none.
const defaultModule = "default"

// probes are the clusters that /probe was asked for: one client each, shared by
// all who ask for the same one and kept for a while, so that many probes cost a
// cluster what one does. Safe for concurrent use.
type probes struct {
	build func(spec, collector.Requests) (*unit, error)

	mu    sync.Mutex
	cfg   config.Config
	certs certificates
	all   map[address]*probe
}

// address is a cluster that can be probed. Its name is no part of it: another
// name would be another client.
type address struct{ module, api, url string }

// probe is one of them.
type probe struct {
	unit     *unit
	registry *prometheus.Registry // of its requests
	used     time.Time            // when it was last asked for
	active   int                  // requests in progress
	gone     bool                 // it is closed once active is 0
}

func newProbes(build func(spec, collector.Requests) (*unit, error)) *probes {
	return &probes{build: build, all: map[address]*probe{}, certs: certificates{}}
}

// configure takes over the modules of cfg, and lets the clients go that they
// would make otherwise now, or not at all.
func (p *probes) configure(cfg config.Config, certs certificates) {
	p.mu.Lock()
	p.cfg = cfg
	p.certs = maps.Clone(certs) // the caller's is not ours to add to
	var gone []*unit
	for at, x := range p.all {
		c := x.unit.spec.cluster
		s, err := p.spec(at.module, config.Target{Address: at.url, Name: c.Name, API: at.api})
		if err != nil || !reflect.DeepEqual(s, x.unit.spec) {
			gone = append(gone, p.drop(at)...)
		}
	}
	p.mu.Unlock()
	closeAll(gone)
}

// spec gives what the configuration says of a target. p.mu is held.
func (p *probes) spec(module string, t config.Target) (spec, error) {
	m, ok := p.cfg.Modules[module]
	if !ok {
		if len(p.cfg.Modules) == 0 {
			return spec{}, refusal(http.StatusNotFound, "nothing can be probed: the configuration has no modules")
		}
		known := strings.Join(slices.Sorted(maps.Keys(p.cfg.Modules)), ", ")
		return spec{}, refusal(http.StatusBadRequest, fmt.Sprintf("there is no module %.60q; there are %.500s", module, known))
	}
	c, err := m.At(t)
	if err != nil {
		return spec{}, refusal(http.StatusBadRequest, err.Error())
	}
	s := specOf(p.cfg, c, p.certs)
	s.shipper.Enabled = false
	return s, nil
}

func refusal(code int, text string) error { return &web.Refusal{Code: code, Text: text} }

// probe gives what collects the cluster that a request names.
func (p *probes) probe(q url.Values) (web.Collect, func(), error) {
	t := config.Target{Address: q.Get("target"), Name: q.Get("cluster"), API: q.Get("api")}
	if t.Address == "" {
		return nil, nil, refusal(http.StatusBadRequest, "the parameter target is missing: the address of a cluster, such as /probe?target=ray-head:8265")
	}
	module := q.Get("module")
	if module == "" {
		module = defaultModule
	}
	now := time.Now()
	closeAll(p.idle(now))
	p.mu.Lock()
	defer p.mu.Unlock()
	s, err := p.spec(module, t)
	if err != nil {
		return nil, nil, err
	}
	if !s.collector.Enabled {
		return nil, nil, refusal(http.StatusNotFound, "nothing can be probed: collector.enabled is false")
	}
	at := address{module, s.cluster.API, string(s.cluster.URL)}
	x, err := p.get(at, s)
	if err != nil {
		return nil, nil, err
	}
	x.used = now
	x.active++
	collect := func(ctx context.Context, only []string) []*dto.MetricFamily {
		exposition, there := x.unit.collect(ctx, only)
		if !there {
			return nil
		}
		requests, _ := x.registry.Gather() // of one histogram: no error
		return append(collector.Gather(exposition), requests...)
	}
	return collect, sync.OnceFunc(func() { p.release(x) }), nil
}

// get gives the probe of an address, a new one where there is none yet. p.mu is held.
func (p *probes) get(at address, s spec) (*probe, error) {
	if x := p.all[at]; x != nil {
		if name := x.unit.spec.cluster.Name; name != s.cluster.Name {
			return nil, refusal(http.StatusBadRequest, fmt.Sprintf(
				"this target is probed as cluster %.60q already; it can have another name %s after it was last asked for", name, p.cfg.Probes.Keep))
		}
		return x, nil
	}
	if len(p.all) >= p.cfg.Probes.Max {
		return nil, refusal(http.StatusServiceUnavailable, fmt.Sprintf("too many targets are probed: probes.max is %d", p.cfg.Probes.Max))
	}
	x, requests := &probe{registry: prometheus.NewRegistry()}, collector.NewRequests()
	x.registry.MustRegister(requests)
	var err error
	if x.unit, err = p.build(s, requests); err != nil {
		return nil, fmt.Errorf("the module %s does not work: %w", at.module, err)
	}
	p.all[at] = x
	return x, nil
}

// release ends the use of a probe by one request.
func (p *probes) release(x *probe) {
	p.mu.Lock()
	x.active--
	x.used = time.Now()
	last := x.gone && x.active == 0
	p.mu.Unlock()
	if last {
		x.unit.close()
	}
}

// drop forgets a probe, and gives its unit if nobody uses it. p.mu is held.
func (p *probes) drop(at address) []*unit {
	x := p.all[at]
	delete(p.all, at)
	if x.active > 0 {
		x.gone = true
		return nil
	}
	return []*unit{x.unit}
}

// idle drops what nobody asked for for a while.
func (p *probes) idle(now time.Time) []*unit {
	p.mu.Lock()
	defer p.mu.Unlock()
	var gone []*unit
	for at, x := range p.all {
		if x.active == 0 && now.Sub(x.used) >= time.Duration(p.cfg.Probes.Keep) {
			gone = append(gone, p.drop(at)...)
		}
	}
	return gone
}

// expire lets go what nobody asked for for a while.
func (p *probes) expire(now time.Time) { closeAll(p.idle(now)) }

// close lets all go. Requests in progress end as they may.
func (p *probes) close() {
	p.mu.Lock()
	var gone []*unit
	for at := range p.all {
		gone = append(gone, p.drop(at)...)
	}
	p.mu.Unlock()
	closeAll(gone)
}

func closeAll(units []*unit) {
	for _, u := range units {
		u.close()
	}
}

// count gives how many targets are probed, of how many at most.
func (p *probes) count() web.ProbesStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return web.ProbesStatus{Targets: len(p.all), Max: p.cfg.Probes.Max}
}
