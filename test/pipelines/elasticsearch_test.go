//go:build e2e && linux

package pipelines

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"raytap/lines"
	logrecord "raytap/shipper/record"
	"raytap/test/program"
)

// elastic is a fake of Elasticsearch's bulk API as rsyslog uses it. It creates a document
// with an ID once, and returns 409 for a second one, according to the API reference.
type elastic struct {
	mu        sync.Mutex
	documents map[string]map[string]any
	conflicts int
	invalid   []string
}

func (e *elastic) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path != "/_bulk" {
		fmt.Fprint(w, `{}`) // rsyslog checks the connection
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	items, failed := []any{}, false
	for d := json.NewDecoder(r.Body); d.More(); {
		var action map[string]struct {
			Index string `json:"_index"`
			ID    string `json:"_id"`
		}
		var document map[string]any
		if err := d.Decode(&action); err != nil {
			e.invalid = append(e.invalid, err.Error())
			break
		}
		if err := d.Decode(&document); err != nil {
			e.invalid = append(e.invalid, err.Error())
			break
		}
		a, ok := action["create"]
		if !ok || a.Index != "raytap" || a.ID == "" {
			e.invalid = append(e.invalid, fmt.Sprint(action))
		}
		status := http.StatusCreated
		item := map[string]any{"_index": a.Index, "_id": a.ID}
		if _, exists := e.documents[a.ID]; exists {
			status, failed = http.StatusConflict, true
			item["error"] = map[string]any{"type": "version_conflict_engine_exception", "reason": "document already exists", "index": a.Index}
			e.conflicts++
		} else {
			e.documents[a.ID] = document
			item["result"] = "created"
		}
		item["status"] = status
		items = append(items, map[string]any{"create": item})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"took": 1, "errors": failed, "items": items})
}

// stored returns the documents as records, without their IDs.
func (e *elastic) stored(t *testing.T) map[key][]record {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	all := map[key][]record{}
	for id, document := range e.documents {
		fields := map[string]string{}
		for name, value := range document {
			if s, ok := value.(string); ok {
				fields[name] = s
			} else if text, err := json.Marshal(value); err == nil {
				fields[name] = string(text)
			}
		}
		fields["_time"], fields["_msg"] = fields["@timestamp"], fields["message"]
		k, r, err := fromStore(fields)
		if err != nil {
			t.Fatalf("document %s is not a record: %v: %v", id, err, document)
		}
		all[k] = append(all[k], r)
	}
	return all
}

// elasticsearchConfig returns the path of rsyslog.conf with the changes for Elasticsearch
// that it documents, for the server at url.
func (s *pipeline) elasticsearchConfig(url string) string {
	s.t.Helper()
	path := s.config("rsyslog.conf")
	text := read(s.t, path)
	for old, replacement := range map[string]string{
		`{\"_time\":`:                     `{\"@timestamp\":`,
		"    set $!_msg = $!message;\n":   "",
		"    unset $!message;\n":          "",
		s.store + "/insert/elasticsearch": url,
	} {
		if strings.Count(text, old) != 1 {
			s.t.Fatalf("rsyslog.conf has %q %d times, want once", old, strings.Count(text, old))
		}
		text = strings.Replace(text, old, replacement, 1)
	}
	return program.File(s.t, path, text)
}

// newElastic starts a fake of Elasticsearch and returns it with its URL.
func newElastic(t *testing.T) (*elastic, string) {
	e := &elastic{documents: map[string]map[string]any{}}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	return e, server.URL
}

// check compares the documents with the records that were written.
func (e *elastic) check(s *pipeline, want map[key]record) {
	s.t.Helper()
	if duplicated := s.compareStored(want, e.stored(s.t)); duplicated > 0 {
		s.t.Errorf("%d records are in more than one document", duplicated)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.invalid) > 0 {
		s.t.Errorf("%d invalid actions, for example %.300s", len(e.invalid), e.invalid[0])
	}
	s.t.Logf("%d documents, %d duplicates rejected", len(e.documents), e.conflicts)
}

// With the changes for Elasticsearch documented in rsyslog.conf, each record becomes one
// document, although rotated files are read again: duplicates are rejected, and rsyslog
// continues.
func TestPipelines_ElasticsearchDeduplicates(t *testing.T) {
	t.Parallel()
	e, url := newElastic(t)
	s := newPipeline(t, nil)
	p := program.Start(t, s.rsyslogd(s.elasticsearchConfig(url)))
	s.rotate(2)
	s.end()
	s.raytap.Until(time.Minute, "all end events are written", func() bool { return s.ended(strings.Join(s.files(), "")) })
	want := s.written(s.files()...)
	p.Until(time.Minute, "every record is stored, and duplicates were rejected", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.documents) >= len(want) && e.conflicts > 0
	})
	p.Stop(30 * time.Second)
	e.check(s, want)
}

// Twenty workers of one job, whose lines have the same numbers and often the same text, its
// driver, and a log of no job, are as many documents as lines.
func TestPipelines_ElasticsearchKeepsEachWorker(t *testing.T) {
	t.Parallel()
	e, url := newElastic(t)
	s := &pipeline{t: t, dir: t.TempDir(), store: "http://127.0.0.1:9"} // no store, and no raytap
	const count = 50
	now := time.Now().UnixNano()
	var text []byte
	write := func(o logrecord.Options) {
		o.Cluster, o.Session = "prod", "session_1"
		encoder := logrecord.NewEncoder(o)
		for seq := range uint64(count) {
			line := fmt.Appendf(nil, "step %d", seq)
			text = encoder.AppendLine(text, now, lines.Line{Text: line, Size: int64(len(line)), Seq: seq}, 0)
		}
		text = encoder.AppendEvent(text, now, logrecord.Event{Type: logrecord.EventEnd, Seq: count, Message: "the log was read to its end"})
	}
	write(logrecord.Options{SubmissionID: "job"})
	write(logrecord.Options{Origin: logrecord.Origin{Log: "n1/raylet.out", Source: "system"}})
	for worker := range 20 {
		write(logrecord.Options{SubmissionID: "job", Origin: logrecord.Origin{
			Log: fmt.Sprintf("worker-%d.out", worker), Source: "worker", Stream: "stdout", ActorName: "Trainer", PID: 100 + worker}})
	}
	want := decode(t, string(text))
	if len(want) != 22*(count+1) {
		t.Fatalf("%d records have a key of their own, want %d", len(want), 22*(count+1))
	}
	// Under both names, as after a rotation: each comes twice.
	program.File(t, s.file()+".000001", string(text))
	program.File(t, s.file(), string(text))
	p := program.Start(t, s.rsyslogd(s.elasticsearchConfig(url)))
	p.Until(time.Minute, "each record came twice", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.documents)+e.conflicts >= 2*len(want)
	})
	p.Stop(30 * time.Second)
	e.check(s, want)
}
