package daemon

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/config"
)

// Reload reads the configuration again and puts it to use, and opens the sink's
// file anew, whatever came of the configuration: others may have renamed it. On
// an error, which tells all that is wrong, the old configuration stays. It
// returns when the clusters that are gone have stopped and nothing is written to
// a renamed file any more; ctx ends the wait, not the reload.
func (d *Daemon) Reload(ctx context.Context) error {
	err := d.reconfigure(ctx)
	if rerr := d.output.Reopen(ctx); rerr != nil {
		err = errors.Join(err, fmt.Errorf("open the sink file anew: %w", rerr))
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

// reload does the work of reconfigure, and logs what came of it.
func (d *Daemon) reload(ctx context.Context) error {
	cfg, err := d.o.Load()
	var p plan
	var fixed []string
	files, certs := d.files, certificates{}
	if err == nil {
		err = Check(cfg) // what would keep raytap from starting again
	}
	if err == nil {
		fixed = NeedsRestart(d.cfg, cfg)
		cfg.Shipper.Enabled = cfg.Shipper.Enabled && d.cfg.Shipper.Enabled
		files = newDiscovery(cfg, d.files, d.o.Log)
		files.look(time.Now())
		p, err = d.plan(cfg, files, certs)
	}
	if err != nil {
		d.metrics.reloadOK.Set(0)
		d.state.fail(time.Now(), err)
		for _, line := range lines(err) {
			d.o.Log.Error("configuration not reloaded: " + line)
		}
		d.tell("STATUS=the configuration was not reloaded, the journal tells why; " + watches(len(d.clusters.all())) + " as before")
		return err
	}
	for _, key := range fixed {
		d.o.Log.Warnf("%s changed, which takes a restart", key)
	}
	if level, err := logrus.ParseLevel(cfg.Log.Level); err == nil {
		d.o.Log.SetLevel(level)
	}
	d.use(cfg, certs)
	d.watch(ctx, files)
	d.apply(ctx, p)
	d.o.Log.WithFields(logrus.Fields{
		"clusters": len(p.units), "started": len(p.fresh), "stopped": len(p.gone),
	}).Info("configuration reloaded")
	return nil
}

// use makes cfg the configuration in use; certs is what its TLS files hold.
func (d *Daemon) use(cfg config.Config, certs certificates) {
	d.current, d.certs = cfg, certs
	d.probes.configure(cfg, certs)
	d.metrics.loaded(cfg.Hash())
	d.state.load(time.Now(), cfg)
	for _, warning := range Warnings(cfg) {
		d.o.Log.Warn(warning)
	}
}

// apply puts a plan to work.
func (d *Daemon) apply(ctx context.Context, p plan) {
	d.output.Configure(p.names())
	d.clusters.apply(ctx, p)
	d.tell("STATUS=" + watches(len(p.units)))
	d.metrics.clusters.Set(float64(len(p.units)))
	d.metrics.refused.Set(float64(len(p.refused)))
	d.refused = len(p.refused) > 0
	if d.refused {
		d.refusing.Failed("clusters that files list are not watched", errors.New(strings.Join(p.refused, "; ")))
	} else {
		d.refusing.Recovered("all clusters that files list are watched")
	}
}

// watch has files looked at from now on, instead of those before.
func (d *Daemon) watch(ctx context.Context, files *discovery) {
	if d.watcher != nil {
		d.watcher.cancel()
		<-d.watcher.ended
	}
	d.files = files
	d.metrics.files.of.Store(files)
	d.watcher = start(ctx, func(ctx context.Context) error { return files.run(ctx, d.changed) })
}

// rediscover takes over what the files list now. The configuration stays as it
// was loaded, so that nothing else changes.
func (d *Daemon) rediscover(ctx context.Context) {
	p, err := d.plan(d.current, d.files, d.certs)
	if err != nil {
		// It was built before, and is kept: only a cluster that is new is built.
		d.o.Log.WithError(err).Error("the clusters in files are not taken over")
		return
	}
	d.apply(ctx, p)
	if len(p.fresh)+len(p.gone) > 0 {
		d.o.Log.WithFields(logrus.Fields{
			"clusters": len(p.units), "started": len(p.fresh), "stopped": len(p.gone),
		}).Info("files list other clusters")
	}
}

// NeedsRestart names what of now differs from started, the configuration that a
// raytap started with, and cannot be changed while it runs.
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
		// Without it neither the sink nor the positions were opened.
		{"shipper.enabled", started.Shipper.Enabled, started.Shipper.Enabled || now.Shipper.Enabled},
	} {
		if !reflect.DeepEqual(k.old, k.new) {
			keys = append(keys, k.name)
		}
	}
	return keys
}

// lines gives an error one line at a time.
func lines(err error) []string {
	var p *config.Problems
	if errors.As(err, &p) {
		return p.Lines()
	}
	return []string{err.Error()}
}
