package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// sinkRemoved removes the sink file, alone or with its directory, while raytap runs,
// and kills raytap immediately or later. Let A be the lines in the removed file and B
// those in the files after it. A line that is not in A is in B; no line is twice in B;
// and no line of A that the saved positions counted is in B. So A and B together have
// each line once, if a line of A that was not counted is taken for the same line in B.
func sinkRemoved(ctx context.Context, env environment) (result, error) {
	r := newRound(env, options{seed: env.seed, maxSize: "64MiB", interval: time.Second})
	res, err := r.exact(ctx, func(ctx context.Context, res *result) error {
		file := r.subject.s.sink
		for _, c := range []struct {
			what    string
			remove  func() error
			killNow bool
		}{
			{"the file", func() error { return os.Remove(file) }, false},
			{"the file, before a kill", func() error { return os.Remove(file) }, true},
			{"its directory", func() error { return os.RemoveAll(filepath.Dir(file)) }, false},
		} {
			was, b, err := r.freezeUnsaved(ctx)
			if err != nil {
				return err
			}
			if err := c.remove(); err != nil {
				return err
			}
			r.mu.Lock()
			r.removed = append(r.removed, removedFile{b, int(was.Sink.Offset)})
			r.mu.Unlock()
			env.sum.count(&env.sum.sinksRemoved, 1)
			if c.killNow {
				err = r.restart()
			} else {
				r.subject.thaw()
			}
			if err != nil {
				return err
			}
			if !eventually(ctx, longest, 10*time.Millisecond, func() bool { return r.subject.size() > 0 }) {
				res.add("%s was removed, and raytap does not write a new file", c.what)
				return nil
			}
			if _, _, err := r.freezeUnsaved(ctx); err != nil {
				return err
			}
			if err := r.restart(); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		r.checkRemoved(&res)
	}
	return res, err
}

// removedFile is the sink file when it was removed.
type removedFile struct {
	content []byte
	counted int // bytes of it that the saved positions counted
}

// recordID identifies a record.
type recordID struct {
	Session, SubmissionID, Event string
	Epoch, Seq                   int
}

func idOf(line []byte) (id recordID) {
	var r record
	if json.Unmarshal(line, &r) == nil {
		id = recordID{r.Session, r.SubmissionID, r.Event, r.Epoch, r.Seq}
	}
	return id
}

// content returns the content of the sink, oldest first, after the records that are in
// removed files only.
func (r *round) content() ([]byte, error) {
	r.mu.Lock()
	files := r.removed
	r.mu.Unlock()
	now, err := readSink(r.subject.s.sink)
	if err != nil || len(files) == 0 {
		return now, err
	}
	later := idsIn(now)
	parts := [][]byte{now}
	for i := len(files) - 1; i >= 0; i-- {
		var only []byte
		for line := range bytes.Lines(files[i].content) {
			if !later[idOf(line)] {
				only = append(only, line...)
			}
		}
		for id := range idsIn(files[i].content) {
			later[id] = true
		}
		parts = append([][]byte{only}, parts...)
	}
	return bytes.Join(parts, nil), nil
}

func idsIn(b []byte) map[recordID]bool {
	ids := map[recordID]bool{}
	for line := range bytes.Lines(b) {
		ids[idOf(line)] = true
	}
	return ids
}

// checkRemoved checks the records that content merges: no file has a record twice,
// none repeats a record that was counted in an earlier file, and a repeated record has
// the same message.
func (r *round) checkRemoved(res *result) {
	now, err := readSink(r.subject.s.sink)
	if err != nil {
		res.add("%v", err)
		return
	}
	type place struct {
		message string
		counted bool
		file    int
	}
	before, repeated := map[recordID]place{}, 0
	for i, f := range append(r.removed, removedFile{content: now}) {
		at := 0
		for line := range bytes.Lines(f.content) {
			at += len(line)
			var rec record
			_ = json.Unmarshal(line, &rec) // check reports what is not a record
			id := idOf(line)
			was, exists := before[id]
			switch {
			case !exists:
			case was.file == i:
				res.add("%v: twice in file %d", id, i)
			case was.counted:
				res.add("%v: counted in file %d, and repeated in file %d", id, was.file, i)
			case was.message != rec.Message:
				res.add("%v: %.80q in file %d, but %.80q in file %d", id, was.message, was.file, rec.Message, i)
			default:
				repeated++
			}
			before[id] = place{rec.Message, at <= f.counted || was.counted, i}
		}
	}
	if repeated == 0 {
		res.add("no line was read again: the round proves nothing")
	}
}
