package kuberay

import (
	"encoding/json"
	"fmt"
	"testing"

	"raytap/discovery/kuberay/kubetest"
)

// The list of clusters changes with their number and their phases, and with nothing else.
func TestSource_Changes(t *testing.T) {
	f := newFixture(t, nil)
	f.source.firstSeen.listed("ray", nil)
	pods := map[string]kubetest.Pod{}
	for i, step := range []struct {
		change func()
		want   bool
	}{
		{func() { pods["h"] = head("u1", "10.0.0.1") }, false}, // of a cluster that is not known
		{func() { f.source.store.putCluster(&clusterFacts{uid: "u1", namespace: "ray", name: "a"}) }, true},
		{func() {}, false},
		{func() { pods["w"] = kubetest.Pod{UID: "w", Cluster: "u1", Worker: true, IP: "10.0.0.2"} }, false},
		{func() {
			f.source.store.putCluster(&clusterFacts{uid: "u1", namespace: "ray", name: "a", labels: map[string]string{"x": "y"}})
		}, false},
		{func() { h := pods["h"]; h.IP = "10.0.0.3"; pods["h"] = h }, false}, // another head of the same cluster
		{func() { h := pods["h"]; h.Waiting = "CrashLoopBackOff"; pods["h"] = h }, true},
		{func() { f.source.store.removeCluster("u1") }, true},
		{func() { delete(pods, "h"); f.source.store.removePod("head-of-u1") }, true},
		{func() {}, false},
	} {
		step.change()
		for _, p := range pods {
			f.source.store.putPod(podOf(t, p))
		}
		if got := f.source.update(); got != step.want {
			t.Errorf("step %d: changed %t: %s", i, got, f.describe())
		}
	}
	if n := len(f.source.store.clusters); n != 0 {
		t.Errorf("%d clusters are kept", n)
	}
}

// Thousands of clusters that come and go leave nothing behind.
func TestSource_Churn(t *testing.T) {
	f := newFixture(t, nil)
	s := f.source.store
	f.source.firstSeen.listed("ray", nil)
	like := podOf(t, head("", "10.0.0.1"))
	for i := range 1000 {
		uid := fmt.Sprint(i)
		s.putCluster(&clusterFacts{uid: uid, namespace: "ray", name: "job-" + uid})
		p := *like
		p.uid, p.owner = "head-of-"+uid, uid
		s.putPod(&p)
		f.source.update()
		if i%2 == 0 { // the pod outlives the cluster, or goes first
			s.removeCluster(uid)
			f.source.update()
			s.removePod(p.uid)
		} else {
			s.removePod(p.uid)
			f.source.update()
			s.removeCluster(uid)
		}
		f.source.update()
	}
	for name, n := range map[string]int{
		"clusters": len(s.clusters), "names": len(s.byName), "pods": len(s.pods), "owners": len(s.byOwner), "marks": len(s.dirty),
		"entries": len(f.source.entries), "old uids": len(f.source.firstSeen.old["ray"]),
	} {
		if n != 0 {
			t.Errorf("%d %s are kept", n, name)
		}
	}
}

// podOf returns the facts of a pod.
func podOf(t *testing.T, p kubetest.Pod) *podFacts {
	t.Helper()
	text, err := json.Marshal(p.Object())
	if err != nil {
		t.Fatal(err)
	}
	var o pod
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatal(err)
	}
	return factsOfPod(&o)
}
