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
	// emptyLists is the least number of empty lists each time: raytap requests the
	// job list once a second while it doubts a list.
	emptyLists = 3
)

// empty has the head return an empty job list, and 404 for each job, for a few
// seconds, while raytap runs and while it is killed: no job that ended before raytap
// discovered the cluster is shipped, and no line of the running job is lost or
// duplicated.
func empty(ctx context.Context, env environment) (res result, err error) {
	r := newRound(env, options{fsync: "100ms", maxSize: "1MiB", protocol: "auto", agents: "on", interval: 200 * time.Millisecond})
	stop, err := r.start()
	if err != nil {
		return res, err
	}
	defer stop()
	for i := range oldJobs {
		job := r.head.Submit(fmt.Sprintf("old-%02d", i), raytest.JobOptions{})
		job.Print("printed before raytap discovered the cluster\n")
		job.End("SUCCEEDED", 0)
	}
	running := &numberedJob{Job: r.head.Submit("running", raytest.JobOptions{})}
	if ok, err := r.startSubject(ctx, &res); !ok {
		return res, err
	}
	lists, jobs := 0, 0
	for _, kill := range []bool{false, true} {
		list := r.head.Inject(raytest.Fault{Endpoint: raytest.EndpointJobs, Status: http.StatusOK, Body: "[]"})
		one := r.head.Inject(raytest.Fault{Endpoint: raytest.EndpointJob, Status: http.StatusNotFound, Body: "Job does not exist"})
		began := time.Now()
		open := func() bool {
			took := time.Since(began)
			return took < emptyTime || (kill || list.Hits() < emptyLists) && took < 3*emptyTime
		}
		for open() && ctx.Err() == nil {
			running.printLines(ctx, 1)
			if kill && list.Hits() > 0 {
				kill = false
				if err := r.restart(); err != nil {
					err = res.absorb(err)
					return res, err
				}
			}
		}
		list.Remove()
		one.Remove()
		lists += list.Hits()
		jobs += one.Hits()
		listed := r.head.Requests(raytest.EndpointJobs)
		eventually(ctx, 20*time.Second, 10*time.Millisecond, func() bool { return r.head.Requests(raytest.EndpointJobs) >= listed+4 })
	}
	if lists < 2*emptyLists || jobs < emptyLists {
		res.add("only %d empty lists and %d responses 404: the round proves nothing", lists, jobs)
	}
	env.sum.count(&env.sum.emptyResponses, lists+jobs)
	b, err := r.finishNumbered(ctx, running, &res)
	if n := bytes.Count(b, []byte(`"submission_id":"old-`)); n > 0 {
		res.add("%d records of jobs that ended before raytap discovered the cluster", n)
	}
	return res, err
}
