package raytest

import (
	"bytes"
	"encoding/json"
	"html"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The recordings node_logs_* are of real heads, with other addresses, directories and
// names of hosts. Where they have no version in them, they are of 2.60.0, and 2.40.0 and
// 2.9.3 were seen to do the same.

func nodeLogs(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/node_logs_" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRecordings_AgentIndex makes the files of a recorded directory and compares the
// fake's index with Ray's.
func TestRecordings_AgentIndex(t *testing.T) {
	link := regexp.MustCompile(`<a href="/logs/[^"]*">([^<]*)</a>`)
	for dir, recording := range map[string]string{"": "root", "old/": "old", "events/": "events", "serve/": "serve"} {
		want := string(nodeLogs(t, "index_"+recording+".html"))
		node := New(t).Nodes()[0]
		names := link.FindAllStringSubmatch(want, -1)
		for _, m := range names {
			name := html.UnescapeString(m[1])
			if strings.HasSuffix(name, "/") {
				name += "file"
			}
			node.WriteFile(dir+name, "")
		}
		_, _, got := ask(t, http.MethodGet, node.AgentURL()+"/logs/"+dir)
		if len(names) == 0 || got != want {
			t.Errorf("index of %q with %d names: %s\nwant %s", dir, len(names), got, want)
		}
	}
}

// TestRecordings_AgentResponses sends the recorded requests for a file, an empty one and
// an absent one, and compares statuses, headers and bodies.
func TestRecordings_AgentResponses(t *testing.T) {
	var exchanges []struct {
		Method  string            `json:"method"`
		Path    string            `json:"path"`
		Request map[string]string `json:"request_headers"`
		Status  int               `json:"status"`
		Headers map[string]string `json:"headers"`
		Body    string            `json:"body"`
	}
	if err := json.Unmarshal(nodeLogs(t, "headers.json"), &exchanges); err != nil {
		t.Fatal(err)
	}
	node := New(t).Nodes()[0]
	node.WriteFile("node_logs.out", "0123456789")
	node.WriteFile("node_logs_empty.out", "")
	for _, name := range node.Files() {
		node.SetModified(name, time.Unix(1764550000, 123456789))
	}
	for _, e := range exchanges {
		var header []string
		for name, value := range e.Request {
			header = append(header, name, value)
		}
		if slices.Contains(header, "If-Modified-Since") {
			continue // raytap never sends it
		}
		status, got, body := ask(t, e.Method, node.AgentURL()+e.Path, header...)
		headers := map[string]string{}
		for name := range got {
			headers[name] = got.Get(name)
		}
		for _, name := range []string{"Date", "Transfer-Encoding"} {
			delete(headers, name)
			delete(e.Headers, name)
		}
		if e.Status == http.StatusNotFound || e.Status == http.StatusRequestedRangeNotSatisfiable {
			delete(headers, "Content-Length") // Ray sends an empty chunked body
		}
		if status != e.Status || body != e.Body || !reflect.DeepEqual(headers, e.Headers) {
			t.Errorf("%s %s %v: %d, %v, %q\nwant %d, %v, %q", e.Method, e.Path, e.Request, status, headers, body, e.Status, e.Headers, e.Body)
		}
	}
}

// TestRecordings_Lines: what Ray writes into logs, as far as raytap relies on it.
func TestRecordings_Lines(t *testing.T) {
	var logs []struct {
		Ray  string `json:"ray"`
		File string `json:"file"`
		Text string `json:"text"`
	}
	if err := json.Unmarshal(nodeLogs(t, "lines.json"), &logs); err != nil {
		t.Fatal(err)
	}
	workerFile := regexp.MustCompile(`^(old/)?worker-[0-9a-f]{56}-[0-9a-f]{8}-\d+\.(out|err)$`)
	relayed := regexp.MustCompile(`\x1b\[36m\(\S+ pid=\d+(, ip=[0-9.]+)?\)\x1b\[0m `)
	workers, relays := map[string]int{}, map[string]int{}
	for _, log := range logs {
		switch {
		case workerFile.MatchString(log.File):
			workers[log.Ray]++
			if !regexp.MustCompile(`^:job_id:[0-9a-f]{8}\n:(actor|task)_name:.+\n`).MatchString(log.Text) {
				t.Errorf("%s %s begins with %.80q", log.Ray, log.File, log.Text)
			}
		case strings.HasPrefix(log.File, "job-driver-"):
			relays[log.Ray] += len(relayed.FindAllString(log.Text, -1))
		case !strings.HasPrefix(log.File, "serve/"):
			t.Errorf("what is %s?", log.File)
		}
	}
	for _, version := range []string{"2.9.3", "2.40.0", "2.60.0"} {
		if workers[version] < 16 || relays[version] < 20 {
			t.Errorf("%s: %d files of workers, %d relayed lines", version, workers[version], relays[version])
		}
	}
}

// TestRecordings_JSONLines: the keys that lines in JSON begin and end with.
func TestRecordings_JSONLines(t *testing.T) {
	for name, keys := range map[string][]string{
		"json.jsonl":   {"asctime", "levelname", "message", "worker_id", "node_id", "timestamp_ns"},
		"events.jsonl": {"event_id", "source_type", "label", "severity", "message", "timestamp", "custom_fields"},
	} {
		text := nodeLogs(t, name)
		if bytes.Count(text, []byte("\n")) < 5 {
			t.Errorf("%s has too few lines", name)
		}
		for line := range bytes.Lines(text) {
			var object map[string]json.RawMessage
			if err := json.Unmarshal(line, &object); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, key := range keys {
				if object[key] == nil {
					t.Errorf("%s: no %s in %s", name, key, line)
				}
			}
		}
	}
}
