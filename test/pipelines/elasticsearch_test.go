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

// With the changes for Elasticsearch documented in rsyslog.conf, each record becomes one
// document, although rotated files are read again: duplicates are rejected, and rsyslog
// continues.
func TestPipelines_ElasticsearchDeduplicates(t *testing.T) {
	t.Parallel()
	e := &elastic{documents: map[string]map[string]any{}}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	s := newPipeline(t, nil)
	path := s.config("rsyslog.conf")
	text := read(t, path)
	for old, replacement := range map[string]string{
		`{\"_time\":`:                     `{\"@timestamp\":`,
		"    set $!_msg = $!message;\n":   "",
		"    unset $!message;\n":          "",
		s.store + "/insert/elasticsearch": server.URL,
	} {
		if strings.Count(text, old) != 1 {
			t.Fatalf("rsyslog.conf has %q %d times, want once", old, strings.Count(text, old))
		}
		text = strings.Replace(text, old, replacement, 1)
	}
	program.File(t, path, text)
	p := program.Start(t, s.rsyslogd(path))
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
	if duplicated := s.compareStored(want, e.stored(t)); duplicated > 0 {
		t.Errorf("%d records are in more than one document", duplicated)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.invalid) > 0 {
		t.Errorf("%d invalid actions, for example %.300s", len(e.invalid), e.invalid[0])
	}
	t.Logf("%d documents, %d duplicates rejected", len(e.documents), e.conflicts)
}
