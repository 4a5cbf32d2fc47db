package kuberay

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// A pod that runs and is deleted counts once, from when that began, for an hour. One that had
// ended, or that never ran, is not one that Kubernetes took from Ray.
func TestDeletedPods(t *testing.T) {
	start := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	pod := func(uid, ip string, change func(*podFacts)) *podFacts {
		p := &podFacts{uid: uid, phase: "Running", running: true, addresses: []netip.Addr{netip.MustParseAddr(ip)}}
		if change != nil {
			change(p)
		}
		return p
	}
	deleting := func(p *podFacts) { p.deleting = true }
	stopped := func(p *podFacts) { p.deleting, p.running = true, false }
	failed := func(p *podFacts) { p.phase, p.running = "Failed", false }
	var d deletedPods
	for i, step := range []struct {
		minute int
		pods   []*podFacts
		want   string
	}{
		{0, []*podFacts{pod("a", "10.0.0.1", nil), pod("b", "10.0.0.2", nil), pod("c", "10.0.0.3", nil)}, "map[]"},
		{1, []*podFacts{pod("a", "10.0.0.1", deleting), pod("b", "10.0.0.2", nil), pod("c", "10.0.0.3", failed)}, "map[10.0.0.1:1]"},
		{2, []*podFacts{pod("a", "10.0.0.1", stopped), pod("b", "10.0.0.2", nil)}, "map[10.0.0.1:1]"},
		// b is gone without a word. Another pod has the address of a.
		{3, []*podFacts{pod("d", "10.0.0.1", nil)}, "map[10.0.0.1:1 10.0.0.2:3]"},
		{4, []*podFacts{pod("d", "10.0.0.1", deleting)}, "map[10.0.0.1:4 10.0.0.2:3]"},
		{5, nil, "map[10.0.0.1:4 10.0.0.2:3]"},
		{64, nil, "map[10.0.0.1:4]"},
		{65, nil, "map[]"},
		{66, []*podFacts{pod("e", "10.0.0.5", stopped)}, "map[]"},
		{67, nil, "map[]"},
	} {
		pods := map[string]*podFacts{}
		for _, p := range step.pods {
			pods[p.uid] = p
		}
		got := map[string]int{}
		for a, at := range d.observe(pods, start.Add(time.Duration(step.minute)*time.Minute)) {
			got[a.String()] = int(at.Sub(start).Minutes())
		}
		if fmt.Sprint(got) != step.want {
			t.Errorf("step %d: got %v, want %s", i, got, step.want)
		}
	}
}
