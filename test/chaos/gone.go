package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// gone removes the sink's file, alone or with its directory, while raytap runs: at
// once followed by a kill, or by one later. The law, with A what was in the removed
// file at that moment, and B what is in the files after it: a line that is not in A
// is in B; no line is twice in B; and what the saved positions counted of A is not
// in B. So together they have each line once, where one that is in both, behind
// what was counted, is taken for one.
func gone(ctx context.Context, binary, dir string, seed uint64, sum *totals) (verdict, error) {
	r := &round{dir: dir, binary: binary, o: options{seed: seed, maxSize: "64MiB", interval: time.Second}}
	v, err := r.exact(ctx, func(ctx context.Context, v *verdict) error {
		file := r.subject.s.sink
		for _, c := range []struct {
			what   string
			remove func() error
			atOnce bool
		}{
			{"the file", func() error { return os.Remove(file) }, false},
			{"the file, before a kill", func() error { return os.Remove(file) }, true},
			{"its directory", func() error { return os.RemoveAll(filepath.Dir(file)) }, false},
		} {
			was, b, err := r.stillBehind(ctx)
			if err != nil {
				return err
			}
			if err := c.remove(); err != nil {
				return err
			}
			r.mu.Lock()
			r.gone = append(r.gone, removedFile{b, int(was.Sink.Offset)})
			r.mu.Unlock()
			sum.removal()
			if c.atOnce {
				err = r.again(sum)
			} else {
				r.subject.thaw()
			}
			if err != nil {
				return err
			}
			filled := func() bool { return r.subject.size() > 0 }
			for until := time.Now().Add(longest); !filled() && time.Now().Before(until) && ctx.Err() == nil; {
				wait(ctx, 10*time.Millisecond)
			}
			if !filled() {
				v.add("%s was removed, and no other file is written", c.what)
				return nil
			}
			if _, _, err := r.stillBehind(ctx); err != nil {
				return err
			}
			if err := r.again(sum); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		r.judgeGone(&v)
	}
	return v, err
}

// removedFile is what was in the sink's file when it was removed.
type removedFile struct {
	content []byte
	counted int // so many bytes of it were counted by the saved positions
}

// recordID tells a record from all others.
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

// content is what the sink holds, oldest first, and before it what only the files
// had that were removed.
func (r *round) content() ([]byte, error) {
	r.mu.Lock()
	files := r.gone
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

// judgeGone looks at what content takes for one: no file has a record twice, none
// has one again that was counted in the file before, and one that is there again
// says the same.
func (r *round) judgeGone(v *verdict) {
	now, err := readSink(r.subject.s.sink)
	if err != nil {
		v.add("%v", err)
		return
	}
	type place struct {
		message string
		counted bool
		file    int
	}
	before, reread := map[recordID]place{}, 0
	for i, f := range append(r.gone, removedFile{content: now}) {
		at := 0
		for line := range bytes.Lines(f.content) {
			at += len(line)
			var rec record
			_ = json.Unmarshal(line, &rec) // what is no record was told of by judge
			id := idOf(line)
			was, there := before[id]
			switch {
			case !there:
			case was.file == i:
				v.add("%v: twice in file %d", id, i)
			case was.counted:
				v.add("%v: counted in file %d, and again in file %d", id, was.file, i)
			case was.message != rec.Message:
				v.add("%v: it was %.80q in file %d, and is %.80q in file %d", id, was.message, was.file, rec.Message, i)
			default:
				reread++
			}
			before[id] = place{rec.Message, at <= f.counted || was.counted, i}
		}
	}
	if reread == 0 {
		v.add("no line was read again: nothing is proven")
	}
}
