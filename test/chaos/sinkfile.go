package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// record is a record in the sink.
type record struct {
	Time         time.Time
	Session      string
	SubmissionID string `json:"submission_id"`
	Epoch, Seq   int
	Message      string
	Event        string
	StartTime    string `json:"start_time"`
	Status       string
	Lines        *int
	ContentBytes *int `json:"content_bytes"`
	Complete     *bool
	ExitCode     *int `json:"driver_exit_code"`
	Truncated    bool
	Bytes        int
	Skipped      int
	part         bool // a line of a multiline record, but not its first
	skipped      bool // a line without a record of its own
}

// splitAggregated returns one record for each line that was joined or skipped.
func splitAggregated(records []record) []record {
	var out []record
	for _, r := range records {
		for i := range r.Skipped {
			out = append(out, record{Time: r.Time, Session: r.Session, SubmissionID: r.SubmissionID, Epoch: r.Epoch,
				Seq: r.Seq - r.Skipped + i, skipped: true})
		}
		lines := strings.FieldsFunc(r.Message, func(c rune) bool { return c == '\n' })
		if r.Event != "" || r.Lines == nil || len(lines) != *r.Lines {
			out = append(out, r)
			continue
		}
		first := r.Seq
		for i, line := range lines {
			r.Message, r.Seq, r.part = line, first+i, i > 0
			out = append(out, r)
		}
	}
	return out
}

// sinkFiles returns the files of a sink: the rotated ones in order, then the current
// one. A file that exists both plain and compressed is returned once.
func sinkFiles(path string) ([]string, error) {
	rotated, err := filepath.Glob(path + ".[0-9]*")
	if err != nil {
		return nil, err
	}
	slices.Sort(rotated)
	var files []string
	for _, f := range rotated {
		if strings.HasSuffix(f, ".tmp") || len(files) > 0 && f == files[len(files)-1]+".gz" {
			continue
		}
		files = append(files, f)
	}
	return append(files, path), nil
}

// readSink returns the content of a sink, oldest first.
func readSink(path string) ([]byte, error) {
	files, err := sinkFiles(path)
	if err != nil {
		return nil, err
	}
	var all []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if os.IsNotExist(err) {
			continue // rotated or compressed a moment ago
		}
		if err == nil && strings.HasSuffix(f, ".gz") {
			b, err = gunzip(b)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		all = append(all, b...)
	}
	return all, nil
}

func gunzip(b []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// parse returns all records. Each line must be one.
func parse(b []byte) ([]record, error) {
	var out []record
	for line := range bytes.Lines(b) {
		var r record
		if line[len(line)-1] != '\n' {
			return out, fmt.Errorf("the sink ends within a record: %.100q", line)
		}
		if err := json.Unmarshal(line, &r); err != nil {
			return out, fmt.Errorf("a line is not a record (%w): %.100q", err, line)
		}
		out = append(out, r)
	}
	return out, nil
}

// eventsIn returns the events of a sink that is being written. It skips what is not a
// record, such as a partial one.
func eventsIn(b []byte) []record {
	var out []record
	for line := range bytes.Lines(b) {
		var r record
		if bytes.Contains(line, []byte(`,"event":"`)) && json.Unmarshal(line, &r) == nil && r.Event != "" {
			out = append(out, r)
		}
	}
	return out
}

// rotations returns the number of the last rotated file, 0 if there is none.
func rotations(path string) uint64 {
	files, err := sinkFiles(path)
	if err != nil || len(files) < 2 {
		return 0
	}
	number, _, _ := strings.Cut(strings.TrimPrefix(files[len(files)-2], path+"."), ".")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
