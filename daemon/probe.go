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
	"raytap/discovery"
	"raytap/web"
)

// defaultModule is the module of a probe without a module.
const defaultModule = "default"

// probes are the targets of /probe. Each has one client, which all probes of it
// share and which is kept for a while, so that many probes cost a cluster what one
// does. Safe for concurrent use.
type probes struct {
	build func(spec, *discovery.Facts, collector.Requests) (*clusterRuntime, error)

	mu    sync.Mutex
	cfg   config.Config
	certs certificates
	all   map[address]*probe
}

// address identifies a target. The cluster's name is not part of it: a target has
// one client, and so one name.
type address struct{ module, api, url string }

// probe is one target.
type probe struct {
	cluster  *clusterRuntime
	registry *prometheus.Registry // of its requests
	used     time.Time            // time of the last probe
	active   int                  // probes in progress
	removed  bool                 // to be closed when active is 0
}

func newProbes(build func(spec, *discovery.Facts, collector.Requests) (*clusterRuntime, error)) *probes {
	return &probes{build: build, all: map[address]*probe{}, certs: certificates{}}
}

// configure uses the modules of cfg from now on, and closes the clients whose
// settings they change.
func (p *probes) configure(cfg config.Config, certs certificates) {
	p.mu.Lock()
	p.cfg = cfg
	p.certs = maps.Clone(certs) // the map grows; the caller owns certs
	var removed []*clusterRuntime
	for at, x := range p.all {
		c := x.cluster.spec.cluster
		s, err := p.spec(at.module, config.Target{Address: at.url, Name: c.Name, API: at.api})
		if err != nil || !reflect.DeepEqual(s, x.cluster.spec) {
			removed = append(removed, p.remove(at)...)
		}
	}
	p.mu.Unlock()
	closeAll(removed)
}

// spec returns the spec of a target. p.mu is held.
func (p *probes) spec(module string, t config.Target) (spec, error) {
	m, ok := p.cfg.Modules[module]
	if !ok {
		if len(p.cfg.Modules) == 0 {
			return spec{}, httpError(http.StatusNotFound, "no target can be probed: the configuration has no modules")
		}
		known := strings.Join(slices.Sorted(maps.Keys(p.cfg.Modules)), ", ")
		return spec{}, httpError(http.StatusBadRequest, fmt.Sprintf("unknown module %.60q; modules are %.500s", module, known))
	}
	c, err := m.Resolve(t)
	if err != nil {
		return spec{}, httpError(http.StatusBadRequest, err.Error())
	}
	s := specOf(p.cfg, c, p.certs)
	s.shipper.Enabled = false
	return s, nil
}

func httpError(code int, text string) error { return &web.HTTPError{Code: code, Text: text} }

// probe returns what collects the metrics of the target of a request, and what to
// call after it.
func (p *probes) probe(q url.Values) (web.Collect, func(), error) {
	t := config.Target{Address: q.Get("target"), Name: q.Get("cluster"), API: q.Get("api")}
	if t.Address == "" {
		return nil, nil, httpError(http.StatusBadRequest, "the parameter target is missing: the address of a cluster, such as /probe?target=ray-head:8265")
	}
	module := q.Get("module")
	if module == "" {
		module = defaultModule
	}
	now := time.Now()
	closeAll(p.removeIdle(now))
	p.mu.Lock()
	defer p.mu.Unlock()
	s, err := p.spec(module, t)
	if err != nil {
		return nil, nil, err
	}
	if !s.collector.Enabled {
		return nil, nil, httpError(http.StatusNotFound, "no target can be probed: collector.enabled is false")
	}
	at := address{module, s.cluster.API, string(s.cluster.URL)}
	x, err := p.get(at, s)
	if err != nil {
		return nil, nil, err
	}
	x.used = now
	x.active++
	collect := func(ctx context.Context, only []string) []*dto.MetricFamily {
		exposition, ok := x.cluster.collect(ctx, only)
		if !ok {
			return nil
		}
		requests, _ := x.registry.Gather() // one histogram: no error
		return append(collector.Gather(exposition), requests...)
	}
	return collect, sync.OnceFunc(func() { p.release(x) }), nil
}

// get returns the probe of an address, and creates it if needed. p.mu is held.
func (p *probes) get(at address, s spec) (*probe, error) {
	if x := p.all[at]; x != nil {
		if name := x.cluster.spec.cluster.Name; name != s.cluster.Name {
			return nil, httpError(http.StatusBadRequest, fmt.Sprintf(
				"this target is already probed as cluster %.60q; it can have another name %s after its last probe", name, p.cfg.Probes.Keep))
		}
		return x, nil
	}
	if len(p.all) >= p.cfg.Probes.Max {
		return nil, httpError(http.StatusServiceUnavailable, fmt.Sprintf("too many targets: probes.max is %d", p.cfg.Probes.Max))
	}
	x, requests := &probe{registry: prometheus.NewRegistry()}, collector.NewRequests()
	x.registry.MustRegister(requests)
	var err error
	if x.cluster, err = p.build(s, nil, requests); err != nil {
		return nil, fmt.Errorf("connect with module %s: %w", at.module, err)
	}
	x.cluster.started.Store(true) // nothing of it runs
	p.all[at] = x
	return x, nil
}

// release ends a request to a probe.
func (p *probes) release(x *probe) {
	p.mu.Lock()
	x.active--
	x.used = time.Now()
	last := x.removed && x.active == 0
	p.mu.Unlock()
	if last {
		x.cluster.close()
	}
}

// remove removes a probe, and returns its cluster if no request uses it. p.mu is
// held.
func (p *probes) remove(at address) []*clusterRuntime {
	x := p.all[at]
	delete(p.all, at)
	if x.active > 0 {
		x.removed = true
		return nil
	}
	return []*clusterRuntime{x.cluster}
}

// removeIdle removes the probes that were not used for probes.keep.
func (p *probes) removeIdle(now time.Time) []*clusterRuntime {
	p.mu.Lock()
	defer p.mu.Unlock()
	var removed []*clusterRuntime
	for at, x := range p.all {
		if x.active == 0 && now.Sub(x.used) >= time.Duration(p.cfg.Probes.Keep) {
			removed = append(removed, p.remove(at)...)
		}
	}
	return removed
}

// expire closes the probes that were not used for probes.keep.
func (p *probes) expire(now time.Time) { closeAll(p.removeIdle(now)) }

// close closes all probes, those with requests in progress when these end.
func (p *probes) close() {
	p.mu.Lock()
	var removed []*clusterRuntime
	for at := range p.all {
		removed = append(removed, p.remove(at)...)
	}
	p.mu.Unlock()
	closeAll(removed)
}

func closeAll(all []*clusterRuntime) {
	for _, c := range all {
		c.close()
	}
}

// status returns the number of targets, and its maximum.
func (p *probes) status() web.ProbesStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return web.ProbesStatus{Targets: len(p.all), Max: p.cfg.Probes.Max}
}
