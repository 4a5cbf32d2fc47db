//go:build e2e && linux

package test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// prometheus is a real Prometheus that scrapes raytap and evaluates the rules in
// deploy/prometheus every interval.
type prometheus struct{ url, interval string }

func startPrometheus(t *testing.T, d *daemon, interval string) prometheus {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	err := os.WriteFile(config, fmt.Appendf(nil, `global: {scrape_interval: %[1]s, scrape_timeout: %[1]s, evaluation_interval: %[1]s}
rule_files: %[2]s
scrape_configs:
  - job_name: raytap
    static_configs: [{targets: [%[3]q]}]
`, interval, ruleFiles(t), strings.TrimPrefix(d.url, "http://")), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	listen := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	startServer(t, "prometheus", "--config.file="+config, "--web.listen-address="+listen,
		"--storage.tsdb.path="+filepath.Join(dir, "data"))
	return prometheus{"http://" + listen, interval}
}

// check waits for a number of scrapes, and fails the test if one failed or returned too
// few samples.
func (p prometheus) check(t *testing.T, minScrapes float64) {
	t.Helper()
	var scrapes float64
	eventually(t, 10*time.Minute, "Prometheus has scraped for a while", func() (err error) {
		scrapes, err = p.query(t, `count_over_time(up{job="raytap"}[10m])`)
		if err == nil && scrapes < minScrapes {
			err = fmt.Errorf("%g scrapes", scrapes)
		}
		return err
	})
	up, err := p.query(t, `sum_over_time(up{job="raytap"}[10m])`)
	if err != nil {
		t.Fatal(err)
	}
	samples, err := p.query(t, `min_over_time(scrape_samples_scraped{job="raytap"}[10m])`)
	if err != nil {
		t.Fatal(err)
	}
	if up < scrapes || samples < 50 {
		t.Errorf("of %g scrapes %g succeeded; the smallest has %g samples", scrapes, up, samples)
	}
	seconds, err := p.query(t, `max_over_time(scrape_duration_seconds{job="raytap"}[10m])`)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("Prometheus: %g scrapes, none failed, at least %g samples each, the slowest took %.3f s", scrapes, samples, seconds)
}

// query returns the value of a query with one result.
func (p prometheus) query(t *testing.T, query string) (float64, error) {
	t.Helper()
	series, err := p.series(t, query)
	if err != nil {
		return 0, err
	}
	if len(series) != 1 {
		return 0, fmt.Errorf("query %s: %d results", query, len(series))
	}
	return strconv.ParseFloat(fmt.Sprint(series[0].Value[1]), 64)
}

// waitFor waits until a query has a result.
func (p prometheus) waitFor(t *testing.T, limit time.Duration, what, query string) {
	t.Helper()
	eventually(t, limit, what, func() error {
		series, err := p.series(t, query)
		if err == nil && len(series) == 0 {
			err = fmt.Errorf("no result for %s", query)
		}
		return err
	})
}

// intervals returns the duration of n intervals in Prometheus's notation.
func (p prometheus) intervals(n int) string {
	interval, err := time.ParseDuration(p.interval)
	if err != nil {
		panic(err) // a constant in a test
	}
	return fmt.Sprintf("%dms", (time.Duration(n) * interval).Milliseconds())
}

// sample is a series of a query result.
type sample struct {
	Metric map[string]string
	Value  [2]any
}

func (p prometheus) series(t *testing.T, query string) ([]sample, error) {
	t.Helper()
	var res struct{ Data struct{ Result []sample } }
	err := p.get(t, "/api/v1/query?"+url.Values{"query": {query}}.Encode(), &res)
	return res.Data.Result, err
}

func (p prometheus) get(t *testing.T, path string, out any) error {
	t.Helper()
	body, err := get(t.Context(), p.url+path)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, out)
}

// ruleFiles returns the rule files in deploy/prometheus as a YAML list.
func ruleFiles(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("../deploy/prometheus/*.rules.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no rules: %v", err)
	}
	for i := range files {
		if files[i], err = filepath.Abs(files[i]); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(files)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
