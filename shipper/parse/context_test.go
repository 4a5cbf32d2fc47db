package parse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

const (
	testWorker = "0123456789abcdef0123456789abcdef0123456789abcdef01234567"
	testNode   = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba98"
)

// Lines of Ray 2.60.0, and lines that it did not write.
func TestContext_Parse(t *testing.T) {
	const ids = `"worker_id": "` + testWorker + `", "node_id": "` + testNode + `"`
	const head = `{"asctime": "2026-12-01 00:46:31,731", "levelname": "INFO", "message": "a \"worker_id\": \"x\" {[", "filename": "x.py", "lineno": 15, "process": 30206, `
	base := map[ContextKey]string{WorkerID: testWorker, NodeID: testNode}
	with := func(more map[ContextKey]string) map[ContextKey]string {
		for k, v := range base {
			more[k] = v
		}
		return more
	}
	for name, c := range map[string]struct {
		line string
		pid  int
		want map[ContextKey]string
	}{
		"task": {head + `"job_id": "02000000", ` + ids + `, "task_id": "77", "task_name": "task", "task_func_name": "x.task", "timestamp_ns": 1796085991731056079}`, 30206,
			with(map[ContextKey]string{JobID: "02000000", TaskID: "77", TaskName: "task", TaskFuncName: "x.task"})},
		"actor": {head + ids + `, "actor_id": "a", "actor_name": "", "task_name": "Act.m"}`, 30206, with(map[ContextKey]string{ActorID: "a", TaskName: "Act.m"})},
		"replica of Serve": {head + `"log_to_stderr": false, ` + ids + `, "actor_name": "SERVE_REPLICA::shop#Hello#abc", "deployment": "shop_Hello", "replica": "abc", "application": "shop", "route": "/", "request_id": "r"}`, 30206,
			with(map[ContextKey]string{ActorName: "SERVE_REPLICA::shop#Hello#abc", Deployment: "Hello", Replica: "abc", Application: "shop", Route: "/", RequestID: "r"})},
		"no blanks":   {`{` + strings.ReplaceAll(ids, " ", "") + `}`, 0, base},
		"nested":      {`{"extra": {"job_id": "no", "list": [{"task_id": "no"}]}, "n": null, "b": true, ` + ids + `}`, 0, base},
		"escapes":     {`{` + ids + `, "task_name": "\u6f22 \"x\" \\"}`, 0, with(map[ContextKey]string{TaskName: `\u6f22 \"x\" \\`})},
		"null":        {`{` + ids + `, "actor_id": null, "task_id": 5}`, 0, base},
		"truncated":   {`{` + ids + `, "job_id": "02000000", "exc_text": "Trace`, 0, with(map[ContextKey]string{JobID: "02000000"})},
		"pid is text": {`{"process": "7", ` + ids + `}`, 0, base},
		"replica outside requests": {`{` + ids + `, "actor_name": "SERVE_REPLICA::a_b#c#7", "deployment": "a_b_c"}`, 0,
			with(map[ContextKey]string{ActorName: "SERVE_REPLICA::a_b#c#7", Application: "a_b", Deployment: "c"})},
		"another actor":    {`{` + ids + `, "actor_name": "SERVE_REPLICA::x#y", "deployment": "mine"}`, 0, with(map[ContextKey]string{ActorName: "SERVE_REPLICA::x#y", Deployment: "mine"})},
		"no node":          {`{"worker_id": "` + testWorker + `"}`, 0, nil},
		"no ids of Ray":    {`{"worker_id": "7", "node_id": "` + testNode + `", "job_id": "mine"}`, 0, nil},
		"ids in an object": {`{"context": {` + ids + `}}`, 0, nil},
		"no object":        {`[{` + ids + `}]`, 0, nil},
		"text":             {ids, 0, nil},
		"empty":            {"", 0, nil},
		"broken":           {`{"worker_id" x`, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got Context
			if ok := got.Parse([]byte(c.line)); ok != (c.want != nil) {
				t.Fatalf("Parse = %t", ok)
			}
			if c.want == nil {
				return
			}
			for i, value := range got.Values {
				if k := ContextKey(i); string(value) != c.want[k] {
					t.Errorf("%v is %q, want %q", k, value, c.want[k])
				}
			}
			if got.PID != c.pid {
				t.Errorf("PID %d, want %d", got.PID, c.pid)
			}
		})
	}
}

// recorded returns what real heads returned of their logs.
func recorded(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../../ray/raytest/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Each recorded line of Ray's JSON logging says what printed it.
func TestContext_Recorded(t *testing.T) {
	n := 0
	for line := range bytes.Lines(recorded(t, "node_logs_json.jsonl")) {
		n++
		var c Context
		if line = bytes.TrimSpace(line); !c.Parse(line) || c.PID == 0 || len(c.Values[TaskID]) == 0 && len(c.Values[ActorName]) == 0 {
			t.Errorf("%s: %+v", line, c)
		}
		if serve := bytes.Contains(line, []byte("SERVE_REPLICA")); serve && (string(c.Values[Deployment]) != "Hello" || string(c.Values[Application]) != "shop") {
			t.Errorf("%s: application %s, deployment %s", line, c.Values[Application], c.Values[Deployment])
		}
		if Level(line) == "" {
			t.Errorf("%s: no level", line)
		}
		if _, ok := Timestamp(line, 0, time.UTC); !ok {
			t.Errorf("%s: no time", line)
		}
	}
	if n == 0 {
		t.Error("no line")
	}
}

// Parse finds in any JSON object what encoding/json finds.
func FuzzContext_Parse(f *testing.F) {
	const ids = `"worker_id":"` + testWorker + `", "node_id" : "` + testNode + `"`
	for _, s := range []string{`{` + ids + `}`, `{"a":{"b":["\"]}",{}]},` + ids + `,"job_id":"\u0041\\","process":7}`, `{"process":1.5,` + ids + `,"actor_id":null}`,
		`{` + ids + `,"actor_name":"SERVE_REPLICA::a#b#c","deployment":"a_b"}`, `{"x":-1e5 ,` + ids + `}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var c Context
		ok := c.Parse(line)
		var all map[string]any
		if !utf8.Valid(line) || len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &all) != nil {
			return // it must not panic
		}
		for key := range all {
			if !strings.Contains(string(line), `"`+key+`"`) {
				return // a key with escapes, which Ray never writes
			}
		}
		worker, _ := all["worker_id"].(string)
		node, _ := all["node_id"].(string)
		if strings.Contains(string(line), `\u00`) {
			return // ids may be in escapes
		}
		if want := isRayID([]byte(worker)) && isRayID([]byte(node)); ok != want {
			t.Fatalf("%s: Parse = %t, want %t", line, ok, want)
		}
		if !ok {
			return
		}
		actor, _ := all["actor_name"].(string)
		replica := strings.HasPrefix(actor, "SERVE_REPLICA::") // its application and deployment are from there
		for i, value := range c.Values {
			want, _ := all[contextNames[i]].(string)
			var got string
			if err := json.Unmarshal(fmt.Appendf(nil, `"%s"`, value), &got); err != nil {
				t.Fatalf("%s: %s is %q: %v", line, contextNames[i], value, err)
			}
			if k := ContextKey(i); got != want && !(replica && (k == Application || k == Deployment)) {
				t.Fatalf("%s: %s is %q, want %q", line, contextNames[i], got, want)
			}
		}
	})
}
