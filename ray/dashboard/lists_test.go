package dashboard

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"raytap/ray"
)

// stateAnswer returns a State API response of n rows of the same text, with # replaced
// by the row's number.
func stateAnswer(total, afterCut, matched, n int, row string) string {
	rows := make([]string, n)
	for i := range rows {
		rows[i] = strings.ReplaceAll(row, "#", strconv.Itoa(i))
	}
	return fmt.Sprintf(`{"result":true,"msg":"","data":{"result":{"total":%d,"num_after_truncation":%d,"num_filtered":%d,"result":[%s],"partial_failure_warning":"","warnings":null}}}`,
		total, afterCut, matched, strings.Join(rows, ","))
}

// taskSource responds like a head that has tasks by state and has dropped some
// attempts (2.60.0: the GCS filters, and every total includes the dropped ones).
func taskSource(most, dropped int, byState map[string]int, queried *[]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		state, not := q.Get("filter_values"), q.Get("filter_predicates") == "!="
		*queried = append(*queried, q.Get("filter_predicates")+state)
		n := 0
		for s, count := range byState {
			if (s == state) != not {
				n += count
			}
		}
		rows := min(n, most)
		shown := rows
		if q.Get("limit") == "1" {
			shown = min(1, rows)
		}
		_, _ = io.WriteString(w, stateAnswer(n+dropped, rows, rows, shown, `{"task_id":"a#","state":"RUNNING","attempt_number":"2"}`))
	}
}

func TestTasks_Truncated(t *testing.T) {
	for _, row := range []struct {
		name          string
		most, dropped int
		have          map[string]int
		total         int
		cut           bool
		byState       map[string]int
		requests      int
	}{
		{"all there", 100, 0, map[string]int{"FINISHED": 500, "RUNNING": 20, "FAILED": 3}, 23, false, nil, 1},
		{"none", 100, 0, nil, 0, false, nil, 1},
		{"only dropped ones are missing", 100, 5000, map[string]int{"FINISHED": 90, "RUNNING": 20}, 20, false, nil, 2},
		{"cut", 100, 0, map[string]int{"RUNNING": 90, "FAILED": 150}, 240, true, map[string]int{"RUNNING": 90, "FAILED": 150}, 14},
		{"cut, and dropped ones", 100, 5000, map[string]int{"FINISHED": 9, "RUNNING": 90, "FAILED": 150}, 240, true, map[string]int{"RUNNING": 90, "FAILED": 150}, 14},
	} {
		t.Run(row.name, func(t *testing.T) {
			var queried []string
			list, err := serveClient(t, taskSource(row.most, row.dropped, row.have, &queried)).Tasks(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if list.Total != row.total || list.Truncated != row.cut || !reflect.DeepEqual(list.ByState, row.byState) || list.Dropped != row.dropped {
				t.Errorf("total %d, truncated %t, by state %v, dropped %d", list.Total, list.Truncated, list.ByState, list.Dropped)
			}
			if len(queried) != row.requests || queried[0] != "!=FINISHED" {
				t.Errorf("states queried: %v", queried)
			}
			if len(list.Tasks) > 0 && list.Tasks[0].Attempt != 2 {
				t.Errorf("task is %+v", list.Tasks[0])
			}
		})
	}
}

func TestTasks_TotalsWhileRayDrops(t *testing.T) {
	const step = 1000 // attempts dropped between two requests
	dropped := 0
	var queried []string
	have := map[string]int{"RUNNING": 90, "FAILED": 150}
	c := serveClient(t, func(w http.ResponseWriter, r *http.Request) {
		if len(queried) >= 2 {
			dropped += step
		}
		taskSource(100, dropped, have, &queried)(w, r)
	})
	list, err := c.Tasks(t.Context())
	if err != nil || !list.Truncated || len(list.ByState) != 2 {
		t.Fatalf("truncated %t, by state %v, %v", list.Truncated, list.ByState, err)
	}
	if n := list.ByState["RUNNING"]; n != 90 || list.Total != n+list.ByState["FAILED"] {
		t.Errorf("%d RUNNING", n)
	}
	if n := list.ByState["FAILED"]; n < 150 || n > 150+step {
		t.Errorf("%d FAILED", n)
	}
}

func TestTasks_OldRay(t *testing.T) {
	// 2.40.0: the filter runs after the truncation, and rows that do not match are counted.
	for stored, cut := range map[int]bool{500: false, 30000: true} {
		c := serveClient(t, func(w http.ResponseWriter, r *http.Request) {
			matched := 3
			if r.URL.Query().Get("filter_predicates") == "=" {
				matched = 0
			}
			_, _ = io.WriteString(w, stateAnswer(stored+7, min(stored, 10000), matched, matched, `{"task_id":"a#","state":"FAILED"}`))
		})
		list, err := c.Tasks(t.Context())
		if err != nil || list.Truncated != cut || list.ByState != nil || len(list.Tasks) != 3 {
			t.Errorf("%d stored: %+v, %v", stored, list, err)
		}
	}
}

func TestActors_ExactCounts(t *testing.T) {
	const most = 10000
	for _, row := range []struct {
		name string
		have map[string]int
		want map[string]int
		cut  bool
	}{
		{"few", map[string]int{"ALIVE": 3, "DEAD": 2}, map[string]int{"ALIVE": 3, "DEAD": 2}, false},
		{"none", nil, map[string]int{}, false},
		{"many, no state too big", map[string]int{"ALIVE": 9000, "DEAD": 9000}, map[string]int{"ALIVE": 9000, "DEAD": 9000}, false},
		{"one state too big", map[string]int{"ALIVE": 30, "DEAD": 25000}, map[string]int{"ALIVE": 30, "DEAD": 25000}, false},
		{"two states too big", map[string]int{"ALIVE": 11000, "DEAD": 25000}, map[string]int{"ALIVE": most, "DEAD": most}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			total := 0
			for _, n := range row.have {
				total += n
			}
			c := serveClient(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/summarize") {
					states := []string{}
					for s, n := range row.have {
						states = append(states, fmt.Sprintf(`"%s":%d`, s, min(n, most)))
					}
					_, _ = fmt.Fprintf(w, `{"result":true,"data":{"result":{"total":%d,"num_after_truncation":%d,"num_filtered":%d,"result":{"node_id_to_summary":{"cluster":{"summary":{"A":{"class_name":"A","state_counts":{%s}}},"total_actors":1}}}}}}`,
						total, min(total, most), min(total, most), strings.Join(states, ","))
					return
				}
				n := row.have[r.URL.Query().Get("filter_values")]
				got := min(n, most)
				_, _ = io.WriteString(w, stateAnswer(total, total-n+got, got, min(1, got), `{"state":"x"}`))
			})
			got, err := c.Actors(t.Context())
			if err != nil || got.Total != total || got.Truncated != row.cut || !reflect.DeepEqual(got.ByState, row.want) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestPlacementGroups_Truncated(t *testing.T) {
	c := serveClient(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, stateAnswer(12000, 10000, 10000, 10000, `{"placement_group_id":"#","state":"created "}`))
	})
	got, err := c.PlacementGroups(t.Context())
	if err != nil || !got.Truncated || got.Total != 12000 || got.ByState["CREATED"] != 10000 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestState_OneRequestAtATime(t *testing.T) {
	running, most := new(atomic.Int32), new(atomic.Int32)
	release := make(chan struct{})
	c := serveClient(t, func(w http.ResponseWriter, r *http.Request) {
		if n := running.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-release
		running.Add(-1)
		_, _ = io.WriteString(w, stateAnswer(0, 0, 0, 0, ""))
	})
	done := make(chan error, 6)
	for range cap(done) / 2 {
		go func() { _, err := c.Tasks(t.Context()); done <- err }()
		go func() { _, err := c.PlacementGroups(t.Context()); done <- err }()
	}
	for range cap(done) {
		release <- struct{}{}
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if most.Load() != 1 {
		t.Errorf("%d concurrent requests, want 1", most.Load())
	}
	go func() { _, err := c.Tasks(t.Context()); done <- err }()
	for len(c.state) == 0 {
		runtime.Gosched() // until the request above has the slot
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Actors(ctx); ray.Code(err) != http.StatusRequestTimeout {
		t.Errorf("waiting for the slot does not stop with the context: %v", err)
	}
	release <- struct{}{}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestState_Errors(t *testing.T) {
	for name, body := range map[string]string{
		"said so":             `{"result":false,"msg":"Failed to query the data source","data":{"result":null}}`,
		"no list":             `{"result":true,"msg":"","data":{}}`,
		"empty and a warning": `{"result":true,"data":{"result":{"total":0,"num_after_truncation":0,"num_filtered":0,"result":[],"warnings":["GCS is gone"]}}}`,
		"not an object":       `[]`,
		"rows are no list":    `{"result":true,"data":{"result":{"total":1,"result":"x"}}}`,
	} {
		c := serveClient(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		if list, err := c.Tasks(t.Context()); ray.Code(err) != http.StatusInternalServerError {
			t.Errorf("%s: %+v, %v", name, list, err)
		}
	}
}

func TestJobs_UndecodableRowSkipped(t *testing.T) {
	c := serveClient(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `[{"submission_id":"a","status":" running ","start_time":"1795531805629","end_time":18446744073709551615},
			{"submission_id":["b"],"status":"RUNNING"}, 7, {"submission_id":null,"job_id":null,"status":"RUNNING"},
			{"submission_id":"c","status":"SOMETHING_NEW","type":"SUBMISSION","new":{"x":[1]},"metadata":{"a":"1","b":{"c":2}},"start_time":"soon"},
			{"submission_id":"d","status":"SOMETHING_NEW","type":"SUBMISSION","new":{"x":[1]},"metadata":{"a":"1","b":{"c":2}}}]`)
	})
	jobs, err := c.Jobs(t.Context())
	if err != nil || len(jobs) != 3 || c.SkippedRows() != 3 || c.SkippedFields() != 4 {
		t.Fatalf("%+v, %v, skipped %d rows, %d fields", jobs, err, c.SkippedRows(), c.SkippedFields())
	}
	if j := jobs[0]; j.Status != ray.JobRunning || j.Start.UnixMilli() != 1795531805629 || !j.End.IsZero() {
		t.Errorf("strings and an unknown time: %+v", j)
	}
	if j := jobs[1]; j.Status != "SOMETHING_NEW" || !reflect.DeepEqual(j.Metadata, map[string]string{"a": "1"}) {
		t.Errorf("unknown values: %+v", j)
	}
}

func TestJobs_NoRuntimeEnv(t *testing.T) {
	c := serveClient(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"submission_id":"a","status":"RUNNING","runtime_env":{"env_vars":{"KEY":"s3cret"}},"driver_info":{"id":"s3cret"}}`)
	})
	j, err := c.Job(t.Context(), "a")
	if text := fmt.Sprintf("%#v %+v", j, c); err != nil || strings.Contains(text, "s3cret") {
		t.Errorf("%s, %v", text, err)
	}
}

func TestJob_IDEscaped(t *testing.T) {
	var method, uri, id string
	c := serveClient(t, func(w http.ResponseWriter, r *http.Request) {
		method, uri = r.Method, r.RequestURI
		id = strings.TrimPrefix(r.URL.Path, "/api/jobs/")
		_, _ = io.WriteString(w, `{"submission_id":"a","status":"RUNNING","stopped":true,"logs":"x"}`)
	})
	for _, jobID := range []string{"we ird/é?x=1#%20", "../../evil", "a+b", "raysubmit_n3yvyjmVUx5Vsrd9"} {
		if _, err := c.Job(t.Context(), jobID); err != nil || id != jobID || method != "GET" || uri != "/api/jobs/"+url.PathEscape(jobID) {
			t.Errorf("%q was requested as %s %s (%q): %v", jobID, method, uri, id, err)
		}
		if err := c.StopJob(t.Context(), jobID); err != nil || id != jobID+"/stop" || method != "POST" {
			t.Errorf("%q was stopped as %s %s: %v", jobID, method, uri, err)
		}
		if logs, err := c.jobLogsText(t.Context(), jobID); err != nil || logs != "x" || id != jobID+"/logs" {
			t.Errorf("logs of %q: %s: %v", jobID, uri, err)
		}
	}
	uri = ""
	for _, none := range []string{"", ".", ".."} {
		if _, err := c.Job(t.Context(), none); ray.Code(err) != http.StatusBadRequest || uri != "" {
			t.Errorf("%q: %v, requested %s", none, err, uri)
		}
	}
}

func TestJobs_Faults(t *testing.T) {
	for _, row := range []struct {
		name string
		h    http.HandlerFunc
		code int
	}{
		{"HTML", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, 500},
		{"an object", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }, 500},
		{"truncated body", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `[{"submission_id":"a","status":"RUNNING"}`)
		}, 503},
		{"no token", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "Unauthorized", http.StatusUnauthorized) }, 401},
		{"traceback", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "Traceback (most recent call last):\n  x\nValueError: y", 500)
		}, 500},
	} {
		t.Run(row.name, func(t *testing.T) {
			jobs, err := serveClient(t, row.h).Jobs(t.Context())
			if ray.Code(err) != row.code || jobs != nil {
				t.Errorf("got %d jobs, %v; want code %d", len(jobs), err, row.code)
			}
		})
	}
}

func TestServe_NotInstalled(t *testing.T) {
	c := serveClient(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "Serve dependencies are not installed", http.StatusNotImplemented)
	})
	if s, err := c.Serve(t.Context()); err != nil || s.Running {
		t.Errorf("%+v, %v", s, err)
	}
	c = serveClient(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "", http.StatusServiceUnavailable) })
	if s, err := c.Serve(t.Context()); ray.Code(err) != http.StatusServiceUnavailable {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestServe_DeploymentsAsList(t *testing.T) {
	c := serveClient(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"controller_info":{"node_id":"a"},"applications":{"a":{"status":"RUNNING","deployments":[{"name":"z"},{"name":"b","target_num_replicas":null}]}},"proxies":null}`)
	})
	s, err := c.Serve(t.Context())
	if err != nil || len(s.Applications) != 1 || len(s.Applications[0].Deployments) != 2 || s.Applications[0].Name != "a" {
		t.Fatalf("%+v, %v", s, err)
	}
	if d := s.Applications[0].Deployments[0]; d.Name != "b" || d.TargetReplicas != nil || d.DeadReplicas != nil {
		t.Errorf("%+v", d)
	}
}
