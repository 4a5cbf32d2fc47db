package dashboard

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode/utf16"

	"raytap/ray"
	"raytap/ray/transport"
)

// This file tests responses recorded in the field, and malformed ones.

func fieldClient(t *testing.T, name string) *Client {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", "field", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return serveClient(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
}

// A value that JSON does not have is absent; all others are kept.
func TestMalformed_NaN(t *testing.T) {
	c := fieldClient(t, "nan-in-runtime-env")
	jobs, err := c.Jobs(t.Context())
	if err != nil || len(jobs) == 0 || c.SkippedRows()+c.SkippedFields() != 0 {
		t.Errorf("%d jobs, %v, %d skipped", len(jobs), err, c.SkippedRows())
	}
	c = fieldClient(t, "infinity-in-user-config")
	if s, err := c.Serve(t.Context()); err != nil || len(s.Applications) == 0 || c.SkippedRows()+c.SkippedFields() != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	// A configuration that cannot be sent again unchanged is not sent.
	s, _ := c.Serve(t.Context())
	if err := c.DeleteServeApplication(t.Context(), s.Applications[0].Name); ray.Code(err) != http.StatusBadRequest || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("delete: %v", err)
	}
}

// Only the malformed field or row is omitted, and it is counted.
func TestMalformed_Field(t *testing.T) {
	c := fieldClient(t, "one-odd-application")
	s, err := c.Serve(t.Context())
	if err != nil || len(s.Applications) == 0 || len(s.Proxies) == 0 || c.SkippedFields() != 1 || c.SkippedRows() != 0 {
		t.Errorf("%+v, %v, %d rows, %d fields skipped", s, err, c.SkippedRows(), c.SkippedFields())
	}
	c = fieldClient(t, "one-odd-demand")
	status, err := c.ClusterStatus(t.Context())
	if err != nil || len(status.Usage) == 0 || c.SkippedRows() != 1 {
		t.Errorf("%+v, %v, %d rows skipped", status, err, c.SkippedRows())
	}
	for _, d := range status.Pending {
		if len(d.Resources) == 0 || d.Count == 0 {
			t.Errorf("a demand for %v", d)
		}
	}
}

// A status that is not written yet, or never will be, is not an error.
func TestClusterStatus_Null(t *testing.T) {
	if s, err := fieldClient(t, "autoscaler-v2").ClusterStatus(t.Context()); err != nil || len(s.Usage) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

// listRequests are the requests for all lists of a cluster.
var listRequests = map[string]func(*testing.T, *Client) (any, error){
	"jobs":             func(t *testing.T, c *Client) (any, error) { return c.Jobs(t.Context()) },
	"nodes":            func(t *testing.T, c *Client) (any, error) { return c.Nodes(t.Context()) },
	"status":           func(t *testing.T, c *Client) (any, error) { return c.ClusterStatus(t.Context()) },
	"tasks":            func(t *testing.T, c *Client) (any, error) { return c.Tasks(t.Context()) },
	"actors":           func(t *testing.T, c *Client) (any, error) { return c.Actors(t.Context()) },
	"placement groups": func(t *testing.T, c *Client) (any, error) { return c.PlacementGroups(t.Context()) },
	"serve":            func(t *testing.T, c *Client) (any, error) { return c.Serve(t.Context()) },
	"version":          func(t *testing.T, c *Client) (any, error) { return c.Version(t.Context()) },
	"logs":             func(t *testing.T, c *Client) (any, error) { return c.jobLogsText(t.Context(), "x") },
	"stop":             func(t *testing.T, c *Client) (any, error) { return nil, c.StopJob(t.Context(), "x") },
	"job":              func(t *testing.T, c *Client) (any, error) { return c.Job(t.Context(), "x") },
	"health":           func(t *testing.T, c *Client) (any, error) { return nil, c.Health(t.Context()) },
}

// A response without the expected structure is an error that states what it was.
func TestMalformed_Response(t *testing.T) {
	for _, row := range []struct {
		name, body string
		status     int
		says       string
	}{
		{"null", `null`, 200, "null"},
		{"nothing", ``, 200, "empty"},
		{"an empty object", `{}`, 200, ""},
		{"no, with status 200", `{"detail":"Not_authenticated"}`, 200, "Not_authenticated"},
		{"another API's list", `{"items":[],"page":1}`, 200, "items"},
		{"a list in place of nothing", `{"result":true,"msg":"","data":{"result":{"total":3,"num_after_truncation":3,"num_filtered":3,"result":null}}}`, 200, ""},
		{"not implemented", `nothing here`, 501, "nothing here"},
		{"text", `hello`, 200, "hello"},
	} {
		for name, ask := range listRequests {
			c := serveClient(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(row.status)
				_, _ = io.WriteString(w, row.body)
			})
			got, err := ask(t, c)
			if err == nil {
				t.Errorf("%s: %s are %+v", row.name, name, got)
			} else if name == "jobs" && !strings.Contains(err.Error(), row.says) || strings.Contains(err.Error(), "500 (HTTP 200)") {
				t.Errorf("%s: %s: %v", row.name, name, err)
			}
		}
	}
}

// Any decodable body is decoded, whatever its headers; for others the error states
// what the response was.
func TestMalformed_ContentType(t *testing.T) {
	const list = `[{"submission_id":"a","status":"RUNNING","entrypoint":"é"}]`
	var wide strings.Builder
	for _, u := range utf16.Encode([]rune("\ufeff" + list)) {
		wide.WriteByte(byte(u))
		wide.WriteByte(byte(u >> 8))
	}
	var packed strings.Builder
	zip := gzip.NewWriter(&packed)
	_, _ = io.WriteString(zip, list)
	_ = zip.Close()
	for _, row := range []struct {
		name, kind, encoding, body, says string
		status                           int
	}{
		{"a gzip", "application/json", "gzip", packed.String(), "", 200},
		{"a gzip that is not announced", "application/json", "", packed.String(), "", 200},
		{"no gzip, though announced", "application/json", "gzip", list, "", 200},
		{"truncated gzip", "application/json", "gzip", packed.String()[:packed.Len()/2], "invalid gzip", 200},
		{"a byte order mark", "application/json", "", "\ufeff" + list, "", 200},
		{"JSON called HTML", "text/html", "", list, "", 200},
		{"JSON called nothing", "application/octet-stream", "", list, "", 200},
		{"UTF-16", "application/json", "", wide.String(), "UTF-16", 200},
		{"zstd", "application/json", "zstd", "\x28\xb5\x2f\xfd\x00\x00", "zstd", 200},
		{"br", "application/json", "br", "\x8b\x02\x80[]\x03", "compressed (Content-Encoding: br)", 200},
		{"a login", "text/html", "", "<!doctype html>", "is HTML, not JSON", 200},
		{"a proxy's page", "text/html", "", "<html>Bad Gateway</html>", "a proxy in front of", 502},
		{"a proxy's page", "text/html", "", "<html>Gateway Timeout</html>", "Gateway Timeout", 504},
	} {
		c := serveClient(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", row.kind)
			if row.encoding != "" {
				w.Header().Set("Content-Encoding", row.encoding)
			}
			w.WriteHeader(row.status)
			_, _ = io.WriteString(w, row.body)
		})
		jobs, err := c.Jobs(t.Context())
		switch {
		case row.says == "" && (err != nil || len(jobs) != 1 || jobs[0].Entrypoint != "é"):
			t.Errorf("%s: %+v, %v", row.name, jobs, err)
		case row.says != "" && (err == nil || !strings.Contains(err.Error(), row.says)):
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// longList writes the job list of an old head: n failed jobs with messages of 20,000
// characters, like Ray's excerpts of logs.
func longList(w io.Writer, n int) {
	message := strings.Repeat("0123456789abcdef a line of a log\\n", 600)
	_, _ = io.WriteString(w, "[")
	for i := range n {
		comma := ","
		if i == 0 {
			comma = ""
		}
		if _, err := fmt.Fprintf(w, `%s{"type":"SUBMISSION","submission_id":"raysubmit_%d","status":"FAILED","entrypoint":"python train.py","message":"%swhy","runtime_env":{"env_vars":{"A":NaN}},"start_time":1795532000000,"end_time":1795532600000}`, comma, i, message); err != nil {
			return
		}
	}
	_, _ = io.WriteString(w, "]")
}

// The job list of an old head is read, and its messages do not fill the memory.
func TestJobs_LongerThanMaxBody(t *testing.T) {
	const jobs, maxBody = 1000, 1 << 20 // 20 MB
	c := serveClient(t, func(w http.ResponseWriter, _ *http.Request) { longList(w, jobs) })
	tr, err := transport.New(transport.Options{URL: c.t.URL().String(), MaxBody: maxBody})
	if err != nil {
		t.Fatal(err)
	}
	if c, err = New(tr, Options{}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	before := heap()
	list, err := c.Jobs(t.Context())
	held := heap() - before
	if err != nil || len(list) != jobs || c.SkippedRows() != 0 {
		t.Fatalf("%d jobs, %v", len(list), err)
	}
	if held > jobs*(maxListMessage+2<<10) {
		t.Errorf("%d bytes are held for %d jobs", held, jobs)
	}
	if m := list[7].Message; len(m) > maxListMessage || !strings.HasPrefix(m, "0123") || !strings.HasSuffix(m, "why") {
		t.Errorf("a message of %d bytes, which ends in %q", len(m), m[len(m)-10:])
	}
	runtime.KeepAlive(list)
	if _, err := c.jobLogsText(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "max_body") {
		t.Errorf("another response that is too long: %v", err)
	}
}

// Rows without an id, and rows that repeat one, are counted as skipped.
func TestMalformed_RowWithoutID(t *testing.T) {
	for _, row := range []string{
		`{"node_id":"","state":"ALIVE"}`, `{"state":"ALIVE"}`, `{"node_id":null,"state":"ALIVE"}`, `{"node_id":"n"}`, `{"node_id":"n0","state":"ALIVE"}`,
		`{"task_id":null,"state":"RUNNING"}`, `{"task_id":"t"}`, `{"placement_group_id":"p"}`, `{"state":"CREATED"}`, `null`, `[]`,
	} {
		c := serveClient(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/nodes" {
				_, _ = io.WriteString(w, `{"result":true,"data":{"summary":[]}}`)
				return
			}
			_, _ = io.WriteString(w, stateAnswer(2, 2, 2, 1, row+`,{"node_id":"n0","task_id":"t0","placement_group_id":"p0","state":"ALIVE"}`))
		})
		nodes, err1 := c.stateNodes(t.Context())
		tasks, err2 := c.Tasks(t.Context())
		groups, err3 := c.PlacementGroups(t.Context())
		if err1 != nil || err2 != nil || err3 != nil || len(nodes) != 1 || len(tasks.Tasks) != 1 || len(groups.ByState) != 1 || groups.ByState["ALIVE"] != 1 {
			t.Errorf("%s: %+v, %+v, %+v, %v %v %v", row, nodes, tasks, groups, err1, err2, err3)
		}
		if c.SkippedRows() != 3 {
			t.Errorf("%s: %d rows skipped", row, c.SkippedRows())
		}
	}
}
