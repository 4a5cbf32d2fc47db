package daemon

import (
	"context"
	"fmt"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// tell lets the service manager know a state, where one started raytap and
// listens (systemd with Type=notify).
func (d *Daemon) tell(state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		d.o.Log.Warnf("systemd could not be told %q: %v", state, err)
	}
}

// watches is what systemctl status shows of n clusters.
func watches(n int) string {
	if n == 1 {
		return "watches 1 cluster"
	}
	return fmt.Sprintf("watches %d clusters", n)
}

// feedWatchdog tells the service manager twice in each of its intervals that
// raytap is alive, as long as it is, until ctx ends. Without a watchdog
// (WatchdogSec= in the unit) it returns at once. A full disk, or a cluster that
// does not answer, are not its business: a restart would not help.
func (d *Daemon) feedWatchdog(ctx context.Context) error {
	interval, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		d.o.Log.Warnf("systemd's watchdog is not fed: %v", err)
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
			d.tell(systemd.SdNotifyWatchdog)
		}
	}
}

// alive returns true once what all else waits for has answered: the loop of Run,
// and everything that metrics are read from under a lock (the sink, the tails).
// If one of them hangs it does not return until ctx ends; what hangs under a
// lock holds it longer.
func (d *Daemon) alive(ctx context.Context) bool {
	answer := make(chan struct{})
	select {
	case d.looks <- answer:
		<-answer
	case <-ctx.Done():
		return false
	}
	_, err := d.metrics.registry.Gather()
	return err == nil
}
