// Package web serves raytap's own page: its state, /metrics, /probe, health and
// reload, through Prometheus' exporter-toolkit, which adds TLS and passwords.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"github.com/sirupsen/logrus"
	slogrus "github.com/sirupsen/logrus/hooks/slog"

	"raytap/logthrottle"
)

// shutdownGrace is how long a request in progress may take once Run is to end.
const shutdownGrace = 2 * time.Second

// Options are what the page needs. All but ConfigFile are required.
type Options struct {
	// Listeners are bound already; Run closes them.
	Listeners []net.Listener
	// ConfigFile is exporter-toolkit's web configuration; "" is plain http.
	ConfigFile string
	// Process holds the process's own metrics.
	Process *prometheus.Registry
	// Collect gives the clusters' metrics.
	Collect Collect
	// Collectors names what Collect can be asked for.
	Collectors func() []string
	// Probe gives what collects the one cluster that a request's parameters
	// target, module, api and cluster name, and what is to be called behind it. Its
	// error is a *Refusal where the request is at fault.
	Probe func(q url.Values) (collect Collect, release func(), err error)
	// Drops reports whether a family is left out of all pages; nil: none is.
	Drops func(family string) bool
	// MaxScrapes bounds the requests to /metrics and /probe in progress; 0 is 32.
	MaxScrapes int
	// Status tells how raytap fares, for its page and for scripts.
	Status func() Status
	// Ready tells why the daemon is not ready yet; nil: it is.
	Ready func() error
	// Reload reads the configuration again; its error tells what is wrong with it.
	Reload func(ctx context.Context) error
	// Offset is taken off the deadline that a scrape announces.
	Offset time.Duration
	Log    *logrus.Logger
}

// Server is the page.
type Server struct {
	o       Options
	handler slog.Handler
	mux     *http.ServeMux
	slots   chan struct{} // one element a scrape in progress
	scrape  *logthrottle.Condition
}

// New checks the web configuration and builds the page. It starts nothing.
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
		text(w, http.StatusOK, "The configuration was reloaded.")
	})
	return s, nil
}

// CheckConfigFile tells what is wrong with a web configuration; "" is right.
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

// ServeHTTP serves the page without TLS and passwords.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Run serves until ctx is done, then lets requests in progress end for a short
// while. An error means that a listener broke; the others are closed then.
func (s *Server) Run(ctx context.Context) error {
	// Requests outlive ctx by the grace, and no longer.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	errs := make(chan error, len(s.o.Listeners))
	servers := make([]*http.Server, len(s.o.Listeners))
	for i, l := range s.o.Listeners {
		// One server each: exporter-toolkit changes the handler of the one that
		// it is given, once for each listener.
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
		s.o.Listeners[i].Close() // one that its server never came to serve
	}
	for range running {
		<-errs
	}
	if failed != nil && !errors.Is(failed, http.ErrServerClosed) {
		return fmt.Errorf("serve the page: %w", failed)
	}
	return nil
}

// joined makes one error of what a Println was given.
func joined(v []any) error {
	return errors.New(strings.TrimSpace(fmt.Sprintln(v...)))
}
