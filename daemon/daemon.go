// Package daemon runs a configuration: a client, a collector and a shipper for
// each cluster, and one output and one HTTP server for all. It adds and removes
// clusters while others run, and stops everything in order.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"raytap/shipper/writer"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/semaphore"

	"raytap/config"
	"raytap/discovery"
	"raytap/discovery/kuberay"
	"raytap/logthrottle"
	"raytap/web"
)

// DefaultStopTimeout is the default of Options.StopTimeout.
const DefaultStopTimeout = 10 * time.Second

// Shares of the stop timeout: for the clusters to stop, and for the output to
// write what is queued after them. The HTTP server has the rest.
const (
	clustersShare = 0.4
	drainShare    = 0.5
)

// maintenanceInterval is the time between two checks for unused probes, and for
// clusters that could not be built before.
const maintenanceInterval = time.Minute

// Options are what a Daemon needs in addition to its configuration.
type Options struct {
	// Load reads the configuration again for a reload. Its error has all that is
	// wrong with it.
	Load func() (config.Config, error)
	// Stdout gets the records; nothing else may write there.
	Stdout io.Writer
	// SystemdSocket takes the listeners of the HTTP server from systemd instead of
	// binding the configured addresses.
	SystemdSocket bool
	// StopTimeout bounds the time from the end of Run's context to its return. 0 is
	// DefaultStopTimeout.
	StopTimeout time.Duration
	Version     string
	Log         *logrus.Logger
}

// Daemon is a running raytap.
type Daemon struct {
	o              Options
	cfg            config.Config // at the start
	metrics        *metrics
	storage        *storage
	output         *writer.Writer
	server         *web.Server
	clusters       clusters
	probes         *probes
	responseMemory *semaphore.Weighted // bytes
	state          state
	first          plan // what Run starts with
	reloads        chan chan error
	watchdogPings  chan chan struct{} // Run closes what it receives, to show that it is alive
	filesChanged   chan struct{}

	// Only the goroutine of Run uses what follows.
	current config.Config // in use
	certs   certificates  // as of the load of current
	files   *discovery.Files
	watcher *task              // of files
	sources []discovery.Source // next to files and rayClusters

	rayClusters        *kuberay.Source // nil: none are watched
	rayClustersWatcher *task           // nil: none
	planned            []string        // ids of the clusters whose positions are in use
	ending             *task           // of RayClusters that were deleted; nil: none
	endsWritten        map[string]bool // uids of those whose ends were passed to the writer
	rejected           bool            // some clusters of files are not watched
	rejections         logthrottle.Condition
}

// New builds all parts, opens and locks the sink's file and the positions, and
// binds the addresses of the HTTP server. It starts nothing. An error that is a
// *config.Problems is about the configuration, any other about the machine. On an
// error nothing stays open or bound.
func New(cfg config.Config, o Options) (*Daemon, error) {
	if o.StopTimeout <= 0 {
		o.StopTimeout = DefaultStopTimeout
	}
	d := &Daemon{
		o: o, cfg: cfg, metrics: newMetrics(o.Log), responseMemory: semaphore.NewWeighted(int64(cfg.ResponseMemory)),
		reloads: make(chan chan error), watchdogPings: make(chan chan struct{}), filesChanged: make(chan struct{}), certs: certificates{}, endsWritten: map[string]bool{},
		rejections: logthrottle.Condition{Log: o.Log},
	}
	d.state.started = time.Now()
	d.probes = newProbes(d.build)
	if err := Check(cfg); err != nil {
		return nil, err
	}
	// First, because it leaves nothing behind: a failed start creates no file.
	listeners, err := web.Listen(cfg.Web.ListenAddresses, o.SystemdSocket)
	if err != nil {
		return nil, err
	}
	if d.storage, err = openStorage(cfg, o.Stdout, o.Log); err != nil {
		closeListeners(listeners)
		return nil, err
	}
	d.output = writer.New(d.storage.sink, writer.Options{
		Memory:    int64(cfg.Shipper.Memory),
		Drain:     time.Duration(drainShare * float64(o.StopTimeout)),
		Positions: d.storage.positions,
		Interval:  d.storage.saveInterval(cfg.Shipper.Positions.Interval),
		Metrics:   d.metrics.shipper,
		Log:       o.Log,
	})
	d.metrics.addSink(d.storage, d.output)
	d.files = discovery.NewFiles(cfg, nil, o.Log)
	d.files.Refresh(time.Now())
	if d.rayClusters, err = d.newRayClusters(cfg); err == nil {
		d.metrics.rayClusters.source.Store(d.rayClusters)
		d.first, err = d.plan(cfg, d.found(d.files, d.rayClusters), d.certs)
	}
	if err == nil {
		err = d.buildServer(cfg, listeners)
	}
	if err != nil {
		closeListeners(listeners)
		_ = d.storage.sink.Close() // nothing was written
		d.storage.close()
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

// buildServer creates the HTTP server, which closes the listeners once it runs.
func (d *Daemon) buildServer(cfg config.Config, listeners []net.Listener) (err error) {
	d.server, err = web.New(web.Options{
		Listeners:  listeners,
		ConfigFile: string(cfg.Web.ConfigFile),
		Process:    d.metrics.registry,
		Collect:    d.clusters.collect,
		Collectors: d.collectors,
		Probe:      d.probes.probe,
		Excluded:   d.state.excluded,
		MaxScrapes: cfg.Web.MaxConcurrentScrapes,
		Status:     d.status,
		Ready:      d.ready,
		Reload:     d.Reload,
		Offset:     time.Duration(cfg.Web.ScrapeTimeoutOffset),
		Log:        d.o.Log,
	})
	return err
}

// Run runs until ctx ends, or until a part breaks that all others need (the sink,
// the HTTP server), and then stops in order: clusters, output, HTTP server. It
// notifies systemd when it is ready and when it stops, and feeds its watchdog. An
// error means that a part broke, or did not stop in time. Run is called once.
func (d *Daemon) Run(ctx context.Context) error {
	base := context.WithoutCancel(ctx) // the parts stop one after the other, not with ctx
	defer d.storage.close()
	sinkTask := start(base, func(ctx context.Context) error {
		return d.storage.run(ctx, time.Duration(d.cfg.Shipper.Positions.Interval))
	})
	defer func() { <-sinkTask.ended }()
	defer sinkTask.cancel()
	clusterCtx, stopClusters := context.WithCancel(base)
	defer stopClusters()
	output := start(base, d.output.Run)
	defer output.cancel()
	server := start(base, d.server.Run)
	defer server.cancel()

	defer d.probes.close()
	d.watchFiles(base, d.files)
	defer func() {
		d.watcher.cancel()
		<-d.watcher.ended
	}()
	d.watchRayClusters(base, d.rayClusters)
	defer d.stopRayClusters()
	for _, s := range d.sources {
		source := start(base, func(ctx context.Context) error { return s.Run(ctx, d.filesChanged) })
		defer func() {
			source.cancel()
			<-source.ended
		}()
	}
	d.apply(clusterCtx, d.first)
	d.o.Log.WithFields(logrus.Fields{
		"version": d.o.Version, "clusters": len(d.first.clusters),
		"collector": d.cfg.Collector.Enabled, "shipper": d.cfg.Shipper.Enabled,
	}).Info("raytap is running")
	watchdog := start(base, d.feedWatchdog)
	defer func() { <-watchdog.ended }()
	defer watchdog.cancel()
	garbage := start(base, collectGarbage)
	defer func() { <-garbage.ended }()
	defer garbage.cancel()
	d.notify(systemd.SdNotifyReady)
	if err := d.storage.notSaved; err != nil {
		d.o.Log.WithError(err).WithField("backfill", d.cfg.Shipper.Discovery.Backfill).
			Warn("Positions are kept in memory only: a restart ships the logs that backfill selects again. Set shipper.positions.file to a writable path")
	}

	maintenance := time.NewTicker(maintenanceInterval)
	defer maintenance.Stop()
	for {
		select {
		case <-ctx.Done():
			return d.stop(stopClusters, output, server, nil)
		case err := <-output.ended:
			return d.stop(stopClusters, nil, server, fmt.Errorf("write records: %w", orUnexpected(err)))
		case err := <-server.ended:
			return d.stop(stopClusters, output, nil, orUnexpected(err))
		case done := <-d.reloads:
			stopped, err := d.reload(clusterCtx)
			go func() { // no cluster delays Run
				for _, c := range stopped {
					<-c
				}
				done <- err
			}()
		case <-d.filesChanged:
			d.rediscover(clusterCtx)
		case now := <-maintenance.C:
			d.probes.expire(now)
			d.endDeleted(clusterCtx, d.configurePositions())
			d.output.Expire(now) // also without a cluster
			if d.rejected {      // the reason may be gone
				d.rediscover(clusterCtx)
			}
		case pong := <-d.watchdogPings:
			close(pong)
		}
	}
}

func orUnexpected(err error) error {
	if err == nil {
		return errors.New("ended unexpectedly")
	}
	return err
}

// task is a running function.
type task struct {
	cancel context.CancelFunc
	ended  chan error
}

func start(ctx context.Context, run func(context.Context) error) *task {
	ctx, cancel := context.WithCancel(ctx)
	t := &task{cancel: cancel, ended: make(chan error, 1)}
	go func() { t.ended <- run(ctx) }()
	return t
}

// stop stops the parts in order; those that have ended are nil. cause is why, nil
// if ctx ended, and comes first in the error.
func (d *Daemon) stop(stopClusters context.CancelFunc, output, server *task, cause error) error {
	d.o.Log.Info("Shutting down")
	d.notify(systemd.SdNotifyStopping)
	var timedOut []string
	errs := []error{cause}
	began := time.Now()
	// waitFor waits until a share of the timeout has passed since began: a part
	// that hangs does not take the time of the next ones.
	waitFor := func(name string, ended <-chan error, share float64) {
		timeout := time.NewTimer(time.Duration(share*float64(d.o.StopTimeout)) - time.Since(began))
		defer timeout.Stop()
		select {
		case err := <-ended:
			errs = append(errs, err)
		case <-timeout.C:
			timedOut = append(timedOut, name)
		}
	}
	stopClusters()
	all := start(context.Background(), func(context.Context) error {
		stop(d.clusters.alive())
		if d.ending != nil {
			<-d.ending.ended
		}
		return nil
	})
	waitFor("clusters", all.ended, clustersShare)
	if output != nil {
		output.cancel()
		waitFor("output", output.ended, clustersShare+drainShare)
	}
	if server != nil {
		server.cancel()
		waitFor("HTTP server", server.ended, 1)
	}
	if len(timedOut) > 0 {
		errs = append(errs, fmt.Errorf("not stopped within %s: %s", d.o.StopTimeout, strings.Join(timedOut, ", ")))
	}
	return errors.Join(errs...)
}
