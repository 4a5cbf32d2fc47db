package dashboard

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"raytap/ray"
)

// reportOf260 is the report of a Ray 2.60.0 head with autoscaler v2 while a task used a
// resource, others were pending, and one placement group could not be placed.
const reportOf260 = `======== Autoscaler status: 2026-11-30 17:16:36.288212 ========
Node status
---------------------------------------------------------------
Active:
 1 node_47563840d32c982f654cab2c01ea3dea73d7f9521c1b826e331fca5d
Idle:
 (no idle nodes)
Pending:
 (no pending nodes)
Recent failures:
 (no failures)

Resources
---------------------------------------------------------------
Total Usage:
 2.0/2.0 CPU (1.0 used of 1.0 reserved in placement groups)
 0.0/1.0 GPU
 0B/22.51GiB memory
 1.0/3.0 my_custom_res
 0B/95.37MiB object_store_memory

From request_resources:
 (none)
Pending Demands:
 {'CPU': 1.0}: 3+ pending tasks/actors (3+ using placement groups)
 {'CPU': 1.0, 'GPU': 3.0}: 1+ pending tasks/actors
 {'CPU': 4.0}: 5+ pending tasks/actors
 {'CPU': 1.0, 'no_such': 2.0}: 2+ pending tasks/actors
 {'CPU': 8.0} * 2, {'GPU': 1.0} * 1 (PACK): 1+ pending placement groups`

const nodeOf260 = `{"node_id":"n","state":"ALIVE","resources_total":{"CPU":2,"GPU":1,"my_custom_res":3,"memory":24172809984.0,"object_store_memory":100000000.0,"node:127.0.0.7":1}}`

// v2Head responds like a head with autoscaler v2: its status is null.
func v2Head(t *testing.T, report string, groups func(w http.ResponseWriter, r *http.Request)) *Client {
	t.Helper()
	return serveClient(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/api/v0/placement_groups":
			groups(w, r)
		case r.URL.Path == "/api/v0/nodes":
			_, _ = io.WriteString(w, stateAnswer(1, 1, 1, 1, nodeOf260))
		case r.URL.Query().Get("format") == "1":
			quoted, _ := json.Marshal(report)
			fmt.Fprintf(w, `{"result":true,"msg":"Got formatted cluster status.","data":{"clusterStatus":%s}}`, quoted)
		default:
			_, _ = io.WriteString(w, `{"result":true,"msg":"Got cluster status.","data":{"autoscalingStatus":null,"autoscalingError":null,"clusterStatus":null}}`)
		}
	})
}

// With autoscaler v2, resources and demand are the same as with v1.
func TestStatusReport_AutoscalerV2(t *testing.T) {
	c := v2Head(t, reportOf260, func(http.ResponseWriter, *http.Request) { t.Error("the placement groups were listed") })
	s, err := c.ClusterStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := ray.ClusterStatus{
		Autoscaler: ray.AutoscalerV2,
		Usage: map[string]ray.Usage{
			"CPU": {Used: 2, Total: 2}, "GPU": {Total: 1}, "my_custom_res": {Used: 1, Total: 3},
			"memory": {Total: 24172809984}, "object_store_memory": {Total: 100000000}, // exact, from the node list
		},
		Pending: []ray.Demand{
			{Resources: map[string]float64{"CPU": 1}, Count: 3},
			{Resources: map[string]float64{"CPU": 1, "GPU": 3}, Count: 1},
			{Resources: map[string]float64{"CPU": 4}, Count: 5},
			{Resources: map[string]float64{"CPU": 1, "no_such": 2}, Count: 2},
		},
		PGs: []ray.Demand{{Resources: map[string]float64{"CPU": 8}, Count: 2}, {Resources: map[string]float64{"GPU": 1}, Count: 1}},
	}
	if !reflect.DeepEqual(s, want) || c.SkippedRows() != 0 {
		t.Errorf("%+v, %d lines skipped, want\n%+v", s, c.SkippedRows(), want)
	}
}

// Ray prints groups of one strategy and state as one, with the bundles of the last one.
func TestStatusReport_MergedPlacementGroups(t *testing.T) {
	const merged = "\n {'CPU': 8.0} * 2 (PACK): 2+ pending placement groups"
	lists := 0
	broken := false
	c := v2Head(t, reportOf260+merged, func(w http.ResponseWriter, r *http.Request) {
		if lists++; broken {
			http.Error(w, "500", http.StatusInternalServerError)
			return
		}
		if q := r.URL.Query(); q.Get("detail") != "1" || fmt.Sprint(q["filter_values"]) != "[CREATED REMOVED]" || fmt.Sprint(q["filter_predicates"]) != "[!= !=]" {
			t.Errorf("requested %v", q)
		}
		_, _ = io.WriteString(w, stateAnswer(2, 2, 2, 2,
			`{"placement_group_id":"a","state":"PENDING","bundles":[{"unit_resources":{"CPU":8},"node_id":""},{"unit_resources":{"CPU":8},"node_id":null}]},`+
				`{"placement_group_id":"b","state":"RESCHEDULING","bundles":[{"unit_resources":{"GPU":1},"node_id":""},{"unit_resources":{"CPU":2},"node_id":"n"}]}`))
	})
	want := []ray.Demand{{Resources: map[string]float64{"CPU": 8}, Count: 2}, {Resources: map[string]float64{"GPU": 1}, Count: 1}}
	for range 2 {
		s, err := c.ClusterStatus(t.Context())
		if err != nil || !reflect.DeepEqual(s.PGs, want) || s.PGsUnknown || lists != 1 {
			t.Errorf("demand of placement groups is %+v, %v, after %d lists", s.PGs, err, lists)
		}
	}
	broken, c.groupsAt = true, c.groupsAt.Add(-groupsTTL)
	if s, err := c.ClusterStatus(t.Context()); err != nil || !s.PGsUnknown || s.PGs != nil || len(s.Pending) != 4 {
		t.Errorf("without the list: %+v, %v", s, err)
	}
}

// The text of a head with autoscaler v1 before its first status is not a report.
func TestStatusReport_NotAReport(t *testing.T) {
	for _, text := range []string{
		"No cluster status. It may take a few seconds for the Ray internal services to start up.", "", "====", "======== Autoscaler status: now ========",
		"======== Autoscaler status: now ========\nTotal Usage:\n 1.0/2.0 CPU\n",
	} {
		s, err := v2Head(t, text, nil).ClusterStatus(t.Context())
		if err != nil || !reflect.DeepEqual(s, ray.ClusterStatus{}) {
			t.Errorf("%q is %+v, %v", text, s, err)
		}
	}
}

// Before Ray 2.53 the sections have other names.
func TestStatusReport_OldRay(t *testing.T) {
	s, ok := parseReport("======== Autoscaler status: now ========\nNode status\n----\nHealthy:\n 1 head\n\nResources\n----\nUsage:\n 1.5/4.0 CPU\n 1.50KiB/2.00KiB memory\n\nDemands:\n (no resource demands)")
	if !ok || s.skipped != 0 || len(s.pending)+len(s.pgs) != 0 || s.usage["CPU"].Used != 1.5 || s.usage["memory"].Used != 1536 || s.usage["memory"].Total != 2048 {
		t.Errorf("%+v, %t", s, ok)
	}
}

// A line that cannot be parsed is counted, and the other lines are kept.
func TestStatusReport_UnreadableLines(t *testing.T) {
	report := strings.Replace(reportOf260, " 0.0/1.0 GPU\n", " 0.0/1.0 GPU\n many/3.0 odd\n 1.0 of 2.0 odder\n nan/1.0 oddest\n", 1) +
		"\n {'CPU': inf}: 1+ pending tasks/actors\n [1]: 2+ pending tasks/actors\n {'CPU': 1.0}: many pending tasks/actors"
	c := v2Head(t, report, nil)
	s, err := c.ClusterStatus(t.Context())
	if err != nil || len(s.Usage) != 5 || len(s.Pending) != 4 || len(s.PGs) != 2 || c.SkippedRows() != 6 {
		t.Errorf("%+v, %v, %d skipped", s, err, c.SkippedRows())
	}
}

func TestStatusReport_PythonNames(t *testing.T) {
	for text, want := range map[string]map[string]float64{
		`{}`: {}, `{'a': 1}`: {"a": 1}, `{'a b': 1.5e-05, "it's": 2.0}`: {"a b": 1.5e-05, "it's": 2}, `{'\\\'"\n\x41\u00e9\U0001f600': 3}`: {"\\'\"\nA\u00e9\U0001f600": 3},
		`{'a': -1}`: nil, `{'a': nan}`: nil, `{'a'}`: nil, `{'a: 1}`: nil, `{'\q': 1}`: nil, `{a: 1}`: nil, `{'a': 1`: nil, `{'\x4`: nil, ``: nil,
	} {
		got, rest, ok := parsePythonDict(text)
		if ok != (want != nil) || ok && (!reflect.DeepEqual(got, want) || rest != "") {
			t.Errorf("%s is %v, %q, %t", text, got, rest, ok)
		}
	}
	for name, line := range map[string]string{
		"a (b)": " 1.0/2.0 a (b)", "x/y z": " 1.0/2.0 x/y z", "a (b) c": " 1.0/2.0 a (b) c (0.0 used of 1.0 reserved in placement groups)",
	} {
		s := textStatus{usage: map[string]textUsage{}}
		if !s.readUsage(line) || s.usage[name].Total != 2 {
			t.Errorf("%q is %+v", line, s.usage)
		}
	}
	// Of 4, one is in use outside and one inside a group that reserves two.
	s := textStatus{usage: map[string]textUsage{}}
	if s.readUsage(" 2.0/4.0 CPU (1.0 used of 2.0 reserved in placement groups)"); s.usage["CPU"].Used != 3 {
		t.Errorf("%+v", s.usage)
	}
}

func TestStatusReport_NodeUsage(t *testing.T) {
	exact := map[string]float64{"CPU": 2, "memory": 24172809984}
	got := nodeUsage("2.0/2.0 CPU (1.0 used of 1.0 reserved in placement groups)\n22.51GiB/22.51GiB memory\n0.0/1.0 accelerator_type:A100", exact)
	want := map[string]ray.Usage{"CPU": {Used: 2, Total: 2}, "memory": {Used: 24172809984, Total: 24172809984}, "accelerator_type:A100": {Total: 1}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	if got := nodeUsage("", exact); got != nil {
		t.Errorf("empty text: %v", got)
	}
}

// Parsing any report terminates, and no value is negative or not a number.
func FuzzStatusReport(f *testing.F) {
	f.Add(reportOf260)
	f.Add(" {'a': 1} * 2, {} * 1 (X): 1+ pending placement groups")
	f.Fuzz(func(t *testing.T, text string) {
		for _, report := range []string{text, "======== Autoscaler status: x\nUsage:\n" + text + "\nDemands:\n" + text} {
			s, _ := parseReport(report)
			for name, u := range s.usage {
				if !(u.Used >= 0) && u.Total >= 0 || name == "" {
					t.Errorf("%q: %+v", name, u)
				}
			}
			for _, d := range append(s.pending, s.pgs...) {
				for name, amount := range d.Resources {
					if !(amount >= 0) || d.Count < 0 {
						t.Errorf("%q: %v times %d", name, amount, d.Count)
					}
				}
			}
		}
	})
}
