package web

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// family returns a family with a series for each value of its label.
func family(name, label string, values ...string) *dto.MetricFamily {
	f := &dto.MetricFamily{Name: &name, Help: new("Of a test."), Type: dto.MetricType_GAUGE.Enum()}
	for _, v := range values {
		f.Metric = append(f.Metric, &dto.Metric{Label: []*dto.LabelPair{{Name: &label, Value: &v}}, Gauge: &dto.Gauge{Value: new(1.0)}})
	}
	return f
}

// newServer returns a server with one healthy cluster and the options changed by
// change.
func newServer(t *testing.T, change func(*Options)) (*Server, *test.Hook) {
	t.Helper()
	log, hook := test.NewNullLogger()
	process := prometheus.NewRegistry()
	process.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "raytap_self", Help: "Itself."}, func() float64 { return 7 }))
	o := Options{
		Process: process,
		Collect: func(_ context.Context, only []string) []*dto.MetricFamily {
			return []*dto.MetricFamily{family("raytap_up", "ray_cluster", "prod"), family("raytap_only", "collector", only...)}
		},
		Collectors: func() []string { return []string{"jobs", "nodes"} },
		Probe: func(q url.Values) (Collect, func(), error) {
			if q.Get("target") == "" {
				return nil, nil, &HTTPError{http.StatusBadRequest, "the parameter target is missing"}
			}
			return func(context.Context, []string) []*dto.MetricFamily {
				return []*dto.MetricFamily{family("raytap_up", "ray_cluster", q.Get("target"))}
			}, func() {}, nil
		},
		Status: func() Status { return Status{Version: "1.2.3"} },
		Ready:  func() error { return nil },
		Reload: func(context.Context) error { return nil },
		Offset: 500 * time.Millisecond,
		Log:    log,
	}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s, hook
}

func ask(s *Server, method, path string, header ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestServer_Routes(t *testing.T) {
	broken := func(o *Options) {
		o.Ready = func() error { return errors.New("2 of 3 clusters have not been checked yet") }
		o.Reload = func(context.Context) error { return errors.New("raytap.yaml:3: log.level: wrong") }
	}
	for name, tt := range map[string]struct {
		method, path string
		change       func(*Options)
		code         int
		contains     string
	}{
		"status page":                     {"GET", "/", nil, 200, "<h1>raytap <small>1.2.3</small></h1>"},
		"status page links":               {"GET", "/", nil, 200, `href="metrics"`},
		"JSON status":                     {"GET", "/api/v1/status", nil, 200, `"version": "1.2.3"`},
		"some collectors":                 {"GET", "/metrics?collect[]=jobs&collect[]=nodes", nil, 200, "raytap_only{collector=\"jobs\"} 1\nraytap_only{collector=\"nodes\"} 1"},
		"unknown collector":               {"GET", "/metrics?collect[]=jobbs", nil, 400, "the collector \"jobbs\" is unknown or disabled; enabled are jobs, nodes"},
		"probe":                           {"GET", "/probe?target=ray:8265", nil, 200, `raytap_up{ray_cluster="ray:8265"} 1`},
		"probe without target":            {"GET", "/probe", nil, 400, "the parameter target is missing"},
		"probe with unknown parameter":    {"GET", "/probe?target=a&modul=b", nil, 400, "unknown parameter \"modul\"; parameters are target, module, api, cluster and collect[]"},
		"probe of two targets":            {"GET", "/probe?target=a&target=b", nil, 400, "the parameter target is set more than once"},
		"probe of unknown collector":      {"GET", "/probe?target=a&collect[]=x", nil, 400, "unknown or disabled"},
		"metrics of clusters":             {"GET", "/metrics", nil, 200, `raytap_up{ray_cluster="prod"} 1`},
		"metrics of the process":          {"GET", "/metrics", nil, 200, "raytap_self 7"},
		"healthy":                         {"GET", "/-/healthy", broken, 200, "healthy"},
		"ready":                           {"GET", "/-/ready", nil, 200, "ready"},
		"not ready":                       {"GET", "/-/ready", broken, 503, "2 of 3 clusters"},
		"reload":                          {"POST", "/-/reload", nil, 200, "reloaded"},
		"reload of invalid configuration": {"POST", "/-/reload", broken, 500, "log.level: wrong"},
		"reload with GET":                 {"GET", "/-/reload", nil, 405, ""},
		"anything else":                   {"GET", "/metricsx", nil, 404, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newServer(t, tt.change)
			r := ask(s, tt.method, tt.path)
			if got := body(t, r); r.StatusCode != tt.code || !strings.Contains(got, tt.contains) {
				t.Errorf("got %d\n%s\nwant %d with %q", r.StatusCode, got, tt.code, tt.contains)
			}
		})
	}
}

func TestMetrics_ContentTypes(t *testing.T) {
	plain := func(r io.Reader) (io.Reader, error) { return r, nil }
	gz := func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }
	zst := func(r io.Reader) (io.Reader, error) {
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		return z, err
	}
	const open, old = "application/openmetrics-text; version=1.0.0", "text/plain; version=0.0.4"
	for name, tt := range map[string]struct {
		accept, encodings string
		wantType, want    string
		read              func(io.Reader) (io.Reader, error)
	}{
		"plain text":              {"", "", "text/plain", "", plain},
		"OpenMetrics":             {open, "", "application/openmetrics-text", "", plain},
		"gzip":                    {old, "gzip", "text/plain", "gzip", gz},
		"zstd":                    {old, "zstd", "text/plain", "zstd", zst},
		"OpenMetrics with zstd":   {open, "zstd", "application/openmetrics-text", "zstd", zst},
		"what Prometheus prefers": {open + ";q=0.9," + old + ";q=0.5", "gzip", "application/openmetrics-text", "gzip", gz},
		"unknown encoding":        {old, "br", "text/plain", "", plain},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newServer(t, nil)
			r := ask(s, "GET", "/metrics", "Accept", tt.accept, "Accept-Encoding", tt.encodings)
			if ct, ce := r.Header.Get("Content-Type"), r.Header.Get("Content-Encoding"); !strings.HasPrefix(ct, tt.wantType) || ce != tt.want {
				t.Errorf("content type %q, encoding %q", ct, ce)
			}
			in, err := tt.read(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(in)
			if err != nil || !strings.Contains(string(text), `raytap_up{ray_cluster="prod"} 1`) {
				t.Errorf("%v, got %s", err, text)
			}
			if tt.wantType != "text/plain" && !strings.HasSuffix(string(text), "# EOF\n") {
				t.Errorf("no end of OpenMetrics: %s", text)
			}
		})
	}
}

// Otherwise two scrape jobs with different collectors would both store raytap's own
// metrics.
func TestMetrics_SomeCollectors(t *testing.T) {
	s, _ := newServer(t, nil)
	for path, want := range map[string]bool{"/metrics": true, "/metrics?collect[]=jobs": false, "/probe?target=a": false} {
		if got := strings.Contains(body(t, ask(s, "GET", path)), "raytap_self 7"); got != want {
			t.Errorf("%s has metrics of raytap itself: %v", path, got)
		}
	}
}

// sending is a prometheus.Collector without descriptions.
type sending func(chan<- prometheus.Metric)

func (sending) Describe(chan<- *prometheus.Desc)      {}
func (f sending) Collect(ch chan<- prometheus.Metric) { f(ch) }

func TestMetrics_GatherError(t *testing.T) {
	s, hook := newServer(t, func(o *Options) {
		broken := prometheus.NewDesc("raytap_broken", "A test.", nil, nil)
		o.Process.MustRegister(sending(func(ch chan<- prometheus.Metric) {
			ch <- prometheus.NewInvalidMetric(broken, errors.New("invalid"))
		}))
	})
	for range 3 {
		if got := body(t, ask(s, "GET", "/metrics")); !strings.Contains(got, "raytap_self 7") || !strings.Contains(got, `raytap_up{ray_cluster="prod"} 1`) {
			t.Errorf("got %s", got)
		}
	}
	if n := len(hook.AllEntries()); n != 1 {
		t.Errorf("%d lines in the log for three scrapes, want 1", n)
	}
	if got := body(t, ask(s, "GET", "/metrics")); !strings.Contains(got, `promhttp_metric_handler_errors_total{cause="gathering"} 3`) {
		t.Errorf("errors are not counted: %s", got)
	}
}

func TestMetrics_Timeout(t *testing.T) {
	for name, tt := range map[string]struct {
		header string
		want   time.Duration
	}{
		"announced minus the offset":    {"10", 9500 * time.Millisecond},
		"fractions":                     {"2.25", 1750 * time.Millisecond},
		"shorter than twice the offset": {"0.6", 300 * time.Millisecond},
		"none announced":                {"", scrapeTimeout},
		"nonsense":                      {"soon", scrapeTimeout},
		"negative":                      {"-1", scrapeTimeout},
		"not a number":                  {"NaN", scrapeTimeout},
		"infinite":                      {"+Inf", maxScrapeTimeout - 500*time.Millisecond},
		"longer than the maximum":       {"86400", maxScrapeTimeout - 500*time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			var got time.Duration
			s, _ := newServer(t, func(o *Options) {
				o.Collect = func(ctx context.Context, _ []string) []*dto.MetricFamily {
					at, _ := ctx.Deadline()
					got = time.Until(at)
					return nil
				}
			})
			ask(s, "GET", "/metrics", "X-Prometheus-Scrape-Timeout-Seconds", tt.header)
			if got > tt.want || got < tt.want-5*time.Second {
				t.Errorf("a scrape has %s, want %s", got, tt.want)
			}
			if exact := s.timeout(http.Header{"X-Prometheus-Scrape-Timeout-Seconds": {tt.header}}); exact != tt.want {
				t.Errorf("timeout %s, want %s", exact, tt.want)
			}
		})
	}
}

func TestMetrics_TooManyScrapes(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	const maxScrapes = 3
	s, _ := newServer(t, func(o *Options) {
		o.MaxScrapes = maxScrapes
		o.Collect = func(context.Context, []string) []*dto.MetricFamily {
			inside <- struct{}{}
			<-release
			return nil
		}
	})
	done := make(chan struct{})
	for range maxScrapes {
		go func() { ask(s, "GET", "/metrics"); done <- struct{}{} }()
		<-inside
	}
	for _, path := range []string{"/metrics", "/probe?target=a"} {
		if r := ask(s, "GET", path); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body(t, r), "web.max_concurrent_scrapes is 3") {
			t.Errorf("one more, %s, gets %d", path, r.StatusCode)
		}
	}
	if r := ask(s, "GET", "/-/healthy"); r.StatusCode != http.StatusOK {
		t.Errorf("health gets %d", r.StatusCode)
	}
	close(release)
	for range maxScrapes {
		<-done
	}
}

func TestServer_Run(t *testing.T) {
	listeners, err := Listen([]string{"127.0.0.1:0", "127.0.0.1:0"}, false)
	if err != nil {
		t.Fatal(err)
	}
	inside := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	s, _ := newServer(t, func(o *Options) {
		o.Listeners = listeners
		o.Collect = func(context.Context, []string) []*dto.MetricFamily {
			close(inside)
			<-ctx.Done() // the stop comes while the scrape is in progress
			return []*dto.MetricFamily{family("raytap_up", "ray_cluster", "prod")}
		}
	})
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, l := range listeners {
		r, err := client.Get("http://" + l.Addr().String() + "/-/healthy")
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
	}
	got := make(chan string)
	go func() {
		r, err := client.Get("http://" + listeners[0].Addr().String() + "/metrics")
		if err != nil {
			got <- err.Error()
			return
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		got <- string(b)
	}()
	<-inside
	stop()
	if page := <-got; !strings.Contains(page, "raytap_up") {
		t.Errorf("the scrape in progress got %s", page)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run returned %v", err)
	}
	if c, err := net.Dial("tcp", listeners[1].Addr().String()); err == nil {
		c.Close()
		t.Error("a listener is still open")
	}
}

func TestServer_BasicAuth(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("open sesame"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "web.yaml")
	if err := os.WriteFile(file, []byte("basic_auth_users: {ali: '"+string(hash)+"'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	listeners, err := Listen([]string{"127.0.0.1:0", "127.0.0.1:0"}, false)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := newServer(t, func(o *Options) { o.Listeners, o.ConfigFile = listeners, file })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, l := range listeners {
		for password, want := range map[string]int{"": 401, "wrong": 401, "open sesame": 200} {
			r, err := http.NewRequest("GET", "http://"+l.Addr().String()+"/metrics", nil)
			if err != nil {
				t.Fatal(err)
			}
			if password != "" {
				r.SetBasicAuth("ali", password)
			}
			res, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%s with password %q: %d, want %d", l.Addr(), password, res.StatusCode, want)
			}
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestServer_BrokenListener(t *testing.T) {
	listeners, err := Listen([]string{"127.0.0.1:0", "127.0.0.1:0"}, false)
	if err != nil {
		t.Fatal(err)
	}
	listeners[0].Close()
	s, _ := newServer(t, func(o *Options) { o.Listeners = listeners })
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "serve HTTP") {
		t.Errorf("got %v", err)
	}
}

func TestListen_BusyPort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = Listen([]string{"127.0.0.1:0", taken.Addr().String()}, false)
	if err == nil || !strings.Contains(err.Error(), taken.Addr().String()+": the port is in use") {
		t.Errorf("got %v", err)
	}
}

func TestNew_InvalidWebConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "web.yaml")
	if err := os.WriteFile(file, []byte("tls_server_config: {cert_file: none.pem, key_file: none.key}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{ConfigFile: file, Log: logrus.New()}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v", err)
	}
}
