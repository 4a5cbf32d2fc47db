package web

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// scrapeTimeout is the deadline of a scrape that announces none.
	scrapeTimeout = 30 * time.Second
	// maxScrapeTimeout bounds what a scrape may announce.
	maxScrapeTimeout = 2 * time.Minute
	// maxScrapes bounds the scrapes in progress; more are answered 503.
	maxScrapes = 32
)

// collectFunc is a prometheus.Collector that describes nothing: what a cluster
// shows is known only once it was asked.
type collectFunc func(chan<- prometheus.Metric)

func (collectFunc) Describe(chan<- *prometheus.Desc)      {}
func (f collectFunc) Collect(ch chan<- prometheus.Metric) { f(ch) }

// metrics serves the process's registry together with what collect gives
// within the scrape's deadline, on a registry of its own for each scrape.
func (s *Server) metrics() http.Handler {
	slots := make(chan struct{}, maxScrapes)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			http.Error(w, "too many scrapes in progress", http.StatusServiceUnavailable)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), s.deadline(r.Header))
		defer cancel()
		clusters := prometheus.NewRegistry()
		clusters.MustRegister(collectFunc(func(ch chan<- prometheus.Metric) { s.o.Collect(ctx, ch) }))
		promhttp.HandlerFor(prometheus.Gatherers{s.o.Process, clusters}, promhttp.HandlerOpts{
			ErrorLog:          scrapeLog{s},
			ErrorHandling:     promhttp.ContinueOnError,
			Registry:          s.o.Process,
			EnableOpenMetrics: true,
		}).ServeHTTP(w, r)
	})
}

// deadline is the time that a scrape may take: what Prometheus announces less
// the offset, or half of it where the offset would leave less.
func (s *Server) deadline(h http.Header) time.Duration {
	seconds, err := strconv.ParseFloat(h.Get("X-Prometheus-Scrape-Timeout-Seconds"), 64)
	if err != nil || seconds <= 0 || math.IsNaN(seconds) {
		return scrapeTimeout
	}
	d := time.Duration(min(seconds, maxScrapeTimeout.Seconds()) * float64(time.Second))
	return max(d-s.o.Offset, d/2)
}

// scrapeLog logs what promhttp could not gather or send, at a bounded rate: it
// says so again on each scrape.
type scrapeLog struct{ s *Server }

func (l scrapeLog) Println(v ...any) {
	l.s.scrape.Failed("the page is incomplete", joined(v))
}

// slogger is what exporter-toolkit and net/http log to.
func (s *Server) slogger() *slog.Logger { return slog.New(s.handler) }
