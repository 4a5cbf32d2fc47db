//go:build e2e && linux

package test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// record is one record, as documented in docs/records.md.
type record struct {
	Time         time.Time `json:"time"`
	Cluster      string    `json:"ray_cluster"`
	Session      string    `json:"session"`
	SubmissionID string    `json:"submission_id"`
	JobID        string    `json:"job_id"`
	JobName      string    `json:"job_name"`
	Source       string    `json:"source"`
	Epoch        *int      `json:"epoch"`
	Seq          *int      `json:"seq"`
	Message      *string   `json:"message"`
	Lines        *int      `json:"lines"`
	Skipped      int       `json:"skipped"`
	Truncated    bool      `json:"truncated"`
	Bytes        *int      `json:"bytes"`
	Event        string    `json:"event"`
	Status       string    `json:"status"`
	Complete     *bool     `json:"complete"`
	ExitCode     *int      `json:"driver_exit_code"`
	ErrorType    string    `json:"error_type"`
	// StatusMessage is Ray's message about a failed job.
	StatusMessage string `json:"status_message"`
}

// maxMessage is the default of shipper.limits.max_message_size.
const maxMessage = 256 << 10

func parseRecord(line []byte) (record, error) {
	var r record
	dec := json.NewDecoder(strings.NewReader(string(line)))
	if err := dec.Decode(&r); err != nil {
		return r, err
	}
	switch {
	case !utf8.Valid(line):
		return r, fmt.Errorf("not UTF-8: %.200q", line)
	case r.Time.IsZero(), r.Cluster == "", r.Session == "", r.SubmissionID == "", r.Source != "driver",
		r.Epoch == nil, r.Seq == nil, r.Message == nil:
		return r, fmt.Errorf("a required key is missing: %.300s", line)
	}
	return r, nil
}

// recordsByJob are records by submission ID, in the order of the output.
type recordsByJob map[string][]record

// checkRecords fails the test unless the records are what the printer wrote: each line
// once and in order, between a start and an end event.
func checkRecords(t *testing.T, transport string, p printer, id, status string, records []record) {
	t.Helper()
	problems := recordProblems(p, id, status, records)
	for _, problem := range problems {
		t.Errorf("%s, %s job %s: %s", transport, p.name(), id, problem)
	}
}

func recordProblems(p printer, id, status string, records []record) []string {
	var problems []string
	add := func(format string, args ...any) {
		if len(problems) < 10 {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	if len(records) == 0 {
		return []string{"no record"}
	}
	var lines []record
	for i, r := range records {
		if i > 0 && !r.Time.After(records[i-1].Time) {
			add("the time of record %d (%s) is not after the previous one (%s)", i, r.Time, records[i-1].Time)
		}
		if r.JobName != p.name() {
			add("record %d has job_name %q", i, r.JobName)
		}
		if *r.Epoch != 0 || r.Skipped != 0 {
			add("record %d (event %q) has epoch %d and skipped %d", i, r.Event, *r.Epoch, r.Skipped)
		}
		switch {
		case r.Event == "":
			lines = append(lines, r)
		case r.Event == "start" && i == 0, r.Event == "end" && i == len(records)-1:
		default:
			add("record %d of %d is the event %q: %s", i, len(records), r.Event, *r.Message)
		}
	}
	if records[0].Event != "start" {
		add("the first record is not a start event: %.200s", *records[0].Message)
	}
	problems = append(problems, endProblems(p, status, len(lines), records[len(records)-1])...)
	return append(problems, lineProblems(p, id, lines)...)
}

func endProblems(p printer, status string, lines int, end record) []string {
	switch {
	case end.Event != "end":
		return []string{fmt.Sprintf("the last record is not an end event: %.200s", *end.Message)}
	case end.Status != status, end.Complete == nil || !*end.Complete, end.Lines == nil || *end.Lines != lines, *end.Seq != lines:
		return []string{fmt.Sprintf("the end event has status %q, complete %v, lines %v, seq %d; want %s, true, %d, %d: %s",
			end.Status, deref(end.Complete), deref(end.Lines), *end.Seq, status, lines, lines, *end.Message)}
	case status != "STOPPED" && (end.ExitCode == nil || *end.ExitCode != p.Exit):
		return []string{fmt.Sprintf("the end event has exit code %v, want %d", deref(end.ExitCode), p.Exit)}
	}
	return nil
}

func deref[T any](p *T) any {
	if p == nil {
		return "absent"
	}
	return *p
}

// headers are the first lines of a log, which Ray 2.60 writes.
var headers = []*regexp.Regexp{
	regexp.MustCompile(`Runtime env is setting up`),
	regexp.MustCompile(`Running entrypoint for job `),
}

func lineProblems(p printer, id string, lines []record) []string {
	var problems []string
	add := func(format string, args ...any) {
		if len(problems) < 10 {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	seen := make([]int, p.Count)
	for i, r := range lines {
		if *r.Seq != i || r.Lines != nil {
			add("line %d has seq %d and lines %v", i, *r.Seq, deref(r.Lines))
		}
	}
	for i, r := range headersFirst(lines) {
		if i < len(headers) {
			if !headers[i].MatchString(*r.Message) {
				add("line %d is not Ray's header: %.200q", i, *r.Message)
			}
			continue
		}
		k := i - len(headers)
		if problem := textProblem(p, k, r); problem != "" {
			add("line %d: %s", i, problem)
		}
		if n, ok := number(*r.Message); ok && n < p.Count {
			seen[n]++
		}
	}
	missing, duplicated := 0, 0
	for k, n := range seen {
		if n == 0 {
			missing++
		} else if n > 1 {
			duplicated++
		}
		if n != 1 && missing+duplicated == 1 {
			add("line %d of the job is shipped %d times", k, n)
		}
	}
	if missing+duplicated > 0 || len(lines) != p.Count+len(headers) {
		problems = append(problems, fmt.Sprintf("%d of %d lines missing, %d duplicated; %d records of lines", missing, p.Count, duplicated, len(lines)))
	}
	return problems
}

// headersFirst returns the lines with Ray's second header in its place. Ray 2.60.0 flushes
// it only after it has started the command (job_supervisor.py, _exec_entrypoint), so that
// the first lines of the job can be in the file before it.
func headersFirst(lines []record) []record {
	const last = 20 // lines of a job that is that fast
	for i := 2; i < min(len(lines), last); i++ {
		if headers[1].MatchString(*lines[i].Message) && !headers[1].MatchString(*lines[1].Message) {
			return slices.Concat(lines[:1], lines[i:i+1], lines[1:i], lines[i+1:])
		}
	}
	return lines
}

var numbered = regexp.MustCompile(`^[a-z]+ (\d{6}) `)

// number returns the line number in a printer's line.
func number(message string) (int, bool) {
	m := numbered.FindStringSubmatch(message[:min(len(message), 40)])
	if m == nil {
		return 0, false
	}
	n := 0
	_, err := fmt.Sscanf(m[1], "%d", &n)
	return n, err == nil
}

func textProblem(p printer, k int, r record) string {
	if k >= p.Count {
		return fmt.Sprintf("was not printed by the job: %.200q", *r.Message)
	}
	want := p.text(k)
	got := *r.Message
	if len(want) > maxMessage {
		if !r.Truncated || r.Bytes == nil || *r.Bytes != len(want) || len(got) > maxMessage || len(got) < maxMessage-3 ||
			!strings.HasPrefix(string(want), got) {
			return fmt.Sprintf("of %d bytes has %d bytes, truncated %v, bytes %v", len(want), len(got), r.Truncated, deref(r.Bytes))
		}
		return ""
	}
	if r.Truncated || r.Bytes != nil {
		return fmt.Sprintf("of %d bytes is marked as truncated", len(want))
	}
	// The number of U+FFFD for a sequence of invalid bytes depends on the encoder.
	if squeeze(got) != squeeze(strings.ToValidUTF8(string(want), "\uFFFD")) {
		return fmt.Sprintf("is %.200q, want %.200q", got, want)
	}
	return ""
}

var replacements = regexp.MustCompile("\uFFFD+")

func squeeze(s string) string { return replacements.ReplaceAllString(s, "\uFFFD") }

// The oracle must be able to fail.
func TestOracle_DetectsFaults(t *testing.T) {
	p := printer{Mode: "lines", Count: 5}
	good := func() []record {
		var all []record
		put := func(seq int, message, event string) {
			epoch := 0
			all = append(all, record{
				Time: time.Unix(int64(len(all)), 0), JobName: "lines", Epoch: &epoch, Seq: &seq, Message: &message, Event: event,
			})
		}
		put(0, "job started", "start")
		put(0, "INFO Runtime env is setting up.", "")
		put(1, "Running entrypoint for job x: y", "")
		for k := range p.Count {
			put(2+k, string(p.text(k)), "")
		}
		put(7, "job ended", "end")
		lines, complete, exit := 7, true, 0
		end := &all[len(all)-1]
		end.Status, end.Lines, end.Complete, end.ExitCode = "SUCCEEDED", &lines, &complete, &exit
		return all
	}
	if problems := recordProblems(p, "x", "SUCCEEDED", good()); len(problems) > 0 {
		t.Fatalf("problems in correct records: %v", problems)
	}
	late := good()
	*late[2].Message, *late[3].Message = *late[3].Message, *late[2].Message
	if problems := recordProblems(p, "x", "SUCCEEDED", late); len(problems) > 0 {
		t.Errorf("problems where the job has printed before Ray's header: %v", problems)
	}
	faults := map[string]func([]record) []record{
		"a line is missing":            func(r []record) []record { return slices.Delete(r, 4, 5) },
		"a line is duplicated":         func(r []record) []record { return slices.Insert(r, 4, r[4]) },
		"two lines are swapped":        func(r []record) []record { r[4].Message, r[5].Message = r[5].Message, r[4].Message; return r },
		"a line is truncated":          func(r []record) []record { s := (*r[5].Message)[:8]; r[5].Message = &s; return r },
		"the last line is missing":     func(r []record) []record { return slices.Delete(r, len(r)-2, len(r)-1) },
		"the end is missing":           func(r []record) []record { return r[:len(r)-1] },
		"the end is duplicated":        func(r []record) []record { return append(r, r[len(r)-1]) },
		"the end is incomplete":        func(r []record) []record { no := false; r[len(r)-1].Complete = &no; return r },
		"the end has another status":   func(r []record) []record { r[len(r)-1].Status = "FAILED"; return r },
		"a gap event":                  func(r []record) []record { r[3].Event = "gap"; return r },
		"time does not advance":        func(r []record) []record { r[3].Time = r[2].Time; return r },
		"a sequence number is skipped": func(r []record) []record { n := 9; r[6].Seq = &n; return r },
		"another epoch":                func(r []record) []record { n := 1; r[6].Epoch = &n; return r },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			if problems := recordProblems(p, "x", "SUCCEEDED", fault(good())); len(problems) == 0 {
				t.Error("the fault is not detected")
			}
		})
	}
}
