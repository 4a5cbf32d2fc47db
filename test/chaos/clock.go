package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"raytap/shipper"
)

// aheadBy is how far the clock is taken to have been ahead.
const aheadBy = 10 * time.Minute

// clock lets raytap start on what one has left whose clock was ahead: on records in
// the sink's file that the positions do not count yet, behind a kill, and on
// positions that say such a time, behind a stop. From there on the times of each log
// go back once, with an event, also where raytap is killed again, and no line is lost
// or doubled.
func clock(ctx context.Context, binary, dir string, seed uint64, sum *totals) (verdict, error) {
	r := &round{dir: dir, binary: binary, o: options{seed: seed, maxSize: "64MiB", interval: time.Second}}
	v, err := r.exact(ctx, func(ctx context.Context, v *verdict) error {
		for _, leave := range []func(context.Context) ([]key, error){
			func(ctx context.Context) ([]key, error) { return r.aheadInFile(ctx, sum) },
			r.aheadInPositions,
		} {
			moved, err := leave(ctx)
			if err != nil {
				return err
			}
			if err := r.subject.start(); err != nil {
				return err
			}
			sum.aheads(len(moved))
			for _, k := range moved {
				f := r.oracle.of(k)
				f.mu.Lock()
				n := f.ahead
				f.mu.Unlock()
				if !r.awaitSome(ctx, k, "clock", n) {
					v.add("%s: its times do not go back, or no event says so (%d)", k, n)
					return nil
				}
			}
			if err := r.again(sum); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		r.judgeClock(&v)
	}
	return v, err
}

// aheadInFile kills the subject, and has the records that its positions do not
// count yet say a time to come. It gives the logs that print on and have such ones.
func (r *round) aheadInFile(ctx context.Context, sum *totals) ([]key, error) {
	was, _, err := r.stillBehind(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.subject.kill(); err != nil {
		return nil, err
	}
	sum.killedAnywhere()
	moved, _, err := r.stampAhead(func(at int, _ key, _ bool) bool { return int64(at) >= was.Sink.Offset })
	return moved, err
}

// aheadInPositions stops the subject, and has its positions, and the last record of
// each log in the file, say a time to come.
func (r *round) aheadInPositions(ctx context.Context) ([]key, error) {
	if err := r.subject.stop(); err != nil {
		return nil, fmt.Errorf("%w: %w", errEnded, err)
	}
	moved, records, err := r.stampAhead(func(_ int, k key, last bool) bool { return last && slices.Contains(r.long, k) })
	if err != nil {
		return nil, err
	}
	p, err := shipper.OpenPositions(r.subject.s.positions)
	if err != nil {
		return nil, err
	}
	defer p.Close() //nolint:errcheck // it was saved before
	for _, record := range records {
		if err := p.Recovered(record); err != nil {
			return nil, err
		}
	}
	return moved, p.Save(ctx, p.Mark())
}

// stampAhead writes a time to come into those records of the sink's file, in place,
// for which which is true: of their offset, their log, and whether they are its last.
// It gives the logs that print on and have such ones, and the records.
func (r *round) stampAhead(which func(at int, k key, last bool) bool) (moved []key, records [][]byte, err error) {
	f, err := os.OpenFile(r.subject.s.sink, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() //nolint:errcheck // its writes told
	b, err := os.ReadFile(r.subject.s.sink)
	if err != nil {
		return nil, nil, err
	}
	const stamp, begin = "2006-01-02T15:04:05.000000000Z", `{"time":"`
	last, ahead := map[key]int{}, map[key]bool{}
	for _, stamping := range []bool{false, true} {
		at := 0
		for line := range bytes.Lines(b) {
			here := at
			at += len(line)
			var rec record
			if json.Unmarshal(line, &rec) != nil {
				continue // torn
			}
			k := key{rec.Session, rec.SubmissionID}
			if !stamping {
				last[k] = here
			}
			if !stamping || !which(here, k, last[k] == here) {
				continue
			}
			line = bytes.Clone(line)
			copy(line[len(begin):], rec.Time.Add(aheadBy).UTC().Format(stamp))
			if _, err := f.WriteAt(line, int64(here)); err != nil {
				return nil, nil, err
			}
			records = append(records, bytes.TrimSuffix(line, []byte("\n")))
			ahead[k] = true
		}
	}
	for k := range ahead {
		f := r.oracle.of(k)
		f.mu.Lock()
		f.ahead++
		f.mu.Unlock()
		if slices.Contains(r.long, k) {
			moved = append(moved, k)
		}
	}
	r.stamped += len(records)
	if len(moved) == 0 {
		return nil, nil, fmt.Errorf("%w: no log that prints on has a record in the file", errStalled)
	}
	return moved, records, nil
}

// judgeClock sees that no records but those that the harness has stamped so are
// ahead.
func (r *round) judgeClock(v *verdict) {
	b, err := readSink(r.subject.s.sink)
	if err != nil {
		v.add("%v", err)
		return
	}
	ahead := 0
	for line := range bytes.Lines(b) {
		var rec record
		if json.Unmarshal(line, &rec) == nil && time.Until(rec.Time) > time.Minute {
			ahead++
		}
	}
	if ahead != r.stamped {
		v.add("%d records are ahead of the clock, %d were when raytap was started", ahead, r.stamped)
	}
}

// times checks that the times increase, but where a clock event says that ours was
// ahead.
func (j *judge) times(recs []record) {
	var last time.Time
	back := 0
	for i, r := range recs {
		if r.part || r.skipped {
			continue // it shares the time of its record
		}
		if r.Event == "clock" {
			back++
			if !r.Time.Before(last) {
				j.add("a clock event at record %d, and the time before it was not ahead: %s", i, last)
			}
		} else if !r.Time.After(last) {
			j.add("the time of record %d is not after the one before: %s", i, r.Time)
		}
		last = r.Time
	}
	if back > j.f.ahead {
		j.add("%d clock events, and the clock was ahead %d times", back, j.f.ahead)
	}
}
