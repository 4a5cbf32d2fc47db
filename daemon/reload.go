package daemon

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/config"
	"raytap/discovery"
	"raytap/discovery/kuberay"
)

// Reload reads the configuration again and applies it, and opens the sink's file
// again, even if the configuration is invalid: a log rotator may have renamed the
// file. On an error, which has all that is wrong, the old configuration stays. It
// returns when removed clusters have stopped and nothing is written to a renamed
// file any more; ctx ends the wait, not the reload.
func (d *Daemon) Reload(ctx context.Context) error {
	err := d.reconfigure(ctx)
	if rerr := d.output.Reopen(ctx); rerr != nil {
		err = errors.Join(err, fmt.Errorf("reopen the sink file: %w", rerr))
	}
	return err
}

func (d *Daemon) reconfigure(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case d.reloads <- done:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reload does the work of reconfigure, and logs the result. What it returns is closed when
// the clusters that it stops have ended.
func (d *Daemon) reload(ctx context.Context) (stopped []<-chan struct{}, err error) {
	cfg, err := d.o.Load()
	var p plan
	var needRestart []string
	files, rayClusters, certs := d.files, d.rayClusters, certificates{}
	if err == nil {
		err = Check(cfg) // a configuration that could not start is not applied
	}
	if err == nil {
		needRestart = NeedsRestart(d.cfg, cfg)
		cfg.Shipper.Enabled = cfg.Shipper.Enabled && d.cfg.Shipper.Enabled
		files = discovery.NewFiles(cfg, d.files, d.o.Log)
		files.Refresh(time.Now())
		if rayClusters, err = d.newRayClusters(cfg); err == nil {
			p, err = d.plan(cfg, d.found(files, rayClusters), certs)
		}
	}
	if err != nil {
		d.metrics.reloadOK.Set(0)
		d.state.fail(time.Now(), err)
		for _, line := range lines(err) {
			d.o.Log.WithField("error", line).Error("Configuration not reloaded")
		}
		d.notify("STATUS=reload failed, see the journal; still " + statusText(len(d.clusters.all())))
		return nil, err
	}
	for _, key := range needRestart {
		d.o.Log.WithField("key", key).Warn("A changed setting needs a restart")
	}
	if level, err := logrus.ParseLevel(cfg.Log.Level); err == nil {
		d.o.Log.SetLevel(level)
	}
	d.use(cfg, certs)
	d.watchFiles(ctx, files)
	d.watchRayClusters(ctx, rayClusters)
	stopped = d.apply(ctx, p)
	d.o.Log.WithFields(logrus.Fields{
		"clusters": len(p.clusters), "started": len(p.start), "stopped": len(p.stop),
	}).Info("Configuration reloaded")
	return stopped, nil
}

// use makes cfg the configuration in use; certs are the digests of its TLS files.
func (d *Daemon) use(cfg config.Config, certs certificates) {
	told := d.current.Shipper.HasNodeLogs()
	d.current, d.certs = cfg, certs
	d.clusters.ended.setKeep(time.Duration(cfg.EndedClusters.Keep))
	d.metrics.shipper.Keep(time.Duration(cfg.EndedClusters.Keep))
	d.probes.configure(cfg, certs)
	d.metrics.loaded(cfg.Hash())
	d.state.load(time.Now(), cfg)
	for _, warning := range Warnings(cfg) {
		if warning != keyWarning || !told {
			d.o.Log.Warn(warning)
		}
	}
}

// found returns the clusters that all sources have found.
func (d *Daemon) found(files *discovery.Files, rayClusters *kuberay.Source) []discovery.Cluster {
	all := files.Clusters()
	if rayClusters != nil {
		all = append(all, rayClusters.Clusters()...)
	}
	for _, s := range d.sources {
		all = append(all, s.Clusters()...)
	}
	return all
}

// apply applies a plan. What it returns is closed when the clusters that it stops have ended.
func (d *Daemon) apply(ctx context.Context, p plan) (stopped []<-chan struct{}) {
	d.planned = slices.Concat(p.ids(), p.shards.elsewhere)
	deleted := d.configurePositions()
	stopped = d.clusters.apply(ctx, p)
	d.endDeleted(ctx, deleted)
	d.notify("STATUS=" + statusText(len(p.clusters)))
	d.metrics.clusters.Set(float64(len(p.clusters)))
	d.metrics.rejected.Set(float64(len(p.rejected)))
	d.metrics.shards.set(p.shards)
	d.rejected = len(p.rejected) > 0
	if d.rejected {
		d.rejections.Failed("Some clusters of cluster_files and Kubernetes are not watched", errors.New(strings.Join(p.rejected, "; ")))
	} else {
		d.rejections.Recovered("All clusters of cluster_files and Kubernetes are watched")
	}
	return stopped
}

// watchFiles watches files from now on, instead of those before.
func (d *Daemon) watchFiles(ctx context.Context, files *discovery.Files) {
	if d.watcher != nil {
		d.watcher.cancel()
		<-d.watcher.ended
	}
	d.files = files
	d.metrics.files.files.Store(files)
	d.watcher = start(ctx, func(ctx context.Context) error { return files.Run(ctx, d.filesChanged) })
}

// rediscover applies the current clusters of the files. The configuration stays as
// it was loaded.
func (d *Daemon) rediscover(ctx context.Context) {
	p, err := d.plan(d.current, d.found(d.files, d.rayClusters), d.certs)
	if err != nil {
		// Not expected: the clusters of the configuration were built before.
		d.o.Log.WithError(err).Error("Clusters of cluster_files and Kubernetes not updated")
		return
	}
	d.apply(ctx, p)
	if len(p.start)+len(p.stop) > 0 {
		d.o.Log.WithFields(logrus.Fields{
			"clusters": len(p.clusters), "started": len(p.start), "stopped": len(p.stop),
		}).Info("Clusters of cluster_files and Kubernetes updated")
	}
}

// NeedsRestart returns the keys that differ between started, the configuration at
// the start, and now, and that a running raytap cannot change.
func NeedsRestart(started, now config.Config) []string {
	var keys []string
	for _, k := range []struct {
		name     string
		old, new any
	}{
		{"sink", started.Sink, now.Sink},
		{"response_memory", started.ResponseMemory, now.ResponseMemory},
		{"web", started.Web, now.Web},
		{"log.format", started.Log.Format, now.Log.Format},
		{"shipper.memory", started.Shipper.Memory, now.Shipper.Memory},
		{"shipper.positions", started.Shipper.Positions, now.Shipper.Positions},
		// At the start it decides whether sink and positions are opened.
		{"shipper.enabled", started.Shipper.Enabled, started.Shipper.Enabled || now.Shipper.Enabled},
	} {
		if !reflect.DeepEqual(k.old, k.new) {
			keys = append(keys, k.name)
		}
	}
	return keys
}

// lines returns the lines of an error.
func lines(err error) []string {
	var p *config.Problems
	if errors.As(err, &p) {
		return p.Lines()
	}
	return []string{err.Error()}
}
