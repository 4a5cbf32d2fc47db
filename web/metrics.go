package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	_ "github.com/prometheus/client_golang/prometheus/promhttp/zstd" // promhttp compresses with it then
	dto "github.com/prometheus/client_model/go"
)

const (
	// scrapeTimeout is the timeout of a scrape that announces none.
	scrapeTimeout = 30 * time.Second
	// maxScrapeTimeout bounds the timeout that a scrape announces.
	maxScrapeTimeout = 2 * time.Minute
	// defaultMaxScrapes is the default of Options.MaxScrapes.
	defaultMaxScrapes = 32
)

// Collect returns metrics, when ctx ends at the latest. only has the names of the
// requested collectors; empty: all. Callers do not change the result.
type Collect func(ctx context.Context, only []string) []*dto.MetricFamily

// HTTPError is an error with an HTTP status, for the client.
type HTTPError struct {
	Code int
	Text string
}

// Error returns the text.
func (e *HTTPError) Error() string { return e.Text }

// metrics serves the metrics of the clusters and of raytap itself. A scrape of some
// collectors gets only theirs, so that several such scrapes do not duplicate
// raytap's own.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	only := r.URL.Query()["collect[]"]
	if err := s.checkCollectors(only); err != nil {
		writeError(w, err)
		return
	}
	var own prometheus.Gatherer = prometheus.Gatherers{} // none
	if len(only) == 0 {
		own = s.o.Process
	}
	s.serveMetrics(w, r, only, s.o.Collect, own)
}

// probe serves the metrics of the cluster that the request names.
func (s *Server) probe(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	err := s.checkCollectors(q["collect[]"])
	if err == nil {
		err = checkProbeParams(q)
	}
	if err != nil {
		writeError(w, err)
		return
	}
	collect, release, err := s.o.Probe(q)
	if err != nil {
		writeError(w, err)
		return
	}
	defer release()
	s.serveMetrics(w, r, q["collect[]"], collect, prometheus.Gatherers{})
}

// checkProbeParams returns an error for unknown and duplicate parameters.
func checkProbeParams(q url.Values) error {
	known := []string{"target", "module", "api", "cluster"}
	for name, values := range q {
		switch {
		case name == "collect[]":
		case !slices.Contains(known, name):
			return &HTTPError{http.StatusBadRequest, fmt.Sprintf("unknown parameter %.40q; parameters are %s and collect[]", name, strings.Join(known, ", "))}
		case len(values) > 1:
			return &HTTPError{http.StatusBadRequest, "the parameter " + name + " is set more than once"}
		}
	}
	return nil
}

// checkCollectors returns an error if only has the name of an unknown collector.
func (s *Server) checkCollectors(only []string) error {
	if len(only) == 0 {
		return nil
	}
	all := s.o.Collectors()
	for _, name := range only {
		if !slices.Contains(all, name) {
			return &HTTPError{http.StatusBadRequest, fmt.Sprintf("the collector %.40q is unknown or disabled; enabled are %s", name, strings.Join(all, ", "))}
		}
	}
	return nil
}

// writeError writes an error with the status of an HTTPError, else 500.
func writeError(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	var e *HTTPError
	if errors.As(err, &e) {
		code = e.Code
	}
	text(w, code, err.Error())
}

// serveMetrics writes the metrics that collect returns within the timeout of the
// scrape, and those of own, which has other families.
func (s *Server) serveMetrics(w http.ResponseWriter, r *http.Request, only []string, collect Collect, own prometheus.Gatherer) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		text(w, http.StatusServiceUnavailable, "too many concurrent scrapes: web.max_concurrent_scrapes is "+strconv.Itoa(cap(s.slots)))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout(r.Header))
	defer cancel()
	promhttp.HandlerFor(prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		clusters := collect(ctx, only)
		all, err := own.Gather()
		// Not prometheus.Gatherers: it checks each series again, which doubles the cost.
		all = append(all, clusters...)
		if s.o.Excluded != nil {
			all = slices.DeleteFunc(all, func(f *dto.MetricFamily) bool { return s.o.Excluded(f.GetName()) })
		}
		slices.SortFunc(all, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
		return all, err
	}), promhttp.HandlerOpts{
		ErrorLog:          scrapeLog{s},
		ErrorHandling:     promhttp.ContinueOnError,
		Registry:          s.o.Process,
		EnableOpenMetrics: true,
	}).ServeHTTP(w, r)
}

// timeout returns how long a scrape may take: the timeout that Prometheus announces
// minus the offset, but at least half of it.
func (s *Server) timeout(h http.Header) time.Duration {
	seconds, err := strconv.ParseFloat(h.Get("X-Prometheus-Scrape-Timeout-Seconds"), 64)
	if err != nil || seconds <= 0 || math.IsNaN(seconds) {
		return scrapeTimeout
	}
	d := time.Duration(min(seconds, maxScrapeTimeout.Seconds()) * float64(time.Second))
	return max(d-s.o.Offset, d/2)
}

// scrapeLog logs what promhttp could not gather or send, at a bounded rate.
type scrapeLog struct{ s *Server }

// Println implements promhttp.Logger.
func (l scrapeLog) Println(v ...any) {
	l.s.scrape.Failed("Metrics are incomplete", errors.New(strings.TrimSpace(fmt.Sprintln(v...))))
}

// slogger returns the logger of exporter-toolkit and net/http.
func (s *Server) slogger() *slog.Logger { return slog.New(s.handler) }
