package kuberay

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"raytap/config"
	"raytap/discovery"
	"raytap/discovery/kuberay/kubetest"
)

// fixture is a source that runs against a fake API server.
type fixture struct {
	t      *testing.T
	api    *kubetest.Server
	source *Source
	logs   *logtest.Hook
}

// newFixture returns a source that does not run yet; edit may change its
// configuration.
func newFixture(t *testing.T, edit func(*config.Kubernetes, *Options)) *fixture {
	t.Helper()
	t.Parallel()
	f := &fixture{t: t, api: kubetest.New(t)}
	log, hook := logtest.NewNullLogger()
	f.logs = hook
	k := config.Kubernetes{
		Kubeconfig: config.Path(f.api.Kubeconfig), DrainTimeout: config.Duration(time.Minute),
		Rules: []config.KubernetesRule{{Namespaces: []string{"ray"}, Auth: config.AuthSecret}},
	}
	o := Options{Log: log}
	if edit != nil {
		edit(&k, &o)
	}
	cfg := config.Default()
	cfg.Kubernetes = &k
	var err error
	if f.source, err = New(cfg, o); err != nil {
		t.Fatal(err)
	}
	f.source.gather = time.Millisecond
	f.source.retry.Duration, f.source.retry.Factor = 20*time.Millisecond, 1
	return f
}

// run runs the source until the end of the test.
func (f *fixture) run() *fixture {
	ctx, cancel := context.WithCancel(context.Background())
	done, changed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		_ = f.source.Run(ctx, changed)
		close(changed)
	}()
	go func() {
		for range changed {
		}
	}()
	f.t.Cleanup(func() {
		cancel()
		<-done
	})
	return f
}

// until waits for a condition.
func (f *fixture) until(what string, condition func() bool) {
	f.t.Helper()
	for end := time.Now().Add(10 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("not within 10 s: %s; now %s", what, f.describe())
		}
	}
}

// describe returns the clusters, one after the other.
func (f *fixture) describe() string {
	var all []string
	for _, c := range f.source.Clusters() {
		s := c.Facts.State()
		var agents []string
		for a := range s.Agents {
			agents = append(agents, a.String())
		}
		slices.Sort(agents)
		all = append(all, fmt.Sprintf("%s %s new=%t phase=%v %s [%s] %s", c.Name, c.UID, c.New, s.Phase, s.Address, strings.Join(agents, " "), s.Why))
	}
	return strings.Join(all, "; ")
}

// untilIs waits until the clusters are these.
func (f *fixture) untilIs(want string) {
	f.t.Helper()
	f.until(want, func() bool { return f.describe() == want })
}

func cluster(name, uid string) kubetest.Cluster {
	return kubetest.Cluster{Namespace: "ray", Name: name, UID: uid}
}

func head(of, ip string) kubetest.Pod {
	return kubetest.Pod{Namespace: "ray", Name: "head-of-" + of, UID: "head-of-" + of, Cluster: of, IP: ip}
}

func (f *fixture) put(all ...any) {
	for _, o := range all {
		switch o := o.(type) {
		case kubetest.Cluster:
			f.api.Put(kubetest.RayClusters, o.Object())
		case kubetest.Pod:
			f.api.Put(kubetest.Pods, o.Object())
		}
	}
}

// A cluster is found with its head and the addresses of its own pods; one that comes
// after the first list is new.
func TestSource_Finds(t *testing.T) {
	f := newFixture(t, nil)
	worker := kubetest.Pod{Namespace: "ray", Name: "w", UID: "w", Cluster: "u1", Worker: true, IP: "10.0.0.2"}
	f.put(cluster("a", "u1"), head("u1", "10.0.0.1"), worker)
	f.run().untilIs("ray/a u1 new=false phase=1 10.0.0.1:8265 [10.0.0.1 10.0.0.2] ")
	f.put(cluster("b", "u2"))
	f.untilIs("ray/a u1 new=false phase=1 10.0.0.1:8265 [10.0.0.1 10.0.0.2] ; ray/b u2 new=true phase=0  [] it has no head pod yet")
	worker.Phase = "Succeeded" // its address may be another pod's now
	f.put(head("u2", "10.0.0.9"), worker)
	f.untilIs("ray/a u1 new=false phase=1 10.0.0.1:8265 [10.0.0.1] ; ray/b u2 new=true phase=1 10.0.0.9:8265 [10.0.0.9] ")
	for _, r := range []string{"rayclusters", "pods"} {
		if got := f.api.Requests("/" + r); len(got) != 1 || !strings.Contains(got[0], "sendInitialEvents=true") || !strings.Contains(got[0], "/namespaces/ray/") {
			t.Errorf("requests: %q, want one stream", got)
		}
	}
	if got := f.api.Requests("/pods")[0]; !strings.Contains(got, "labelSelector=ray.io%2Fis-ray-node%3Dyes") {
		t.Errorf("pods are not selected by the API server: %s", got)
	}
	if n := testutil.CollectAndCount(f.source, "raytap_kubernetes_last_contact_timestamp_seconds"); n != 2 {
		t.Errorf("%d series of the last contact, want 2", n)
	}
}

// What a cluster waits for is no failure of it, and is in its state.
func TestSource_States(t *testing.T) {
	pod := head("u1", "10.0.0.1")
	change := func(edit func(*kubetest.Pod)) *kubetest.Pod {
		p := pod
		edit(&p)
		return &p
	}
	for name, tt := range map[string]struct {
		cluster kubetest.Cluster
		pod     *kubetest.Pod // nil: none
		want    string
		kind    string
	}{
		"suspended":             {kubetest.Cluster{Suspend: true}, nil, "phase=0  [] it is suspended", kindSuspended},
		"no head":               {kubetest.Cluster{}, nil, "phase=0  [] it has no head pod yet", kindWaiting},
		"pulling its image":     {kubetest.Cluster{}, change(func(p *kubetest.Pod) { p.Phase, p.IP, p.Waiting = "Pending", "", "ImagePullBackOff" }), "phase=0  [] its head pod head-of-u1 does not run: ImagePullBackOff", kindWaiting},
		"not scheduled":         {kubetest.Cluster{}, change(func(p *kubetest.Pod) { p.Phase, p.IP, p.Waiting = "Pending", "", "" }), "phase=0  [] its head pod head-of-u1 does not run: Pending", kindWaiting},
		"not ready":             {kubetest.Cluster{}, change(func(p *kubetest.Pod) { p.NotReady = true }), "phase=0 10.0.0.1:8265 [10.0.0.1] its head pod head-of-u1 is not ready yet", kindWaiting},
		"failed":                {kubetest.Cluster{}, change(func(p *kubetest.Pod) { p.Phase = "Failed" }), "phase=0  [] it has no head pod yet", kindWaiting},
		"the network of a node": {kubetest.Cluster{}, change(func(p *kubetest.Pod) { p.HostNetwork = true }), "phase=0  [] its head pod head-of-u1 has hostNetwork: who answers at its address cannot be known", kindRefused},
		"a pod with its label":  {kubetest.Cluster{}, change(func(p *kubetest.Pod) { p.Cluster, p.Label = "", "a" }), "phase=0  [] it has no head pod yet", kindWaiting},
		"elsewhere":             {kubetest.Cluster{ManagedBy: multiKueue}, &pod, "phase=0  [] Kueue runs it in another Kubernetes cluster (managedBy kueue.x-k8s.io/multikueue)", kindRefused},
		"a named port":          {kubetest.Cluster{Port: "1"}, change(func(p *kubetest.Pod) { p.Port = 9000 }), "phase=1 10.0.0.1:9000 [10.0.0.1] ", kindWatched},
		"a port of its command": {kubetest.Cluster{Port: "9001"}, &pod, "phase=1 10.0.0.1:9001 [10.0.0.1] ", kindWatched},
		"IPv6":                  {kubetest.Cluster{}, change(func(p *kubetest.Pod) { p.IP = "fd00::1" }), "phase=1 [fd00::1]:8265 [fd00::1] ", kindWatched},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			tt.cluster.Namespace, tt.cluster.Name, tt.cluster.UID = "ray", "a", "u1"
			f.put(tt.cluster)
			if tt.pod != nil {
				f.put(*tt.pod)
			}
			f.run().untilIs("ray/a u1 new=false " + tt.want)
			if n := f.source.counts()[tt.kind]; n != 1 {
				t.Errorf("counts: %v, want one %s", f.source.counts(), tt.kind)
			}
		})
	}
}

// A deleted cluster drains while its head pod exists, with the address that Kubernetes
// still says; another one of its name is another cluster, also if the watch delivers
// the two as one change.
func TestSource_Deleted(t *testing.T) {
	f := newFixture(t, nil)
	f.put(cluster("a", "u1"), head("u1", "10.0.0.1"))
	f.run().untilIs("ray/a u1 new=false phase=1 10.0.0.1:8265 [10.0.0.1] ")
	old := f.source.Clusters()[0].Facts
	f.put(cluster("a", "u2"), head("u2", "10.0.0.2"))
	f.untilIs("ray/a u1 new=false phase=2 10.0.0.1:8265 [10.0.0.1] ; ray/a u2 new=true phase=1 10.0.0.2:8265 [10.0.0.2] ")
	f.api.Delete(kubetest.Pods, "ray", "head-of-u1")
	f.untilIs("ray/a u2 new=true phase=1 10.0.0.2:8265 [10.0.0.2] ")
	if p := old.State().Phase; p != discovery.Gone {
		t.Errorf("phase %v of a cluster without a head", p)
	}
	pod := head("u2", "10.0.0.2")
	pod.Deleting = true // the cluster was not seen to be deleted
	f.put(pod)
	f.until("the pod is being deleted", func() bool { return len(f.source.Clusters()[0].Facts.State().Deleted) == 1 })
	if got, want := f.describe(), "ray/a u2 new=true phase=1 10.0.0.2:8265 [10.0.0.2] "; got != want {
		t.Errorf("a head that is deleted alone: got %q, want %q", got, want)
	}
	f.api.Delete(kubetest.Pods, "ray", "head-of-u2")
	f.untilIs("ray/a u2 new=true phase=0  [] it has no head pod yet")
	f.put(head("u2", "10.0.0.3")) // KubeRay makes another head
	f.untilIs("ray/a u2 new=true phase=1 10.0.0.3:8265 [10.0.0.3] ")
	f.api.Delete(kubetest.RayClusters, "ray", "a")
	f.api.Delete(kubetest.Pods, "ray", "head-of-u2")
	f.untilIs("")
}

// A watch that was cut continues; one that the API server has forgotten is listed again,
// and only what is not in that list is gone.
func TestSource_WatchEnds(t *testing.T) {
	f := newFixture(t, nil)
	f.put(cluster("a", "u1"), cluster("b", "u2"), head("u1", "10.0.0.1"))
	const both = "ray/a u1 new=false phase=1 10.0.0.1:8265 [10.0.0.1] ; ray/b u2 new=false phase=0  [] it has no head pod yet"
	f.run().untilIs(both)
	f.api.CutWatches()
	f.put(cluster("c", "u3"))
	f.untilIs(both + "; ray/c u3 new=true phase=0  [] it has no head pod yet")
	touched := f.source.Clusters()[0].Facts.Changed()
	f.api.Delete(kubetest.RayClusters, "ray", "b")
	f.api.Compact()
	f.api.CutWatches()
	f.untilIs("ray/a u1 new=false phase=1 10.0.0.1:8265 [10.0.0.1] ; ray/c u3 new=true phase=0  [] it has no head pod yet")
	select {
	case <-touched:
		t.Error("a cluster that is in both lists was changed")
	default:
	}
}

// While the API server refuses to answer, what is known stays.
func TestSource_Refused(t *testing.T) {
	for _, status := range []int{http.StatusForbidden, http.StatusNotFound, http.StatusInternalServerError} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			f := newFixture(t, nil)
			f.put(cluster("a", "u1"), head("u1", "10.0.0.1"))
			const known = "ray/a u1 new=false phase=1 10.0.0.1:8265 [10.0.0.1] "
			f.run().untilIs(known)
			f.api.Refuse(kubetest.RayClusters, status)
			f.api.Refuse(kubetest.Pods, status)
			f.until("two refusals", func() bool {
				return len(f.api.Requests("rayclusters")) > 3 && len(f.api.Requests("pods")) > 3
			})
			if got := f.describe(); got != known {
				t.Errorf("got %q, want %q", got, known)
			}
			f.api.Refuse(kubetest.RayClusters, 0)
			f.api.Refuse(kubetest.Pods, 0)
			f.put(cluster("b", "u2"))
			f.untilIs(known + "; ray/b u2 new=true phase=0  [] it has no head pod yet")
		})
	}
}

// KubeRay may be installed later: the log says once that it is missing.
func TestSource_NoKubeRay(t *testing.T) {
	f := newFixture(t, nil)
	f.api.Refuse(kubetest.RayClusters, http.StatusNotFound)
	f.run().until("several attempts", func() bool { return len(f.api.Requests("rayclusters")) > 3 })
	if f.source.Listed("ray") {
		t.Error("a list that was refused counts as one")
	}
	f.put(cluster("a", "u1"))
	f.api.Refuse(kubetest.RayClusters, 0)
	f.untilIs("ray/a u1 new=false phase=0  [] it has no head pod yet")
	if !f.source.Listed("ray") {
		t.Error("no list")
	}
	warnings := 0
	for _, e := range f.logs.AllEntries() {
		if e.Level == logrus.WarnLevel {
			warnings++
		}
	}
	if warnings != 1 {
		t.Errorf("%d warnings, want 1", warnings)
	}
}

// An API server that cannot stream the first list sends it in pages.
func TestSource_NoStream(t *testing.T) {
	f := newFixture(t, nil)
	f.api.NoStream()
	f.put(cluster("a", "u1"), head("u1", "10.0.0.1"))
	f.run().untilIs("ray/a u1 new=false phase=1 10.0.0.1:8265 [10.0.0.1] ")
	f.put(cluster("b", "u2"))
	f.untilIs("ray/a u1 new=false phase=1 10.0.0.1:8265 [10.0.0.1] ; ray/b u2 new=true phase=0  [] it has no head pod yet")
	if got := f.api.Requests("limit="); len(got) != 2 {
		t.Errorf("lists: %q, want one of each resource", got)
	}
}

// The first rule that matches is used; a cluster that no rule matches is none.
func TestSource_Rules(t *testing.T) {
	f := newFixture(t, func(k *config.Kubernetes, o *Options) {
		k.Rules = []config.KubernetesRule{
			{Namespaces: []string{"ray"}, Selector: "team=a", Auth: config.AuthNone, ClusterLabels: map[string]string{"team": "team_name", "none": "x"}},
			{Namespaces: []string{config.AllNamespaces}, Selector: "team in (a,b)", Auth: config.AuthSecret},
		}
		o.Owns = func(uid string, created time.Time) bool { return uid != "u5" && created.Year() == 2026 }
	})
	for i, c := range []kubetest.Cluster{
		{Namespace: "ray", Labels: map[string]string{"team": "a"}, Owner: "RayJob j"},
		{Namespace: "other", Labels: map[string]string{"team": "a"}, Owner: "Deployment d"},
		{Namespace: "other", Labels: map[string]string{"team": "c"}},
		{Namespace: "ray"},
		{Namespace: "ray", Labels: map[string]string{"team": "a"}},
	} {
		c.Name, c.UID = fmt.Sprint("c", i+1), fmt.Sprint("u", i+1)
		f.put(c)
	}
	f.run().until("three clusters", func() bool { return len(f.source.Clusters()) == 3 })
	all := f.source.Clusters()
	if why := all[2].Facts.State().Why; all[2].Name != "ray/c5" || why != "another shard watches it" {
		t.Errorf("got %s", f.describe())
	}
	if all[0].Name != "other/c2" || all[1].Name != "ray/c1" || all[0].Facts.Token == nil || all[1].Facts.Token == nil {
		t.Errorf("got %s", f.describe())
	}
	for i, want := range []string{"map[k8s_namespace:other]", "map[k8s_namespace:ray owner_kind:RayJob owner_name:j team_name:a]"} {
		if got := fmt.Sprint(all[i].Facts.State().Labels); got != want {
			t.Errorf("labels %s, want %s", got, want)
		}
	}
	if n := f.source.counts()[kindOtherShard]; n != 1 {
		t.Errorf("%d clusters of other shards, want 1", n)
	}
	if got := f.api.Requests("/namespaces/"); len(got) > 0 {
		t.Errorf("requests for namespaces: %q", got)
	}
}

// Which clusters are new is remembered across restarts.
func TestSource_Memory(t *testing.T) {
	memory := &fakeMemory{saved: map[string][]string{}}
	f := newFixture(t, func(_ *config.Kubernetes, o *Options) { o.Memory = memory })
	f.put(cluster("a", "u1"), cluster("b", "u2"))
	f.run().until("two clusters", func() bool { return len(f.source.Clusters()) == 2 })
	f.put(cluster("c", "u3"))
	f.until("three clusters", func() bool { return len(f.source.Clusters()) == 3 })
	f.api.Delete(kubetest.RayClusters, "ray", "b")
	f.until("two clusters", func() bool { return len(f.source.Clusters()) == 2 })

	g := &fixture{t: t, api: f.api}
	log, _ := logtest.NewNullLogger()
	var err error
	if g.source, err = New(f.source.cfg, Options{Memory: memory, Log: log}); err != nil {
		t.Fatal(err)
	}
	g.run().untilIs("ray/a u1 new=false phase=0  [] it has no head pod yet; ray/c u3 new=true phase=0  [] it has no head pod yet")
	if got := fmt.Sprint(memory.saved); got != "map[ray:[u1]]" {
		t.Errorf("saved %s", got)
	}
}

// A reload applies its rules at once to what is known, and a cluster that stays keeps its
// facts: nothing of it is started again.
func TestSource_Reload(t *testing.T) {
	f := newFixture(t, func(k *config.Kubernetes, _ *Options) {
		k.Rules = []config.KubernetesRule{{Namespaces: []string{config.AllNamespaces}, Auth: config.AuthSecret}}
	})
	other := kubetest.Cluster{Namespace: "other", Name: "b", UID: "u2"}
	f.put(cluster("a", "u1"), head("u1", "10.0.0.1"), other)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.source.Run(ctx, make(chan struct{}, 100)) }()
	const known = "ray/a u1 new=false phase=1 10.0.0.1:8265 [10.0.0.1] "
	f.untilIs("other/b u2 new=false phase=0  [] it has no head pod yet; " + known)
	facts := f.source.Clusters()[1].Facts

	log, _ := logtest.NewNullLogger()
	cfg := f.source.cfg
	k := *cfg.Kubernetes
	k.Rules = []config.KubernetesRule{{Namespaces: []string{"ray"}, Auth: config.AuthNone}}
	cfg.Kubernetes = &k
	g := &fixture{t: t, api: f.api}
	var err error
	if g.source, err = New(cfg, Options{Log: log, Previous: f.source}); err != nil {
		t.Fatal(err)
	}
	if got := g.describe(); got != known || g.source.Clusters()[0].Facts != facts {
		t.Errorf("after the reload: %s", got)
	}
	if !strings.Contains(f.describe(), "other/b") {
		t.Error("the reload was applied to the previous source")
	}
	cancel()
	<-ended
	g.run()
	f.put(cluster("c", "u3"))
	g.untilIs(known + "; ray/c u3 new=true phase=0  [] it has no head pod yet")
	if n := len(g.source.store.clusters); n != 2 {
		t.Errorf("%d clusters are kept, want 2", n)
	}
}

type fakeMemory struct{ saved map[string][]string }

func (m *fakeMemory) Load() (map[string][]string, error) { return m.saved, nil }
func (m *fakeMemory) Save(all map[string][]string) error { m.saved = all; return nil }

// Addresses of pods are believed only while the API server says what changes.
func TestSource_Stale(t *testing.T) {
	f := newFixture(t, nil)
	f.put(cluster("a", "u1"), head("u1", "10.0.0.1"))
	f.run().untilIs("ray/a u1 new=false phase=1 10.0.0.1:8265 [10.0.0.1] ")
	pods := f.source.watches[1]
	age := func() {
		pods.mu.Lock()
		pods.contact = pods.contact.Add(-staleAfter)
		pods.mu.Unlock()
		f.source.store.markAll()
	}
	age()
	f.untilIs("ray/a u1 new=false phase=1 10.0.0.1:8265 [] ")
	f.api.Bookmark()
	f.until("a contact", func() bool { at, _, _ := pods.status(); return time.Since(at) < staleAfter })
	f.source.store.markAll()
	f.untilIs("ray/a u1 new=false phase=1 10.0.0.1:8265 [10.0.0.1] ")
	if s := f.source.Clusters()[0].Facts.State(); !s.Agents[netip.MustParseAddr("10.0.0.1")] {
		t.Errorf("agents %v", s.Agents)
	}
}
