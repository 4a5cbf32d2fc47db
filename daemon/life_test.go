package daemon

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"raytap/config"
	"raytap/discovery"
	"raytap/ray/raytest"
)

// fakeSource is a discovery.Source whose clusters a test sets.
type fakeSource struct {
	mu      sync.Mutex
	list    []discovery.Cluster
	changed chan struct{}
}

func (s *fakeSource) Clusters() []discovery.Cluster {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list
}

func (s *fakeSource) set(list ...discovery.Cluster) {
	s.mu.Lock()
	s.list = list
	s.mu.Unlock()
	s.changed <- struct{}{}
}

func (s *fakeSource) Run(ctx context.Context, changed chan<- struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
		}
		select {
		case <-ctx.Done():
			return nil
		case changed <- struct{}{}:
		}
	}
}

// kubernetesCluster returns a cluster that a head serves, at an address that only facts have.
func kubernetesCluster(t *testing.T, uid string, head *raytest.Head) discovery.Cluster {
	t.Helper()
	c := configure(t, map[string]*raytest.Head{"x": head}, "x").Clusters[0]
	c.Name, c.URL = "team/train", config.URL("http://train.team.invalid:8265")
	f := &discovery.Facts{}
	f.Set(running(head))
	return discovery.Cluster{Cluster: c, Source: "Kubernetes", UID: uid, New: true, Facts: f}
}

func running(head *raytest.Head) discovery.State {
	return discovery.State{
		Address: strings.TrimPrefix(head.URL(), "http://"), Head: head.URL(), Phase: discovery.Running,
		Agents: map[netip.Addr]bool{}, Labels: map[string]string{"k8s_namespace": "team"},
	}
}

func in(phase discovery.Phase, s discovery.State) discovery.State {
	s.Phase = phase
	return s
}

// openSource runs a daemon with a source.
func openSource(t *testing.T) (*harness, *fakeSource) {
	t.Helper()
	s := &fakeSource{changed: make(chan struct{})}
	c := configure(t, nil)
	return openWith(t, c, nil, func(d *Daemon) { d.sources = []discovery.Source{s} }), s
}

// exposition fails unless /metrics can be parsed.
func (h *harness) exposition() string {
	h.t.Helper()
	_, page := h.get("/metrics")
	p := expfmt.NewTextParser(model.UTF8Validation)
	if _, err := p.TextToMetricFamilies(strings.NewReader(page)); err != nil {
		h.t.Fatalf("/metrics: %v\n%s", err, page)
	}
	return page
}

const up = `raytap_up{ray_cluster="team/train"} `

// A cluster that comes and goes: nothing else is set, its address is that of its head pod, and
// another one of its name follows.
func TestLife_ComesAndGoes(t *testing.T) {
	hs := heads(t, "first", "second")
	h, source := openSource(t)
	done := hs["first"].Submit("done", raytest.JobOptions{JobID: "01000000"})
	done.Print("ended before raytap saw the cluster\n")
	done.End("SUCCEEDED", 0)
	running1 := hs["first"].Submit("runs", raytest.JobOptions{JobID: "02000000"})
	first := kubernetesCluster(t, "uid-1", hs["first"])

	first.Facts.Set(in(discovery.Waiting, running(hs["first"])))
	source.set(first)
	first.Facts.Set(running(hs["first"]))
	source.set(first)
	h.until("it is up", func() bool { return strings.Contains(h.exposition(), up+"1") })
	h.until("its jobs are shipped", func() bool {
		return strings.Contains(h.out.String(), `"message":"ended before raytap saw the cluster"`) && strings.Contains(h.out.String(), `"submission_id":"runs"`)
	})
	if !strings.Contains(h.out.String(), `"k8s_namespace":"team"`) {
		t.Errorf("records lack k8s_namespace: %s", h.out.String())
	}

	state := in(discovery.Draining, running(hs["first"]))
	first.Facts.Set(state)
	source.set(first)
	running1.Print("printed while it is being deleted\n")
	second := kubernetesCluster(t, "uid-2", hs["second"])
	hs["second"].Submit("next", raytest.JobOptions{JobID: "01000000"}).Print("of the next cluster\n")
	source.set(first, second)
	h.until("its last line is shipped", func() bool { return strings.Contains(h.out.String(), "printed while it is being deleted") })
	if page := h.exposition(); strings.Contains(page, up) {
		t.Errorf("a cluster that is being deleted has raytap_up:\n%s", page)
	}
	hs["first"].Down()
	first.Facts.Set(in(discovery.Gone, discovery.State{}))
	source.set(second)
	h.until("the next cluster of its name is up", func() bool { return strings.Contains(h.exposition(), up+"1") })
	h.until("the next cluster's line is shipped", func() bool { return strings.Contains(h.out.String(), "of the next cluster") })
	for line := range strings.Lines(h.out.String()) {
		if strings.Contains(line, `"submission_id":"runs"`) && strings.Contains(line, `"event":"end"`) &&
			!(strings.Contains(line, `"complete":false`) && strings.Contains(line, "the cluster was deleted")) {
			t.Errorf("end of the job that ran: %s", line)
		}
	}
}

// What changes of a cluster does not restart it: nothing is read again, and no counter falls.
func TestLife_ChangesRestartNothing(t *testing.T) {
	hs := heads(t, "head")
	h, source := openSource(t)
	job := hs["head"].Submit("job", raytest.JobOptions{JobID: "01000000"})
	job.Print("one\n")
	c := kubernetesCluster(t, "uid-1", hs["head"])
	source.set(c)
	h.until("its line is shipped", func() bool { return strings.Contains(h.out.String(), `"message":"one"`) })
	unit := h.d.clusters.all()[0]
	for i := range 3 {
		s := running(hs["head"])
		s.Agents = map[netip.Addr]bool{netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}): true}
		s.Labels = map[string]string{"k8s_namespace": "team", "team": string(rune('a' + i))}
		c.Facts.Set(s)
		source.set(c)
	}
	// Without an address nothing can be requested for a while.
	c.Facts.Set(discovery.State{Phase: discovery.Waiting, Why: "its head pod does not run"})
	source.set(c)
	h.until("it is not expected to answer", func() bool { return !strings.Contains(h.exposition(), up) })
	c.Facts.Set(running(hs["head"]))
	source.set(c)
	job.Print("two\n")
	h.until("the next line is shipped", func() bool { return strings.Contains(h.out.String(), `"message":"two"`) })
	if all := h.d.clusters.all(); len(all) != 1 || all[0] != unit {
		t.Error("the cluster was started again")
	}
	if n := strings.Count(h.out.String(), `"message":"one"`); n != 1 {
		t.Errorf("the first line is there %d times", n)
	}
}

// No cluster makes raytap not ready, once it was or for longer than a moment.
func TestReady_ClustersCannotPreventIt(t *testing.T) {
	hs := heads(t, "head")
	h, source := openSource(t)
	h.until("raytap is ready without clusters", func() bool { code, _ := h.get("/-/ready"); return code == 200 })
	hs["head"].Inject(raytest.Fault{Action: raytest.Hang})
	source.set(kubernetesCluster(t, "uid-1", hs["head"]))
	if code, text := h.get("/-/ready"); code != 200 {
		t.Errorf("%d %s", code, text)
	}
}

// A drain does not delay the start of other clusters.
func TestLife_DrainDelaysNobody(t *testing.T) {
	hs := heads(t, "leaves", "comes")
	h, source := openSource(t)
	hs["leaves"].Submit("job", raytest.JobOptions{JobID: "01000000"}).Print("one\n")
	leaves := kubernetesCluster(t, "uid-1", hs["leaves"])
	source.set(leaves)
	h.until("it is up", func() bool { return strings.Contains(h.exposition(), up+"1") })
	leaves.Facts.Set(in(discovery.Draining, running(hs["leaves"]))) // its job runs on: the drain takes its time
	comes := kubernetesCluster(t, "uid-2", hs["comes"])
	comes.Name = "team/other"
	source.set(leaves, comes)
	h.until("the other one is up", func() bool { return strings.Contains(h.exposition(), `raytap_up{ray_cluster="team/other"} 1`) })
	if units := h.d.clusters.alive(); len(units) != 2 {
		t.Errorf("%d clusters run, want 2: the first one drains", len(units))
	}
}

// The collector knows which nodes Kubernetes deleted by their addresses, as Ray spells them.
func TestDeleted(t *testing.T) {
	at := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	f := &discovery.Facts{}
	of := deleted(f)
	f.Set(discovery.State{Deleted: map[netip.Addr]time.Time{netip.MustParseAddr("10.0.0.1"): at, netip.MustParseAddr("fd00::1"): at}})
	for ip, want := range map[string]bool{"10.0.0.1": true, "::ffff:10.0.0.1": true, "fd00:0::1": true, "10.0.0.2": false, "": false, "head": false} {
		if got := of(ip); got.Equal(at) != want || !want && !got.IsZero() {
			t.Errorf("%q: %s", ip, got)
		}
	}
}
