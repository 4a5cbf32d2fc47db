// Package responses checks how raytap reads the responses of a cluster, whatever they
// contain: recorded responses in which one value at a time is changed.
package responses

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"raytap/collector"
	"raytap/ray"
	"raytap/ray/cache"
	"raytap/ray/synapsetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestResponses_Ray(t *testing.T) {
	seen := map[string]map[string]bool{} // by path: a place is changed in one recording only
	for _, version := range []string{"2.60.0", "2.40.0", "2.9.3"} {
		base, all := recorded(t, version)
		for _, a := range all {
			if seen[a.path] == nil {
				seen[a.path] = map[string]bool{}
			}
			t.Run(version+"/"+a.name, func(t *testing.T) { checkInvariants(t, base, a, false, seen[a.path]) })
		}
	}
}

func TestResponses_Synapse(t *testing.T) {
	fake := synapsetest.New(t)
	fake.Submit("train-7", synapsetest.JobOptions{JobID: "02000000", Metadata: map[string]string{"job_name": "train"}}).End("FAILED", 7)
	fake.Submit("waiting", synapsetest.JobOptions{Pending: true})
	all := []response{
		{"health", "/health/", nil, readVersion, nil},
		{"jobs", "/jobs/", nil, readJobs, []string{"jobs"}},
		{"nodes", "/nodes/", nil, readNodes, []string{"nodes"}},
		{"tasks", "/tasks/", nil, readTasks, []string{"tasks"}},
		{"serve_applications", "/serve_applications/", nil, readServe, []string{"serve"}},
		{"resources", "/resources/cluster/", nil, readHardware, []string{"hardware"}},
	}
	base := map[string][]byte{}
	for i, a := range all {
		res, err := http.Get(fake.URL() + a.path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res.Status, err)
		}
		all[i].text, base[a.path] = text, text
	}
	http.DefaultClient.CloseIdleConnections()
	for _, a := range all {
		t.Run(a.name, func(t *testing.T) { checkInvariants(t, base, a, true, map[string]bool{}) })
	}
}

// A server that is neither Ray nor a Synapse agent is not up, whatever it returns.
func TestResponses_OtherServer(t *testing.T) {
	for _, row := range []struct {
		status     int
		kind, body string
	}{
		{501, "text/plain", "not implemented"},
		{200, "application/json", `{"detail":"Not_authenticated"}`},
		{200, "application/json", `null`},
		{200, "application/json", ``},
		{200, "application/json", `{}`},
		{200, "text/html", `<html>hello`},
		{200, "text/plain", `ok`},
		{404, "text/plain", `404: Not Found`},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", row.kind)
			w.WriteHeader(row.status)
			_, _ = io.WriteString(w, row.body)
		}))
		for _, isSynapse := range []bool{false, true} {
			c := dial(t, s.URL, isSynapse)
			cached := cache.New(c, cache.Options{})
			series := 0
			for _, f := range collector.Gather(collector.New(cached, collector.Options{Cluster: "c"}).Collect(t.Context())) {
				for _, m := range f.GetMetric() {
					switch v := m.GetGauge().GetValue(); f.GetName() {
					case "raytap_up":
						series++
						if v != 0 {
							t.Errorf("%d %s: up is 1 (Synapse API: %t)", row.status, row.body, isSynapse)
						}
					case "raytap_collector_success":
						series++
						if v != 0 {
							t.Errorf("%d %s: collector %s succeeds (Synapse API: %t)", row.status, row.body, labels(m), isSynapse)
						}
					}
				}
			}
			if series < 5 {
				t.Errorf("%d series of up and success, want at least 5", series)
			}
			cached.Close()
			c.Close()
		}
		s.Close()
	}
}

// checkInvariants changes one value of a response after the other and checks that
// raytap does not crash; that the exposition is valid, without duplicate series and
// without series of objects that have no name; that all rows except the changed one
// stay the same, and that lost rows are counted. A response of another type must be an
// error, not an empty list.
func checkInvariants(t *testing.T, base map[string][]byte, a response, isSynapse bool, seen map[string]bool) {
	s := serve(t, withText(base, a.path, a.text))
	c := dial(t, s.URL, isSynapse)
	defer c.Close()
	want, err := a.read(t.Context(), c)
	if err != nil || len(want) == 0 || c.SkippedRows()+c.SkippedFields() != 0 {
		t.Fatalf("unchanged response: %d rows, %v, %d rows and %d fields skipped", len(want), err, c.SkippedRows(), c.SkippedFields())
	}
	try := func(at place, ch change, text []byte) {
		texts := withText(base, a.path, text)
		s.texts.Store(&texts)
		before := c.SkippedRows() + c.SkippedFields()
		got, err := a.read(t.Context(), c)
		counted := c.SkippedRows()+c.SkippedFields() > before
		if err := compare(want, got, err, at, ch, counted); err != nil {
			t.Errorf("%s at %s: %v", ch.name, at, err)
		}
		// The same rows have the same exposition.
		if err != nil || reflect.DeepEqual(got, want) {
			return
		}
		if err := checkExposition(t, c, a.collectors); err != nil {
			t.Errorf("%s at %s: %v", ch.name, at, err)
		}
	}
	for _, at := range places(parse(t, a.text), nil, seen) {
		template := templateOf(t, a.text, at)
		for _, ch := range append(changes[:len(changes):len(changes)], duplicate(t, at)) {
			if template.suits(ch) {
				try(at, ch, template.with(ch))
			}
		}
	}
}

// compare compares the rows of a changed response with those of the original.
func compare(want, got rows, err error, at place, ch change, counted bool) error {
	if err != nil {
		var e *ray.Error
		switch {
		case ch.same:
			return fmt.Errorf("unexpected error: %w", err)
		case errors.As(err, &e) && e.Code != http.StatusInternalServerError:
			return fmt.Errorf("unexpected kind of error: %w", err)
		case errors.As(err, &e) && (len(e.Detail) > 300 || e.Detail == ""):
			return fmt.Errorf("an error with a detail of %d bytes", len(e.Detail))
		}
		return nil
	}
	switch at[len(at)-1] {
	case "total", "num_after_truncation", "num_filtered":
		return nil // the next request depends on these
	}
	if n, ok := got[unmappedKey].(int); ok && n > want[unmappedKey].(int) {
		counted = true
	}
	lost, changed := 0, 0
	for id, old := range want {
		if id == unmappedKey {
			continue
		}
		now, ok := got[id]
		switch {
		case !ok:
			lost++
		case !reflect.DeepEqual(old, now):
			changed++
		}
	}
	switch {
	case ch.same && (lost+changed > 0 || len(got) != len(want)):
		return fmt.Errorf("%d rows lost, %d changed: %+v", lost, changed, got)
	case lost+changed > 1 && !counted && !ch.absent:
		return fmt.Errorf("one change loses %d rows and changes %d", lost, changed)
	case lost > 0 && len(got) < len(want) && !counted && !ch.absent:
		return fmt.Errorf("%d lost rows are not counted", lost)
	}
	return nil
}

// checkExposition collects metrics, and parses the exposition like Prometheus does.
func checkExposition(t *testing.T, c client, collectors []string) error {
	cached := cache.New(c, cache.Options{})
	defer cached.Close()
	families := collector.Gather(collector.New(cached, collector.Options{Cluster: "c", SkippedRows: c.SkippedRows}).Collect(t.Context(), append(collectors, "version")...))
	var b strings.Builder
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			return fmt.Errorf("write the exposition: %w", err)
		}
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	read, err := parser.TextToMetricFamilies(strings.NewReader(b.String()))
	if err != nil {
		return fmt.Errorf("parse the exposition: %w", err)
	}
	for name, f := range read {
		seen := map[string]bool{}
		for _, m := range f.GetMetric() {
			key := labels(m)
			if seen[key] {
				return fmt.Errorf("duplicate series %s{%s}", name, key)
			}
			seen[key] = true
			for _, identity := range []string{`state=""`, `status=""`, `node_id=""`, `application=""`, `deployment=""`, `submission_id="",job_id=""`} {
				if strings.Contains(","+key, ","+identity) && (identity != `node_id=""` || strings.HasPrefix(name, "raytap_node_")) {
					return fmt.Errorf("%s{%s} has no name", name, key)
				}
			}
		}
	}
	return nil
}

func labels(m *dto.Metric) string {
	var b strings.Builder
	for _, l := range m.GetLabel() {
		fmt.Fprintf(&b, "%s=%q,", l.GetName(), l.GetValue())
	}
	return b.String()
}
