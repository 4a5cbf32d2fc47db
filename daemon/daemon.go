// Package daemon makes running parts of a configuration: a client for each
// cluster, the two halves on top of it, one output and one page for all. It
// adds and removes clusters while the others go on, and stops everything in
// order.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/semaphore"

	"raytap/config"
	"raytap/logthrottle"
	"raytap/shipper"
	"raytap/web"
)

// DefaultStopTimeout is what a zero StopTimeout stands for.
const DefaultStopTimeout = 10 * time.Second

// How much of the stop timeout the tails may take to end, and the output to
// write what is queued after them. The page has the rest.
const (
	tailsShare = 0.4
	drainShare = 0.5
)

// idleInterval is the pause between two looks for what is not used any more, and
// for what could not be used so far.
const idleInterval = time.Minute

// Options are what a Daemon needs beside its configuration.
type Options struct {
	// Load reads the configuration again for a reload. Its error tells all that
	// is wrong with it.
	Load func() (config.Config, error)
	// Stdout gets the records; nothing else may write there.
	Stdout io.Writer
	// SystemdSocket takes the page's sockets from systemd instead of binding
	// the configured addresses.
	SystemdSocket bool
	// StopTimeout bounds the way from the end of Run's context to its return.
	StopTimeout time.Duration
	Version     string
	Log         *logrus.Logger
}

// Daemon is raytap at work.
type Daemon struct {
	o        Options
	cfg      config.Config // that it started with
	metrics  *metrics
	records  *records
	output   *shipper.Output
	page     *web.Server
	clusters clusters
	probes   *probes
	answers  *semaphore.Weighted // bytes that big answers may take
	state    state
	first    plan // what Run starts with
	reloads  chan chan error
	looks    chan chan struct{} // the watchdog's: closed by Run to say that it is alive
	changed  chan struct{}      // the files list other clusters

	// What follows belongs to the goroutine of Run.
	current  config.Config // in use
	certs    certificates  // what its TLS files held when it was loaded
	files    *discovery
	watcher  *part // of files
	refused  bool  // some clusters in files are not watched
	refusing logthrottle.Condition
}

// New builds all parts, opens and locks the sink's file and the positions, binds
// the page's addresses, and starts nothing. An error that is a *config.Problems
// is the configuration's; any other is of the machine it runs on. On an error
// nothing stays open or bound.
func New(cfg config.Config, o Options) (*Daemon, error) {
	if o.StopTimeout <= 0 {
		o.StopTimeout = DefaultStopTimeout
	}
	d := &Daemon{
		o: o, cfg: cfg, metrics: newMetrics(), answers: semaphore.NewWeighted(int64(cfg.ResponseMemory)),
		reloads: make(chan chan error), looks: make(chan chan struct{}), changed: make(chan struct{}), certs: certificates{},
		refusing: logthrottle.Condition{Log: o.Log},
	}
	d.state.started = time.Now()
	d.probes = newProbes(d.build)
	if err := Check(cfg); err != nil {
		return nil, err
	}
	// First, for it leaves nothing behind: a start that is refused makes no file.
	listeners, err := web.Listen(cfg.Web.ListenAddresses, o.SystemdSocket)
	if err != nil {
		return nil, err
	}
	if d.records, err = openRecords(cfg, o.Stdout, o.Log); err != nil {
		closeListeners(listeners)
		return nil, err
	}
	d.output = shipper.NewOutput(d.records.sink, shipper.OutputOptions{
		Memory:    int64(cfg.Shipper.Memory),
		Drain:     time.Duration(drainShare * float64(o.StopTimeout)),
		Positions: d.records.positions,
		Interval:  d.records.interval(cfg.Shipper.Positions.Interval),
		Metrics:   d.metrics.shipper,
		Log:       o.Log,
	})
	d.metrics.watch(d.records, d.output)
	d.files = newDiscovery(cfg, nil, o.Log)
	d.files.look(time.Now())
	if d.first, err = d.plan(cfg, d.files, d.certs); err == nil {
		err = d.buildPage(cfg, listeners)
	}
	if err != nil {
		closeListeners(listeners)
		_ = d.records.sink.Close() // nothing was written
		d.records.close()
		return nil, err
	}
	d.use(cfg, d.certs)
	return d, nil
}

func closeListeners(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}

// buildPage makes the page, which closes the listeners once it runs.
func (d *Daemon) buildPage(cfg config.Config, listeners []net.Listener) (err error) {
	o := d.o
	d.page, err = web.New(web.Options{
		Listeners:  listeners,
		ConfigFile: string(cfg.Web.ConfigFile),
		Process:    d.metrics.registry,
		Collect:    d.clusters.collect,
		Collectors: d.collectors,
		Probe:      d.probes.probe,
		Drops:      d.state.drops,
		MaxScrapes: cfg.Web.MaxConcurrentScrapes,
		Status:     d.status,
		Ready:      d.clusters.ready,
		Reload:     d.Reload,
		Offset:     time.Duration(cfg.Web.ScrapeTimeoutOffset),
		Log:        o.Log,
	})
	return err
}

// Run works until ctx ends or a part breaks that all others need (the sink, the
// page), and then stops in order: tails, output, page. It tells systemd when it
// is ready and when it stops, and feeds its watchdog. An error means that
// something broke, or did not stop in time. It is called once.
func (d *Daemon) Run(ctx context.Context) error {
	base := context.WithoutCancel(ctx) // the parts end one after the other, not with ctx
	defer d.records.close()
	beside := start(base, func(ctx context.Context) error {
		return d.records.run(ctx, time.Duration(d.cfg.Shipper.Positions.Interval))
	})
	defer func() { <-beside.ended }()
	defer beside.cancel()
	tails, stopTails := context.WithCancel(base)
	defer stopTails()
	output := start(base, d.output.Run)
	defer output.cancel()
	page := start(base, d.page.Run)
	defer page.cancel()

	defer d.probes.close()
	d.watch(base, d.files)
	defer func() {
		d.watcher.cancel()
		<-d.watcher.ended
	}()
	d.apply(tails, d.first)
	d.o.Log.WithFields(logrus.Fields{
		"version": d.o.Version, "clusters": len(d.first.units),
		"collector": d.cfg.Collector.Enabled, "shipper": d.cfg.Shipper.Enabled,
	}).Info("raytap is running")
	watchdog := start(base, d.feedWatchdog)
	defer func() { <-watchdog.ended }()
	defer watchdog.cancel()
	d.tell(systemd.SdNotifyReady)
	if d.records.unsaved != nil {
		d.o.Log.WithField("backfill", d.cfg.Shipper.Discovery.Backfill).Warnf("positions are kept in memory only (%v): "+
			"a restart ships again what backfill says, from its start. Set shipper.positions.file to a place that can be written", d.records.unsaved)
	}

	idle := time.NewTicker(idleInterval)
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			return d.stop(stopTails, output, page, nil)
		case err := <-output.ended:
			return d.stop(stopTails, nil, page, fmt.Errorf("the output of records broke: %w", orUnexpected(err)))
		case err := <-page.ended:
			return d.stop(stopTails, output, nil, orUnexpected(err))
		case done := <-d.reloads:
			done <- d.reload(tails)
		case <-d.changed:
			d.rediscover(tails)
		case now := <-idle.C:
			d.probes.expire(now)
			if d.refused { // what kept them out may be over
				d.rediscover(tails)
			}
		case answer := <-d.looks:
			close(answer)
		}
	}
}

func orUnexpected(err error) error {
	if err == nil {
		return errors.New("it ended before it was told to")
	}
	return err
}

// part is a blocking Run at work.
type part struct {
	cancel context.CancelFunc
	ended  chan error
}

func start(ctx context.Context, run func(context.Context) error) *part {
	ctx, cancel := context.WithCancel(ctx)
	p := &part{cancel: cancel, ended: make(chan error, 1)}
	go func() { p.ended <- run(ctx) }()
	return p
}

// stop ends the parts in order; those that have ended already are nil. cause is
// why, nil where it was asked for, and stands first in what stop returns.
func (d *Daemon) stop(stopTails context.CancelFunc, output, page *part, cause error) error {
	d.o.Log.Info("raytap stops")
	d.tell(systemd.SdNotifyStopping)
	var late []string
	errs := []error{cause}
	began := time.Now()
	// await waits for an end, up to a share of the timeout since stop began: so
	// one that hangs leaves the next ones their time.
	await := func(name string, ended <-chan error, share float64) {
		patience := time.NewTimer(time.Duration(share*float64(d.o.StopTimeout)) - time.Since(began))
		defer patience.Stop()
		select {
		case err := <-ended:
			errs = append(errs, err)
		case <-patience.C:
			late = append(late, name)
		}
	}
	stopTails()
	tails := start(context.Background(), func(context.Context) error { stop(d.clusters.all()); return nil })
	await("tails", tails.ended, tailsShare)
	if output != nil {
		output.cancel()
		await("output", output.ended, tailsShare+drainShare)
	}
	if page != nil {
		page.cancel()
		await("page", page.ended, 1)
	}
	if len(late) > 0 {
		errs = append(errs, fmt.Errorf("not stopped within %s: %s", d.o.StopTimeout, strings.Join(late, ", ")))
	}
	return errors.Join(errs...)
}
