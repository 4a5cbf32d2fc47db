package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"raytap/shipper/checkpoint"
)

// aheadBy is how far the clock was ahead.
const aheadBy = 10 * time.Minute

// clock starts raytap on the files of one whose clock was ahead: on records in the
// sink file that the positions do not count yet, after a kill, and on positions with
// such a time, after a stop. The times of each log then go back once, with an event,
// also if raytap is killed again, and no line is lost or duplicated.
func clock(ctx context.Context, env environment) (result, error) {
	r := newRound(env, options{seed: env.seed, maxSize: "64MiB", interval: time.Second})
	res, err := r.exact(ctx, func(ctx context.Context, res *result) error {
		for _, moveAhead := range []func(context.Context) ([]key, error){r.aheadInFile, r.aheadInPositions} {
			moved, err := moveAhead(ctx)
			if err != nil {
				return err
			}
			if err := r.subject.start(); err != nil {
				return err
			}
			env.sum.count(&env.sum.clocksAhead, len(moved))
			for _, k := range moved {
				f := r.oracle.of(k)
				f.mu.Lock()
				n := f.ahead
				f.mu.Unlock()
				if !r.awaitEventFor(ctx, k, "clock", n) {
					res.add("%s: no clock event %d", k, n)
					return nil
				}
			}
			if err := r.restart(); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		r.checkClock(&res)
	}
	return res, err
}

// aheadInFile kills raytap and moves the times of the records that its positions do
// not count yet into the future. It returns the logs of running jobs with such records.
func (r *round) aheadInFile(ctx context.Context) ([]key, error) {
	was, _, err := r.freezeUnsaved(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.subject.kill(); err != nil {
		return nil, err
	}
	r.env.sum.killedAnyTime()
	moved, _, err := r.stampAhead(func(at int, _ key, _ bool) bool { return int64(at) >= was.Sink.Offset })
	return moved, err
}

// aheadInPositions stops raytap and moves the times in its positions, and of the last
// record of each log in the sink file, into the future.
func (r *round) aheadInPositions(ctx context.Context) ([]key, error) {
	if err := r.subject.stop(); err != nil {
		return nil, fmt.Errorf("%w: %w", errExited, err)
	}
	moved, records, err := r.stampAhead(func(_ int, k key, last bool) bool { return last && slices.Contains(r.long, k) })
	if err != nil {
		return nil, err
	}
	p, err := checkpoint.Open(r.subject.s.positions)
	if err != nil {
		return nil, err
	}
	defer p.Close() // it was saved before
	for _, record := range records {
		if err := p.Recovered(record); err != nil {
			return nil, err
		}
	}
	return moved, p.Save(ctx, p.Watermark())
}

// stampAhead moves the times of records in the sink file into the future, in place.
// selected chooses the records by offset, log, and whether it is the log's last one.
// stampAhead returns the logs of running jobs with such records, and all such records.
func (r *round) stampAhead(selected func(at int, k key, last bool) bool) (moved []key, records [][]byte, err error) {
	f, err := os.OpenFile(r.subject.s.sink, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() // errors are reported by its writes
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
				continue // partial
			}
			k := key{rec.Session, rec.SubmissionID}
			if !stamping {
				last[k] = here
			}
			if !stamping || !selected(here, k, last[k] == here) {
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
		return nil, nil, fmt.Errorf("%w: no running job has a record in the file", errStalled)
	}
	return moved, records, nil
}

// checkClock checks that no records are ahead except those that the harness changed.
func (r *round) checkClock(res *result) {
	b, err := readSink(r.subject.s.sink)
	if err != nil {
		res.add("%v", err)
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
		res.add("%d records are ahead of the clock, want %d", ahead, r.stamped)
	}
}

// times checks that the times increase, except at a clock event.
func (c *checker) times(recs []record) {
	var last time.Time
	back := 0
	for i, r := range recs {
		if r.part || r.skipped {
			continue // it has the time of its record
		}
		if r.Event == "clock" {
			back++
			if !r.Time.Before(last) {
				c.add("clock event at record %d, but the time before it was not ahead: %s", i, last)
			}
		} else if !r.Time.After(last) {
			c.add("the time of record %d is not after the previous one: %s", i, r.Time)
		}
		last = r.Time
	}
	if back > c.f.ahead {
		c.add("%d clock events, but the clock was ahead %d times", back, c.f.ahead)
	}
}
