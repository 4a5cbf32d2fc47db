package daemon

import (
	"context"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"raytap/config"
	"raytap/discovery/kuberay"
	"raytap/web"
)

// memorySuffix is appended to the name of the positions file: the file that has which
// RayClusters are new.
const memorySuffix = ".rayclusters"

// newRayClusters returns the source of the RayClusters of cfg, nil if it has none. It
// starts nothing, and goes on from the current source if there is one.
func (d *Daemon) newRayClusters(cfg config.Config) (*kuberay.Source, error) {
	if cfg.Kubernetes == nil {
		return nil, nil
	}
	o := kuberay.Options{Previous: d.rayClusters, UserAgent: "raytap/" + d.o.Version, Log: d.o.Log}
	if p := d.storage.positions; p.Durable() {
		o.Memory = kuberay.File(p.File() + memorySuffix)
	}
	if len(cfg.Sharding.Generations) > 0 {
		s, err := newShards(cfg.Sharding, os.Hostname, d.storage.positions)
		if err != nil {
			return nil, err
		}
		o.Owns = func(uid string, created time.Time) bool { return s.generations.Owner(uid, created) == s.number }
	}
	s, err := kuberay.New(cfg, o)
	if err != nil {
		return nil, &config.Problems{List: []config.Problem{{Path: "kubernetes", Message: err.Error()}}}
	}
	return s, nil
}

// watchRayClusters watches next from now on, instead of the source before; nil watches
// none.
func (d *Daemon) watchRayClusters(ctx context.Context, next *kuberay.Source) {
	d.stopRayClusters()
	d.rayClusters = next
	d.metrics.rayClusters.source.Store(next)
	if next != nil {
		d.rayClustersWatcher = start(ctx, func(ctx context.Context) error { return next.Run(ctx, d.filesChanged) })
	}
}

func (d *Daemon) stopRayClusters() {
	if d.rayClustersWatcher != nil {
		d.rayClustersWatcher.cancel()
		<-d.rayClustersWatcher.ended
		d.rayClustersWatcher = nil
	}
}

// ready returns an error while raytap is not ready: a RayCluster that is made once it is
// ready is new to it. It may be called from any goroutine.
func (d *Daemon) ready() error {
	return d.clusters.ready(d.metrics.rayClusters.source.Load().AllListed())
}

// kubernetesStatus returns the status of a source.
func kubernetesStatus(s *kuberay.Source) *web.KubernetesStatus {
	watches, unwatched := s.Status()
	out := &web.KubernetesStatus{Watches: make([]web.WatchStatus, len(watches))}
	for i, w := range watches {
		out.Watches[i] = web.WatchStatus{Resource: w.Resource, Namespace: w.Namespace, LastAnswer: w.Contact}
		if w.Err != nil {
			out.Watches[i].Error = w.Err.Error()
		}
	}
	for _, c := range unwatched {
		out.Unwatched = append(out.Unwatched, web.RayClusterStatus(c))
	}
	return out
}

// rayClusterMetrics are the metrics of the current source of RayClusters. It is a
// prometheus.Collector.
type rayClusterMetrics struct {
	source atomic.Pointer[kuberay.Source]
}

// Describe implements prometheus.Collector.
func (m *rayClusterMetrics) Describe(ch chan<- *prometheus.Desc) { m.source.Load().Describe(ch) }

// Collect implements prometheus.Collector.
func (m *rayClusterMetrics) Collect(ch chan<- prometheus.Metric) { m.source.Load().Collect(ch) }
