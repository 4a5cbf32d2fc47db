//go:build e2e && linux

package kuberay

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"raytap/test/program"
)

var rayJobs = flag.Int("rayjobs", 1, "how many RayJobs with ttlSecondsAfterFinished 0 to run")

const rayJobLines = 5000

// The lines of RayJobs whose clusters KubeRay's operator makes and deletes, on a real Ray:
// with a time to live or a preStop hook each line is shipped; without, each line is
// shipped or said to be lost. None is shipped twice.
func TestOperator_RayJobs(t *testing.T) {
	o := newOperated(t, "ray")
	n := newTenant(t, o.Server, "ray", "")
	n.start()
	n.ready()
	const sleep = `{"preStop": {"sleep": {"seconds": 10}}}`
	lost := 0
	for i := range *rayJobs {
		r := o.rayJob(n, fmt.Sprintf("ttl-0-%d", i), 0, "{}")
		if r.await(); len(r.missing) > 0 {
			lost++
		}
		r.check(false)
	}
	t.Logf("ttlSecondsAfterFinished 0: %d of %d RayJobs lost lines", lost, *rayJobs)
	// One head at a time: it takes the whole processor to start.
	r := o.rayJob(n, "prestop", 0, sleep)
	r.await()
	r.check(true)
	r = o.rayJob(n, "ttl-30", 30, "{}")
	r.await()
	r.check(true)
	o.secured(n)
}

// secured ships the lines of a cluster with the token that KubeRay makes for it.
func (o *operated) secured(n *tenant) {
	o.T.Helper()
	_, url := o.createCluster("secured", o.clusterSpec("{}", `"authOptions": {"mode": "token"},`))
	token := o.Must("kubectl -n ray get secret secured -o jsonpath='{.data.auth_token}' | base64 -d")
	id := submit(o.T, url, token, `python3 -c "for i in range(100): print('secured', i)"`)
	o.Until(n.raytap, time.Minute, "the lines of a cluster with a token are there", func() bool {
		got := counts(n.records())
		for i := range 100 {
			if got[fmt.Sprintf("%s secured %d", id, i)] != 1 {
				return false
			}
		}
		return true
	})
	if text := n.log.String() + n.records() + program.Get(n.url+"/metrics"); strings.Contains(text, token) {
		o.T.Error("the token is in raytap's log, records or metrics")
	}
}

// rayJob creates a RayJob. lifecycle is that of the head's container.
func (o *operated) rayJob(n *tenant, name string, ttl int, lifecycle string) *rayJob {
	o.T.Helper()
	o.Apply(fmt.Sprintf(`{"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": %q, "namespace": "ray"}, "spec": {
		"submissionMode": "HTTPMode", "shutdownAfterJobFinishes": true, "ttlSecondsAfterFinished": %d,
		"entrypoint": %q, "rayClusterSpec": %s}}`, name, ttl,
		fmt.Sprintf(`python3 -c "import time
for i in range(%d): print('number', i, flush=True); time.sleep(0.001)"`, rayJobLines), o.clusterSpec(lifecycle, "")))
	return &rayJob{operated: o, n: n, name: name, start: time.Now()}
}

// rayJob is a RayJob that prints numbered lines and ends.
type rayJob struct {
	*operated
	n       *tenant
	name    string
	start   time.Time
	end     record
	missing []int
	twice   []int
	gaps    int
}

// await waits until raytap has written the end of the job.
func (r *rayJob) await() {
	r.T.Helper()
	r.Until(r.n.raytap, 3*time.Minute, "the end of "+r.name+" is there", func() bool {
		for _, have := range r.records() {
			if have.Event == "end" {
				r.end = have
				return true
			}
		}
		return false
	})
	got := map[string]int{}
	for _, have := range r.records() {
		switch have.Event {
		case "":
			got[have.Message]++
		case "gap":
			r.gaps++
		}
		if have.Event != "" {
			r.T.Logf("%s: %s", r.name, have.text)
		}
	}
	for i := range rayJobLines {
		switch got[fmt.Sprintf("number %d", i)] {
		case 0:
			r.missing = append(r.missing, i)
		case 1:
		default:
			r.twice = append(r.twice, i)
		}
	}
	complete := r.end.Complete != nil && *r.end.Complete
	r.T.Logf("%s: %.0f s; %d of %d lines are missing, %d are there twice, %d gaps; complete: %t %s", r.name, time.Since(r.start).Seconds(),
		len(r.missing), rayJobLines, len(r.twice), r.gaps, complete, r.end.Message)
}

func (r *rayJob) records() []record {
	var out []record
	for _, have := range parse(r.n.records()) {
		if have.Owner == r.name {
			out = append(out, have)
		}
	}
	return out
}

// check checks that lines are missing only if the records say so; with all, that none is.
func (r *rayJob) check(all bool) {
	r.T.Helper()
	complete := r.end.Complete != nil && *r.end.Complete
	switch {
	case len(r.twice) > 0:
		r.T.Errorf("%s: lines are there twice: %.200v", r.name, r.twice)
	case len(r.missing) > 0 && all:
		r.T.Errorf("%s: lines are missing: %.200v", r.name, r.missing)
	case len(r.missing) > 0 && (complete || r.gaps == 0):
		r.T.Errorf("%s: lines are missing, with %d gaps and complete: %t: %.200v", r.name, r.gaps, complete, r.missing)
	}
	if got := program.Get(r.n.url + "/metrics"); strings.Contains(got, "\nraytap_up{ray_cluster=\"ray/"+r.name) && strings.Contains(r.end.Message, "deleted") {
		r.T.Errorf("%s: raytap_up exists for a cluster that was deleted", r.name)
	}
}
