package daemon

import (
	"context"
	"fmt"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// notify sends a state to systemd, if it started raytap with Type=notify.
func (d *Daemon) notify(state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		d.o.Log.WithError(err).WithField("state", state).Warn("systemd not notified")
	}
}

// statusText returns what systemctl status shows for n clusters.
func statusText(n int) string {
	if n == 1 {
		return "watching 1 cluster"
	}
	return fmt.Sprintf("watching %d clusters", n)
}

// feedWatchdog notifies systemd's watchdog twice in each of its intervals while
// raytap is alive, until ctx ends. Without a watchdog (WatchdogSec= in the unit) it
// returns at once. A full disk or an unreachable cluster do not count: a restart
// would not help.
func (d *Daemon) feedWatchdog(ctx context.Context) error {
	interval, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		d.o.Log.WithError(err).Warn("systemd's watchdog is not used")
	}
	if interval <= 0 {
		return nil
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if d.alive(ctx) {
			d.notify(systemd.SdNotifyWatchdog)
		}
	}
}

// alive returns true once the loop of Run has answered, and all metrics that are
// read under a lock (of the sink, of the tails) were read. If one of them hangs, so
// does alive: the loop until ctx ends, a lock for as long as it is held.
func (d *Daemon) alive(ctx context.Context) bool {
	pong := make(chan struct{})
	select {
	case d.watchdogPings <- pong:
		<-pong
	case <-ctx.Done():
		return false
	}
	_, err := d.metrics.registry.Gather()
	return err == nil
}
