package main

import (
	"slices"
	"testing"
	"time"
)

// good returns a log with one run, and the correct records of it.
func good() (*oracle, []record) {
	o := newOracle()
	f := o.of(key{"s", "a"})
	began := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	exit := 0
	f.texts = [][]byte{[]byte("one\r\ntwo\n\nthree")}
	f.runs = []jobRun{{start: began, content: 11, status: "SUCCEEDED", exit: &exit, ended: true}}
	var recs []record
	put := func(r record) {
		r.Time, r.Session, r.SubmissionID = began.Add(time.Duration(len(recs))), "s", "a"
		recs = append(recs, r)
	}
	put(record{Event: "start", StartTime: began.Format(time.RFC3339Nano)})
	for i, m := range []string{"one", "two", "three"} {
		put(record{Seq: i, Message: m})
	}
	lines, content, yes := 3, 11, true
	put(record{Seq: 3, Event: "end", Status: "SUCCEEDED", ExitCode: &exit, Lines: &lines, ContentBytes: &content, Complete: &yes})
	return o, recs
}

// The oracle must be able to fail.
func TestOracle_DetectsFaults(t *testing.T) {
	if o, recs := good(); len(o.judge(recs).problems) > 0 {
		t.Fatalf("problems in correct records: %v", o.judge(recs).problems)
	}
	for name, fault := range map[string]func([]record) []record{
		"no records":                     func(r []record) []record { return nil },
		"a line is lost":                 func(r []record) []record { return slices.Delete(r, 2, 3) },
		"a line is duplicated":           func(r []record) []record { return slices.Insert(r, 2, r[2]) },
		"a duplicate replaces a line":    func(r []record) []record { t := r[2].Time; r[2] = r[1]; r[2].Time = t; return r },
		"two lines are swapped":          func(r []record) []record { r[1].Message, r[2].Message = r[2].Message, r[1].Message; return r },
		"the last line is lost":          func(r []record) []record { return slices.Delete(r, 3, 4) },
		"a line is truncated":            func(r []record) []record { r[3].Message = "thr"; return r },
		"a sequence number is skipped":   func(r []record) []record { r[3].Seq = 4; return r },
		"another epoch":                  func(r []record) []record { r[3].Epoch = 1; return r },
		"the end is missing":             func(r []record) []record { return r[:4] },
		"the end is duplicated":          func(r []record) []record { return append(r, r[4]) },
		"the start is missing":           func(r []record) []record { return r[1:] },
		"the end has another line count": func(r []record) []record { n := 4; r[4].Lines = &n; return r },
		"the end has other bytes":        func(r []record) []record { n := 4; r[4].ContentBytes = &n; return r },
		"the end has another status":     func(r []record) []record { r[4].Status = "FAILED"; return r },
		"the end is incomplete":          func(r []record) []record { no := false; r[4].Complete = &no; return r },
		"a gap without a reason":         func(r []record) []record { r[2].Event = "gap"; return r },
		"time does not advance":          func(r []record) []record { r[2].Time = r[1].Time; return r },
		"time goes back without a reason": func(r []record) []record {
			return slices.Insert(r, 2, record{Event: "clock", Seq: 1, Time: r[0].Time, Session: "s", SubmissionID: "a"})
		},
		"a job that does not exist": func(r []record) []record { r[2].SubmissionID = "b"; return r },
	} {
		t.Run(name, func(t *testing.T) {
			o, recs := good()
			if v := o.judge(fault(recs)); len(v.problems) == 0 {
				t.Error("the fault is not detected")
			}
		})
	}
}

// Each line of a multiline record, and each skipped line, is checked.
func TestOracle_JoinedAndSkippedLines(t *testing.T) {
	o, recs := good()
	two := 2
	recs[2].Message, recs[2].Lines = "two\n\nthree", &two
	recs = slices.Delete(recs, 3, 4)
	if v := o.judge(splitAggregated(recs)); len(v.problems) > 0 {
		t.Errorf("joined: %v", v.problems)
	}
	recs[2].Message = "two"
	if v := o.judge(splitAggregated(recs)); len(v.problems) == 0 {
		t.Error("a line missing from a multiline record is not detected")
	}
	recs = slices.Delete(recs, 2, 3)
	recs[2].Skipped = 2
	if v := o.judge(splitAggregated(recs)); len(v.problems) > 0 {
		t.Errorf("skipped: %v", v.problems)
	}
	for _, n := range []int{1, 3} {
		recs[2].Skipped = n
		if v := o.judge(splitAggregated(recs)); len(v.problems) == 0 {
			t.Errorf("skipped is %d instead of 2, and this is not detected", n)
		}
	}
}

// A reported loss is not a fault, and an epoch needs to have only the start of a
// content that was replaced.
func TestOracle_ReplacedLog(t *testing.T) {
	o, recs := good()
	f := o.of(key{"s", "a"})
	f.texts, f.replaced = [][]byte{[]byte("old\nolder\n"), f.texts[0]}, true
	for i := range recs[1:] {
		recs[i+1].Epoch = 1
	}
	old := record{Session: "s", SubmissionID: "a", Message: "old", Time: recs[0].Time.Add(-1)}
	old.Time, recs[0].Time = recs[0].Time, old.Time
	recs = slices.Insert(recs, 1, old)
	end := &recs[len(recs)-1]
	if v := o.judge(recs); len(v.problems) == 0 {
		t.Error("an end event that counts the lines of its epoch only is not detected")
	}
	four := 4
	end.Lines = &four
	if v := o.judge(recs); len(v.problems) > 0 {
		t.Errorf("%v", v.problems)
	}
	if v := o.judge(slices.Delete(recs, 3, 4)); v.lost != 1 {
		t.Errorf("%d lines lost, want 1: a line of the new content", v.lost)
	}
}
