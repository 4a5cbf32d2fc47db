package daemon

import (
	"context"
	"errors"
	"fmt"
	"reflect"

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
	if err == nil {
		fixed = d.fixed(cfg)
		cfg.Shipper.Enabled = cfg.Shipper.Enabled && d.cfg.Shipper.Enabled
		p, err = d.plan(cfg)
	}
	if err != nil {
		d.metrics.reloadOK.Set(0)
		for _, line := range lines(err) {
			d.o.Log.Error("configuration not reloaded: " + line)
		}
		return err
	}
	for _, key := range fixed {
		d.o.Log.Warnf("%s changed, which takes a restart", key)
	}
	if level, err := logrus.ParseLevel(cfg.Log.Level); err == nil {
		d.o.Log.SetLevel(level)
	}
	d.output.Configure(cfg.Names())
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
		{"shipper.positions", d.cfg.Shipper.Positions, cfg.Shipper.Positions},
		// Without it neither the sink nor the positions were opened.
		{"shipper.enabled", d.cfg.Shipper.Enabled, d.cfg.Shipper.Enabled || cfg.Shipper.Enabled},
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
