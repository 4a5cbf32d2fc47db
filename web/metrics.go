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
	// scrapeTimeout is the deadline of a scrape that announces none.
	scrapeTimeout = 30 * time.Second
	// maxScrapeTimeout bounds what a scrape may announce.
	maxScrapeTimeout = 2 * time.Minute
	// defaultMaxScrapes is what a zero MaxScrapes stands for.
	defaultMaxScrapes = 32
)

// Collect gives metrics when ctx ends at the latest. only names the collectors
// that are asked for; empty: all. Nobody changes what it gives.
type Collect func(ctx context.Context, only []string) []*dto.MetricFamily

// Refusal is an error that tells whoever asked why, with an HTTP status.
type Refusal struct {
	Code int
	Text string
}

// Error is the text.
func (r *Refusal) Error() string { return r.Text }

// metrics serves the process's registry together with what collect gives
// within the scrape's deadline. A scrape that asks for some collectors gets
// those alone, so that several can share raytap's metrics without doubling its own.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	only := r.URL.Query()["collect[]"]
	if err := s.known(only); err != nil {
		refuse(w, err)
		return
	}
	var own prometheus.Gatherer = prometheus.Gatherers{} // nothing
	if len(only) == 0 {
		own = s.o.Process
	}
	s.page(w, r, only, s.o.Collect, own)
}

// probe serves the metrics of the one cluster that the request names.
func (s *Server) probe(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	err := s.known(q["collect[]"])
	if err == nil {
		err = understood(q)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	collect, release, err := s.o.Probe(q)
	if err != nil {
		refuse(w, err)
		return
	}
	defer release()
	s.page(w, r, q["collect[]"], collect, prometheus.Gatherers{})
}

// understood tells which parameter of a probe means nothing, or stands twice.
func understood(q url.Values) error {
	known := []string{"target", "module", "api", "cluster"}
	for name, values := range q {
		switch {
		case name == "collect[]":
		case !slices.Contains(known, name):
			return &Refusal{http.StatusBadRequest, fmt.Sprintf("the parameter %.40q is unknown; known are %s and collect[]", name, strings.Join(known, ", "))}
		case len(values) > 1:
			return &Refusal{http.StatusBadRequest, "the parameter " + name + " is given more than once"}
		}
	}
	return nil
}

// known tells which of the collectors that a scrape names there is not.
func (s *Server) known(only []string) error {
	if len(only) == 0 {
		return nil
	}
	all := s.o.Collectors()
	for _, name := range only {
		if !slices.Contains(all, name) {
			return &Refusal{http.StatusBadRequest, fmt.Sprintf("there is no collector %.40q, or it is off; there are %s", name, strings.Join(all, ", "))}
		}
	}
	return nil
}

// refuse answers with an error: a Refusal's own status, else 500.
func refuse(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	var r *Refusal
	if errors.As(err, &r) {
		code = r.Code
	}
	text(w, code, err.Error())
}

// page answers with what collect gives within the scrape's deadline, and with
// what own has, which is other families.
func (s *Server) page(w http.ResponseWriter, r *http.Request, only []string, collect Collect, own prometheus.Gatherer) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		text(w, http.StatusServiceUnavailable, "too many scrapes are in progress: web.max_concurrent_scrapes is "+strconv.Itoa(cap(s.slots)))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.deadline(r.Header))
	defer cancel()
	promhttp.HandlerFor(prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		clusters := collect(ctx, only)
		all, err := own.Gather()
		// No Gatherers: it checks each series again, which costs as much as all else.
		all = append(all, clusters...)
		if s.o.Drops != nil {
			all = slices.DeleteFunc(all, func(f *dto.MetricFamily) bool { return s.o.Drops(f.GetName()) })
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
