package web

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var upDesc = prometheus.NewDesc("raytap_up", "Whether it is up.", []string{"ray_cluster"}, nil)

// newServer gives a page over one healthy cluster, changed by change.
func newServer(t *testing.T, change func(*Options)) (*Server, *test.Hook) {
	t.Helper()
	log, hook := test.NewNullLogger()
	process := prometheus.NewRegistry()
	process.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "raytap_self", Help: "Itself."}, func() float64 { return 7 }))
	o := Options{
		Process: process,
		Collect: func(_ context.Context, ch chan<- prometheus.Metric) {
			ch <- prometheus.MustNewConstMetric(upDesc, prometheus.GaugeValue, 1, "prod")
		},
		Ready:   func() error { return nil },
		Reload:  func(context.Context) error { return nil },
		Offset:  500 * time.Millisecond,
		Version: "1.2.3",
		Log:     log,
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

func TestRoutes(t *testing.T) {
	broken := func(o *Options) {
		o.Ready = func() error { return errors.New("2 of 3 clusters were not tried yet") }
		o.Reload = func(context.Context) error { return errors.New("raytap.yaml:3: log.level: wrong") }
	}
	for name, tt := range map[string]struct {
		method, path string
		change       func(*Options)
		code         int
		contains     string
	}{
		"landing page":                {"GET", "/", nil, 200, "Version: 1.2.3"},
		"landing page links":          {"GET", "/", nil, 200, `href="/metrics"`},
		"metrics of clusters":         {"GET", "/metrics", nil, 200, `raytap_up{ray_cluster="prod"} 1`},
		"metrics of the process":      {"GET", "/metrics", nil, 200, "raytap_self 7"},
		"healthy":                     {"GET", "/-/healthy", broken, 200, "healthy"},
		"ready":                       {"GET", "/-/ready", nil, 200, "ready"},
		"not ready":                   {"GET", "/-/ready", broken, 503, "2 of 3 clusters"},
		"reload":                      {"POST", "/-/reload", nil, 200, "reloaded"},
		"a wrong configuration":       {"POST", "/-/reload", broken, 500, "log.level: wrong"},
		"reload is no link to follow": {"GET", "/-/reload", nil, 405, ""},
		"anything else":               {"GET", "/metricsx", nil, 404, ""},
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

func TestMetricsSpeakWhatIsAskedFor(t *testing.T) {
	s, _ := newServer(t, nil)
	r := ask(s, "GET", "/metrics", "Accept", "application/openmetrics-text; version=1.0.0", "Accept-Encoding", "gzip")
	if ct := r.Header.Get("Content-Type"); !strings.HasPrefix(ct, "application/openmetrics-text") {
		t.Errorf("content type %q", ct)
	}
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil || !strings.HasSuffix(string(text), "# EOF\n") {
		t.Errorf("%v, got %s", err, text)
	}
}

func TestAnIncompletePageIsServedAndSaid(t *testing.T) {
	s, hook := newServer(t, func(o *Options) {
		o.Collect = func(_ context.Context, ch chan<- prometheus.Metric) {
			for range 2 { // the same series twice
				ch <- prometheus.MustNewConstMetric(upDesc, prometheus.GaugeValue, 1, "prod")
			}
		}
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

func TestDeadlineOfAScrape(t *testing.T) {
	for name, tt := range map[string]struct {
		header string
		want   time.Duration
	}{
		"as announced, less the offset":    {"10", 9500 * time.Millisecond},
		"fractions":                        {"2.25", 1750 * time.Millisecond},
		"shorter than twice the offset":    {"0.6", 300 * time.Millisecond},
		"none announced":                   {"", scrapeTimeout},
		"nonsense":                         {"soon", scrapeTimeout},
		"negative":                         {"-1", scrapeTimeout},
		"not a number":                     {"NaN", scrapeTimeout},
		"endless":                          {"+Inf", maxScrapeTimeout - 500*time.Millisecond},
		"more than raytap holds open for ": {"86400", maxScrapeTimeout - 500*time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			var got time.Duration
			s, _ := newServer(t, func(o *Options) {
				o.Collect = func(ctx context.Context, _ chan<- prometheus.Metric) {
					at, _ := ctx.Deadline()
					got = time.Until(at)
				}
			})
			ask(s, "GET", "/metrics", "X-Prometheus-Scrape-Timeout-Seconds", tt.header)
			if got > tt.want || got < tt.want-5*time.Second {
				t.Errorf("a scrape has %s, want %s", got, tt.want)
			}
			if exact := s.deadline(http.Header{"X-Prometheus-Scrape-Timeout-Seconds": {tt.header}}); exact != tt.want {
				t.Errorf("deadline %s, want %s", exact, tt.want)
			}
		})
	}
}

func TestTooManyScrapesAreRefused(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	s, _ := newServer(t, func(o *Options) {
		o.Collect = func(context.Context, chan<- prometheus.Metric) {
			inside <- struct{}{}
			<-release
		}
	})
	done := make(chan struct{})
	for range maxScrapes {
		go func() { ask(s, "GET", "/metrics"); done <- struct{}{} }()
		<-inside
	}
	if r := ask(s, "GET", "/metrics"); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one more is answered %d", r.StatusCode)
	}
	close(release)
	for range maxScrapes {
		<-done
	}
}

func TestRunServesUntilToldAndLetsRequestsEnd(t *testing.T) {
	listeners, err := Listen([]string{"127.0.0.1:0", "127.0.0.1:0"}, false)
	if err != nil {
		t.Fatal(err)
	}
	inside := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	s, _ := newServer(t, func(o *Options) {
		o.Listeners = listeners
		o.Collect = func(scrape context.Context, ch chan<- prometheus.Metric) {
			close(inside)
			<-ctx.Done() // the stop comes while the scrape is in progress
			ch <- prometheus.MustNewConstMetric(upDesc, prometheus.GaugeValue, 1, "prod")
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
		t.Errorf("Run gave %v", err)
	}
	if c, err := net.Dial("tcp", listeners[1].Addr().String()); err == nil {
		c.Close()
		t.Error("a listener is still open")
	}
}

func TestAPasswordGuardsEveryListener(t *testing.T) {
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

func TestABrokenListenerEndsRun(t *testing.T) {
	listeners, err := Listen([]string{"127.0.0.1:0", "127.0.0.1:0"}, false)
	if err != nil {
		t.Fatal(err)
	}
	listeners[0].Close()
	s, _ := newServer(t, func(o *Options) { o.Listeners = listeners })
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "serve the page") {
		t.Errorf("got %v", err)
	}
}

func TestABusyPortIsOneClearError(t *testing.T) {
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

func TestAWrongWebConfigurationIsAStartUpError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "web.yaml")
	if err := os.WriteFile(file, []byte("tls_server_config: {cert_file: none.pem, key_file: none.key}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{ConfigFile: file, Log: logrus.New()}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v", err)
	}
}
