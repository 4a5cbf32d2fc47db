package collector_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"

	"raytap/collector"
	"raytap/ray"
)

func TestGather_SeveralClusters(t *testing.T) {
	now := time.Now()
	a := collector.New(full(now), collector.Options{Cluster: "a", SkippedRows: func() uint64 { return 1 }}).Collect(t.Context())
	b := collector.New(swamped(now), collector.Options{Cluster: "b"}).Collect(t.Context())
	got := collector.Gather(a, b)
	byName := func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) }
	if !slices.IsSortedFunc(got, byName) {
		t.Error("the families are not sorted")
	}
	want := gather(t, registered{a, b}) // which fails on a series or a family that comes twice
	if len(got) != len(want) {
		t.Fatalf("%d families, the registry has %d", len(got), len(want))
	}
	onlyA, onlyB := collector.Gather(a), collector.Gather(b)
	for i, f := range want {
		alone := slices.Concat(series(f, onlyA), series(f, onlyB))
		if n := len(got[i].GetMetric()); got[i].GetName() != f.GetName() || n != len(f.GetMetric()) || n != len(alone) {
			t.Errorf("%s: %d series, %d in the registry's %s, %d in the separate expositions", got[i].GetName(), n, len(f.GetMetric()), f.GetName(), len(alone))
		}
	}
}

// series returns the series of one family.
func series(like *dto.MetricFamily, families []*dto.MetricFamily) []*dto.Metric {
	for _, f := range families {
		if f.GetName() == like.GetName() {
			return f.GetMetric()
		}
	}
	return nil
}

func TestGather_Empty(t *testing.T) {
	if f := collector.Gather(); len(f) != 0 {
		t.Errorf("%d families", len(f))
	}
}

// Of a cluster that is gone stay the jobs that had ended when it last listed them.
func TestCollector_Ends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := time.Now().Add(-time.Minute)
		jobs := []ray.Job{
			{Type: ray.JobSubmission, SubmissionID: "runs", Status: ray.JobRunning},
			{Type: ray.JobSubmission, SubmissionID: "failed", Status: ray.JobFailed, End: ended, DriverExitCode: ptr(1)},
			{Type: ray.JobSubmission, SubmissionID: "long ago", Status: ray.JobFailed, End: ended.Add(-48 * time.Hour)},
		}
		c := newCollector(&cluster{jobs: jobs}, collector.Options{})
		if n := len(collector.Gather(c.Ends())); n > 0 {
			t.Errorf("%d families of a cluster that never listed its jobs", n)
		}
		c.ObserveJobs(jobs)
		names := map[string]int{}
		for _, f := range collector.Gather(c.Ends()) {
			names[f.GetName()] = len(f.Metric)
		}
		want := map[string]int{"raytap_job_info": 1, "raytap_job_status": 5, "raytap_job_end_timestamp_seconds": 1, "raytap_job_driver_exit_code": 1, "raytap_jobs_finished_total": 4}
		if !reflect.DeepEqual(names, want) {
			t.Errorf("got %v, want %v", names, want)
		}
		if n := len(collector.Gather(c.Ends().Without(c.Ends()))); n > 0 {
			t.Errorf("%d families are left without those of an equal one", n)
		}
	})
}
