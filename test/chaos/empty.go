package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"raytap/ray/raytest"
)

const (
	oldJobs   = 14
	emptyTime = 3 * time.Second
	// emptyLists is how many empty lists each such time must have at least: the
	// job list is requested once a second while one is in doubt.
	emptyLists = 3
)

// empty is a head that answers an empty job list, and 404 for each job, for a
// few seconds, while raytap runs and while it is killed: no job that had ended
// before raytap first saw the cluster is shipped, and those that run lose and
// double nothing.
func empty(ctx context.Context, binary, dir string, sum *totals) (v verdict, err error) {
	r := &round{dir: dir, binary: binary, oracle: newOracle(), o: options{fsync: "100ms", maxSize: "1MiB", protocol: "auto", agents: "on", interval: 200 * time.Millisecond}}
	stop, err := r.start()
	if err != nil {
		return v, err
	}
	defer stop()
	for i := range oldJobs {
		job := r.head.Submit(fmt.Sprintf("old-%02d", i), raytest.JobOptions{})
		job.Print("printed before raytap saw the cluster\n")
		job.End("SUCCEEDED", 0)
	}
	running := r.head.Submit("running", raytest.JobOptions{})
	if err := r.subject.start(); err != nil {
		return v, err
	}
	if !r.awaitSeen(ctx) {
		v.add("the cluster was never seen")
		return v, ctx.Err()
	}
	lists, ones, printed := 0, 0, 0
	for _, kill := range []bool{false, true} {
		list := r.head.Inject(raytest.Fault{Endpoint: raytest.EndpointJobs, Status: http.StatusOK, Body: "[]"})
		one := r.head.Inject(raytest.Fault{Endpoint: raytest.EndpointJob, Status: http.StatusNotFound, Body: "Job does not exist"})
		began := time.Now()
		open := func() bool {
			took := time.Since(began)
			return took < emptyTime || (kill || list.Hits() < emptyLists) && took < 3*emptyTime
		}
		for ; open() && ctx.Err() == nil; wait(ctx, 20*time.Millisecond) {
			running.Printf("line %d of a job that runs\n", printed)
			printed++
			if kill && list.Hits() > 0 {
				kill = false
				if err := r.subject.kill(); err != nil {
					v.add("%v", err)
					return v, nil
				}
				sum.killedAnywhere()
				if err := r.subject.start(); err != nil {
					return v, err
				}
			}
		}
		list.Remove()
		one.Remove()
		lists += list.Hits()
		ones += one.Hits()
		asked := r.head.Requests(raytest.EndpointJobs)
		for until := time.Now().Add(20 * time.Second); r.head.Requests(raytest.EndpointJobs) < asked+4 && time.Now().Before(until) && ctx.Err() == nil; {
			wait(ctx, 10*time.Millisecond)
		}
	}
	if lists < 2*emptyLists || ones < emptyLists {
		v.add("only %d empty lists and %d answers 404: nothing is proven", lists, ones)
	}
	sum.lied(lists + ones)
	running.End("SUCCEEDED", 0)
	end := []byte(`"event":"end"`)
	var b []byte
	for until := time.Now().Add(20 * time.Second); !bytes.Contains(b, end) && time.Now().Before(until) && ctx.Err() == nil; wait(ctx, 50*time.Millisecond) {
		b, _ = readSink(r.subject.s.sink) // the file is there: lines are in it
	}
	if err := r.subject.stop(); err != nil {
		v.add("%v", err)
	}
	if b, err = readSink(r.subject.s.sink); err != nil {
		return v, err
	}
	if n := bytes.Count(b, []byte(`"submission_id":"old-`)); n > 0 {
		v.add("%d records of jobs that had ended before raytap first saw the cluster", n)
	}
	if n := bytes.Count(b, end); n != 1 {
		v.add("%d end events of the job that ran, want 1", n)
	}
	for i := range printed {
		v.lines++
		switch n := bytes.Count(b, fmt.Appendf(nil, `"message":"line %d of a job that runs"`, i)); {
		case n == 0:
			v.lost++
		case n > 1:
			v.doubled += n - 1
		}
	}
	if v.lost+v.doubled > 0 {
		v.add("%d lines lost, %d doubled", v.lost, v.doubled)
	}
	return v, nil
}
