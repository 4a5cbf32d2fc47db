//go:build e2e && linux

package pipelines

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"raytap/test/program"
)

// written returns the records in texts, and checks that they are what the jobs printed.
func (s *pipeline) written(texts ...string) map[key]record {
	s.t.Helper()
	all := decode(s.t, texts...)
	joined, timed, relayed := 0, 0, 0
	for k, r := range all {
		if k.Event == "" && r.Lines > 1 {
			joined++
		}
		if r.LineTime != "" {
			timed++
		}
		if r.WorkerName != "" {
			relayed++
		}
	}
	if joined == 0 || timed == 0 || relayed == 0 {
		s.t.Fatalf("of %d records %d are multiline, %d have line_time and %d are a worker's: the test proves nothing", len(all), joined, timed, relayed)
	}
	for _, job := range s.jobs {
		s.compareLog(job.ID, string(job.Log()), all)
	}
	return all
}

// decode returns the records in texts.
func decode(t *testing.T, texts ...string) map[key]record {
	t.Helper()
	all := map[key]record{}
	for _, text := range texts {
		for line := range strings.Lines(text) {
			var r struct {
				Time, Session, Log, Source, Event, Message, Level string
				Cluster                                           string `json:"ray_cluster"`
				ID                                                string `json:"submission_id"`
				LineTime                                          string `json:"line_time"`
				ActorName                                         string `json:"actor_name"`
				WorkerName                                        string `json:"worker_name"`
				Epoch, Seq, Lines                                 int
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%v: %.200q", err, line)
			}
			all[key{r.Cluster, r.Session, cmp.Or(r.Log, r.ID), r.Epoch, r.Seq, r.Event}] = record{r.Time, r.Message, r.Level, r.LineTime, r.Source, r.ID, r.ActorName, r.WorkerName, r.Lines}
		}
	}
	return all
}

// compareLog checks that each line of a log is in the records of its job.
func (s *pipeline) compareLog(id, log string, all map[key]record) {
	s.t.Helper()
	var lines []string
	for line := range strings.Lines(log) {
		if line = strings.Trim(line, "\r\n"); line != "" {
			lines = append(lines, line)
		}
	}
	n := 0
	for _, k := range slices.SortedFunc(maps.Keys(all), func(a, b key) int { return cmp.Compare(a.Seq, b.Seq) }) {
		if k.Log != id || k.Event != "" {
			continue
		}
		r := all[k]
		count := max(r.Lines, 1)
		if k.Seq != n || n+count > len(lines) || r.Message != strings.Join(lines[n:n+count], "\n") {
			s.t.Fatalf("raytap has not written line %d of %s: the next record has seq %d and %d lines: %.200q", n, id, k.Seq, count, r.Message)
		}
		n += count
	}
	if n != len(lines) {
		s.t.Fatalf("raytap has written %d of %d lines of %s", n, len(lines), id)
	}
}

// stored returns all records in the store.
func (s *pipeline) stored() map[key][]record {
	s.t.Helper()
	all := map[key][]record{}
	text := program.Get(s.store + "/select/logsql/query?" + url.Values{"query": {
		"* | fields _time, _msg, ray_cluster, session, submission_id, log, source, epoch, seq, event, level, line_time, lines, actor_name, worker_name"}}.Encode())
	for line := range strings.Lines(text) {
		var r map[string]string
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			s.t.Fatalf("%v: %.200q", err, line)
		}
		k, got, err := fromStore(r)
		if err != nil {
			s.t.Fatalf("the store has something that is not a record: %v: %.300s", err, line)
		}
		all[k] = append(all[k], got)
	}
	return all
}

// fromStore converts a record from strings.
func fromStore(r map[string]string) (k key, got record, err error) {
	if r["lines"] == "" {
		r["lines"] = "0"
	}
	numbers := map[string]int{}
	for _, name := range []string{"epoch", "seq", "lines"} {
		if numbers[name], err = strconv.Atoi(r[name]); err != nil {
			return k, got, err
		}
	}
	k = key{r["ray_cluster"], r["session"], cmp.Or(r["log"], r["submission_id"]), numbers["epoch"], numbers["seq"], r["event"]}
	return k, record{r["_time"], r["_msg"], r["level"], r["line_time"], r["source"], r["submission_id"], r["actor_name"], r["worker_name"], numbers["lines"]}, nil
}

// awaitStored waits until the store has every record, and compares them. It returns the
// number of duplicated records.
func (s *pipeline) awaitStored(want map[key]record) (duplicated int) {
	s.t.Helper()
	got := s.stored()
	for limit := time.Now().Add(time.Minute); len(got) < len(want) && time.Now().Before(limit); got = s.stored() {
		select {
		case <-s.t.Context().Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	return s.compareStored(want, got)
}

// compareStored compares the records in a store with those that raytap wrote. It returns
// the number of duplicated records.
func (s *pipeline) compareStored(want map[key]record, got map[key][]record) (duplicated int) {
	s.t.Helper()
	lost, wrong := 0, 0
	for k, w := range want {
		if len(got[k]) == 0 {
			if lost++; lost <= 5 {
				s.t.Errorf("%+v is not in the store: %.100q", k, w.Message)
			}
		}
		for _, g := range got[k] {
			if !same(g, w) {
				if wrong++; wrong <= 5 {
					s.t.Errorf("%+v\nin the store: %.300s\nin the file:  %.300s", k, fmt.Sprintf("%#v", g), fmt.Sprintf("%#v", w))
				}
			}
		}
		if len(got[k]) > 1 {
			duplicated++
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			s.t.Errorf("%+v is in the store, but was not written", k)
		}
	}
	s.t.Logf("%d records, %d not in the store, %d changed, %d duplicated", len(want), lost, wrong, duplicated)
	return duplicated
}

// same reports whether a stored record equals the one in the file. Times may have
// different formats, but must be equal to the nanosecond.
func same(g, w record) bool {
	a, err1 := time.Parse(time.RFC3339Nano, g.Time)
	b, err2 := time.Parse(time.RFC3339Nano, w.Time)
	g.Time, w.Time = "", ""
	return err1 == nil && err2 == nil && a.Equal(b) && g == w
}
