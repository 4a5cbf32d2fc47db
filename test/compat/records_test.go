//go:build e2e && linux

package compat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// record is a record in the sink.
type record struct {
	SubmissionID string `json:"submission_id"`
	Session      string `json:"session"`
	Epoch, Seq   int
	Message      string
	Event        string
	Status       string
	Complete     *bool
	Lines        *int
	ExitCode     *int `json:"driver_exit_code"`
}

// readRecords returns the complete records of a sink file by job.
func readRecords(t *testing.T, name string) map[string][]record {
	t.Helper()
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]record{}
	for line := range bytes.Lines(b) {
		if line[len(line)-1] != '\n' {
			break // incomplete
		}
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%s: %v: %.200q", name, err, line)
		}
		got[r.SubmissionID] = append(got[r.SubmissionID], r)
	}
	return got
}

// check compares the records of a job with the log that Ray wrote.
func check(w *setup, j *job, minor int, records []record) error {
	if len(records) == 0 {
		return errors.New("no record")
	}
	end := records[len(records)-1]
	var lines []string
	for i, r := range records {
		switch {
		case r.Session == "" || r.Session == "unknown":
			return fmt.Errorf("record %d has the session %q", i, r.Session)
		case r.Epoch != 0:
			return fmt.Errorf("record %d is of epoch %d: %s %q", i, r.Epoch, r.Event, r.Message)
		case r.Seq != len(lines):
			return fmt.Errorf("record %d (event %q) has seq %d, want %d", i, r.Event, r.Seq, len(lines))
		case r.Event == "":
			lines = append(lines, r.Message)
		case r.Event == "start" && i == 0, r.Event == "end" && i == len(records)-1:
		case r.Event == "gap" && !readable(w, j, minor):
		default:
			return fmt.Errorf("record %d is the event %s: %s", i, r.Event, r.Message)
		}
	}
	if records[0].Event != "start" || end.Event != "end" {
		return fmt.Errorf("the first event is %q, the last one %q", records[0].Event, end.Event)
	}
	if end.Status != j.status || end.Complete == nil || end.Lines == nil || *end.Lines != len(lines) {
		return fmt.Errorf("the end event is %+v; the job is %s and has %d lines", end, j.status, len(lines))
	}
	if (j.exit == nil) != (end.ExitCode == nil) || j.exit != nil && *j.exit != *end.ExitCode {
		return fmt.Errorf("the end event has exit code %v, Ray has %v", end.ExitCode, j.exit)
	}
	want := linesOf(j.log)
	for i, line := range lines {
		if i >= len(want) {
			return fmt.Errorf("%d lines, but the log has %d; line %d is %q", len(lines), len(want), i, line)
		}
		if squeeze(want[i]) != squeeze(line) {
			return fmt.Errorf("line %d is %q, but %q in the log", i, line, want[i])
		}
	}
	allLines := len(lines) == len(want)
	switch {
	case *end.Complete && !allLines:
		return fmt.Errorf("%d of %d lines, but the end event is complete: %s", len(lines), len(want), end.Message)
	case !readable(w, j, minor):
		if allLines || *end.Complete {
			return fmt.Errorf("%d of %d lines of a log that this transport cannot read, complete %v", len(lines), len(want), *end.Complete)
		}
	case !allLines, !*end.Complete:
		return fmt.Errorf("%d of %d lines, complete %v: %s", len(lines), len(want), *end.Complete, end.Message)
	}
	return nil
}

// readable reports whether a setup can read all of a log. Only node agents, and from 2.40
// on the State API's log file, can send a log that is not UTF-8.
func readable(w *setup, j *job, minor int) bool {
	switch {
	case utf8.Valid(j.log), w.agents == "on":
		return true
	case w.protocol == "websocket":
		return false
	}
	return minor >= 40
}

func linesOf(log []byte) []string {
	return strings.FieldsFunc(strings.ToValidUTF8(string(log), "\uFFFD"), func(r rune) bool { return r == '\n' || r == '\r' })
}

var replacements = regexp.MustCompile("\uFFFD+")

// squeeze replaces a sequence of U+FFFD by one: their number for a sequence of invalid
// bytes depends on the encoder.
func squeeze(s string) string { return replacements.ReplaceAllString(s, "\uFFFD") }

// The oracle must be able to fail.
func TestOracle_DetectsFaults(t *testing.T) {
	yes, no, three := true, false, 3
	good := func() []record {
		return []record{{Session: "s", Event: "start"}, {Session: "s", Message: "a"}, {Session: "s", Seq: 1, Message: "b"}, {Session: "s", Seq: 2, Message: "c"},
			{Session: "s", Seq: 3, Event: "end", Status: "SUCCEEDED", Complete: &yes, Lines: &three}}
	}
	w, j := &setup{protocol: "auto", agents: "off"}, &job{status: "SUCCEEDED", log: []byte("a\r\nb\n\rc")}
	if err := check(w, j, 9, good()); err != nil {
		t.Fatal(err)
	}
	for name, fault := range map[string]func([]record) []record{
		"a line is missing":        func(r []record) []record { return append(r[:2:2], r[3:]...) },
		"a line is duplicated":     func(r []record) []record { return append(r[:3:3], r[2:]...) },
		"a line is different":      func(r []record) []record { r[2].Message = "x"; return r },
		"the last line is missing": func(r []record) []record { r[4].Seq, r[4].Lines = 2, &[]int{2}[0]; return append(r[:3:3], r[4]) },
		"the end is missing":       func(r []record) []record { return r[:4] },
		"the end is incomplete":    func(r []record) []record { r[4].Complete = &no; return r },
		"another status":           func(r []record) []record { r[4].Status = "FAILED"; return r },
		"a gap":                    func(r []record) []record { r[2].Event = "gap"; return r },
		"another epoch":            func(r []record) []record { r[2].Epoch = 1; return r },
		"no session":               func(r []record) []record { r[2].Session = ""; return r },
		"no record":                func([]record) []record { return nil },
	} {
		if check(w, j, 9, fault(good())) == nil {
			t.Errorf("not detected: %s", name)
		}
	}
	broken := &job{status: "SUCCEEDED", log: []byte("a\nb\nc\n\xff\nd\n")}
	if check(w, broken, 9, good()) == nil {
		t.Error("not detected: a log that cannot be read is complete")
	}
	if check(&setup{protocol: "auto", agents: "off"}, broken, 40, good()) == nil {
		t.Error("not detected: lines of a readable log are missing")
	}
	if check(&setup{protocol: "auto", agents: "on"}, broken, 9, good()) == nil {
		t.Error("not detected: lines that a node agent can read are missing")
	}
}
