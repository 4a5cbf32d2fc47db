// Package web is raytap's HTTP server: the status page, /metrics, /probe, health
// and reload, through Prometheus' exporter-toolkit, which adds TLS and basic
// authentication.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"github.com/sirupsen/logrus"
	slogrus "github.com/sirupsen/logrus/hooks/slog"

	"raytap/logthrottle"
)

// shutdownGrace is how long requests in progress may take when Run ends.
const shutdownGrace = 2 * time.Second

// Options are what the server needs. All but ConfigFile, Excluded and MaxScrapes are
// required.
type Options struct {
	// Listeners are closed by Run.
	Listeners []net.Listener
	// ConfigFile is the web configuration of exporter-toolkit; "" is plain http.
	ConfigFile string
	// Process has the metrics of raytap itself.
	Process *prometheus.Registry
	// Collect returns the metrics of all clusters.
	Collect Collect
	// Collectors returns the names of the enabled collectors.
	Collectors func() []string
	// Probe returns the metrics of the cluster that the parameters target, module,
	// api and cluster name, and what to call after collecting them. For an invalid
	// request its error is an *HTTPError.
	Probe func(q url.Values) (collect Collect, release func(), err error)
	// Excluded reports whether to omit a metric; nil: none.
	Excluded func(family string) bool
	// MaxScrapes bounds concurrent requests to /metrics and /probe; 0 is 32.
	MaxScrapes int
	// Status returns raytap's current status.
	Status func() Status
	// Ready returns why raytap is not ready yet; nil: it is.
	Ready func() error
	// Reload reloads the configuration; its error is what is wrong with it.
	Reload func(ctx context.Context) error
	// Offset is subtracted from the timeout that a scrape announces.
	Offset time.Duration
	Log    *logrus.Logger
}

// Server is the HTTP server.
type Server struct {
	o       Options
	handler slog.Handler
	mux     *http.ServeMux
	slots   chan struct{} // one element for each scrape in progress
	scrape  *logthrottle.Condition
}

// New validates the web configuration and returns a server. It starts nothing.
func New(o Options) (*Server, error) {
	if err := CheckConfigFile(o.ConfigFile); err != nil {
		return nil, err
	}
	if o.MaxScrapes <= 0 {
		o.MaxScrapes = defaultMaxScrapes
	}
	s := &Server{
		o:       o,
		handler: slogrus.NewHandler(o.Log, nil),
		mux:     http.NewServeMux(),
		slots:   make(chan struct{}, o.MaxScrapes),
		scrape:  &logthrottle.Condition{Log: o.Log},
	}
	s.mux.HandleFunc("GET /{$}", s.statusPage)
	s.mux.HandleFunc("GET /api/v1/status", s.statusJSON)
	s.mux.HandleFunc("GET /metrics", s.metrics)
	s.mux.HandleFunc("GET /probe", s.probe)
	s.mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) {
		text(w, http.StatusOK, "raytap is healthy.")
	})
	s.mux.HandleFunc("GET /-/ready", func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Ready(); err != nil {
			text(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		text(w, http.StatusOK, "raytap is ready.")
	})
	s.mux.HandleFunc("POST /-/reload", func(w http.ResponseWriter, r *http.Request) {
		if err := o.Reload(r.Context()); err != nil {
			text(w, http.StatusInternalServerError, err.Error())
			return
		}
		text(w, http.StatusOK, "Configuration reloaded.")
	})
	return s, nil
}

// CheckConfigFile validates a web configuration; "" is valid.
func CheckConfigFile(file string) error {
	if err := toolkit.Validate(file); err != nil {
		return fmt.Errorf("web configuration %s: %w", file, err)
	}
	return nil
}

func text(w http.ResponseWriter, code int, s string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	fmt.Fprintln(w, s)
}

// ServeHTTP serves without TLS and authentication.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Run serves until ctx ends, and then waits a short time for requests in progress.
// An error means that a listener failed; the others are then closed.
func (s *Server) Run(ctx context.Context) error {
	// Requests outlive ctx by the grace, and no longer.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	errs := make(chan error, len(s.o.Listeners))
	servers := make([]*http.Server, len(s.o.Listeners))
	for i, l := range s.o.Listeners {
		// One server for each listener: exporter-toolkit wraps the handler of the
		// server that it gets.
		servers[i] = &http.Server{
			Handler:           s,
			BaseContext:       func(net.Listener) context.Context { return base },
			ReadHeaderTimeout: 10 * time.Second,
			WriteTimeout:      maxScrapeTimeout + 30*time.Second,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    64 << 10,
			ErrorLog:          slog.NewLogLogger(s.handler, slog.LevelDebug),
		}
		off := false
		flags := &toolkit.FlagConfig{WebConfigFile: &s.o.ConfigFile, WebSystemdSocket: &off}
		go func() { errs <- toolkit.Serve(l, servers[i], flags, s.slogger()) }()
	}
	var failed error
	running := len(servers)
	select {
	case <-ctx.Done():
	case failed = <-errs:
		running--
	}
	stop, stopped := context.WithTimeout(base, shutdownGrace)
	defer stopped()
	for i, server := range servers {
		if server.Shutdown(stop) != nil {
			cancel()
			server.Close()
		}
		s.o.Listeners[i].Close() // if its server did not start
	}
	for range running {
		<-errs
	}
	if failed != nil && !errors.Is(failed, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", failed)
	}
	return nil
}
