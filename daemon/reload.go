package daemon

import (
	"context"
	"errors"
	"reflect"

	"github.com/sirupsen/logrus"

	"raytap/config"
)

// Reload reads the configuration again and puts it to use. On an error, which
// tells all that is wrong, the old one stays. It returns when the clusters that
// are gone have stopped; ctx ends the wait, not the reload.
func (d *Daemon) Reload(ctx context.Context) error {
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

// reload does the work of Reload, and logs what came of it.
func (d *Daemon) reload(ctx context.Context) error {
	cfg, err := d.o.Load()
	var p plan
	if err == nil {
		p, err = d.plan(cfg)
	}
	if err != nil {
		d.metrics.reloadOK.Set(0)
		for _, line := range lines(err) {
			d.o.Log.Error("configuration not reloaded: " + line)
		}
		return err
	}
	for _, key := range d.fixed(cfg) {
		d.o.Log.Warnf("%s changed, which takes a restart", key)
	}
	if level, err := logrus.ParseLevel(cfg.Log.Level); err == nil {
		d.o.Log.SetLevel(level)
	}
	d.clusters.apply(ctx, p)
	d.metrics.loaded(cfg.Hash(), len(cfg.Clusters))
	d.o.Log.WithFields(logrus.Fields{
		"clusters": len(p.units), "started": len(p.fresh), "stopped": len(p.gone),
	}).Info("configuration reloaded")
	return nil
}

// fixed names what of cfg differs from the configuration that raytap started
// with and cannot be changed while it runs.
func (d *Daemon) fixed(cfg config.Config) []string {
	var keys []string
	for _, k := range []struct {
		name     string
		old, new any
	}{
		{"sink", d.cfg.Sink, cfg.Sink},
		{"web", d.cfg.Web, cfg.Web},
		{"log.format", d.cfg.Log.Format, cfg.Log.Format},
		{"shipper.memory", d.cfg.Shipper.Memory, cfg.Shipper.Memory},
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
