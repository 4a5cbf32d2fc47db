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

// elastic is what rsyslog needs of Elasticsearch: its bulk API, which creates a
// document under an id once and answers 409 to a second one, as its reference says.
type elastic struct {
	mu        sync.Mutex
	documents map[string]map[string]any
	refused   int
	wrong     []string
}

func (e *elastic) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path != "/_bulk" {
		fmt.Fprint(w, `{}`) // rsyslog asks whether it is there
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
			e.wrong = append(e.wrong, err.Error())
			break
		}
		if err := d.Decode(&document); err != nil {
			e.wrong = append(e.wrong, err.Error())
			break
		}
		a, ok := action["create"]
		if !ok || a.Index != "raytap" || a.ID == "" {
			e.wrong = append(e.wrong, fmt.Sprint(action))
		}
		status := http.StatusCreated
		item := map[string]any{"_index": a.Index, "_id": a.ID}
		if _, known := e.documents[a.ID]; known {
			status, failed = http.StatusConflict, true
			item["error"] = map[string]any{"type": "version_conflict_engine_exception", "reason": "document already exists", "index": a.Index}
			e.refused++
		} else {
			e.documents[a.ID] = document
			item["result"] = "created"
		}
		item["status"] = status
		items = append(items, map[string]any{"create": item})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"took": 1, "errors": failed, "items": items})
}

// stored are the documents as records; their ids are not looked at here.
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
			t.Fatalf("%s is no record: %v: %v", id, err, document)
		}
		all[k] = append(all[k], r)
	}
	return all
}

// With the changes that rsyslog.conf names for Elasticsearch, each record becomes one
// document, though rotated files are read again: the second is refused, and rsyslog
// goes on.
func TestPipelines_ElasticsearchDeduplicates(t *testing.T) {
	t.Parallel()
	e := &elastic{documents: map[string]map[string]any{}}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	s := newScene(t, nil)
	path := s.config("rsyslog.conf")
	text := read(t, path)
	for old, now := range map[string]string{
		`{\"_time\":`:                     `{\"@timestamp\":`,
		"    set $!_msg = $!message;\n":   "",
		"    unset $!message;\n":          "",
		s.store + "/insert/elasticsearch": server.URL,
	} {
		if strings.Count(text, old) != 1 {
			t.Fatalf("rsyslog.conf has %q %d times", old, strings.Count(text, old))
		}
		text = strings.Replace(text, old, now, 1)
	}
	program.File(t, path, text)
	p := program.Start(t, s.rsyslogd(path))
	s.rotate(2)
	s.end()
	s.raytap.Until(time.Minute, "the ends are written", func() bool { return s.ended(strings.Join(s.files(), "")) })
	want := s.written(s.files()...)
	p.Until(time.Minute, "each record is there, and doubles were refused", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.documents) >= len(want) && e.refused > 0
	})
	p.Stop(30 * time.Second)
	if doubled := s.differ(want, e.stored(t)); doubled > 0 {
		t.Errorf("%d records are more than one document", doubled)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.wrong) > 0 {
		t.Errorf("Elasticsearch would not take %d actions, such as %.300s", len(e.wrong), e.wrong[0])
	}
	t.Logf("%d documents, %d doubles refused", len(e.documents), e.refused)
}
