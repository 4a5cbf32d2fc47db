package daemon

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"raytap/config"
	"raytap/discovery/kuberay/kubetest"
	"raytap/ray/raytest"
	"raytap/test/program"
)

// A RayCluster that is deleted while raytap is away loses what was not read: that is reported, once,
// and not before Kubernetes has said that it does not exist.
func TestAway_ClusterDeleted(t *testing.T) {
	head := raytest.New(t)
	head.Submit("half-read", raytest.JobOptions{JobID: "01000000"}).Print("first\n")
	api := kubetest.New(t)
	api.Put(kubetest.RayClusters, kubetest.Cluster{Namespace: "ray", Name: "dev", UID: devCluster}.Object())
	pod := headPod(recordOf(t, head))
	pod.Secret = ""
	api.Put(kubetest.Pods, pod.Object())
	c := kubernetes(t, api)
	c.Shipper.Positions.File = config.Path(filepath.Join(t.TempDir(), "positions.db"))
	again := func() *harness {
		t.Helper()
		c.Web.ListenAddresses = []string{program.FreeAddress(t)}
		return open(t, c, nil)
	}
	h := again()
	h.until("its line is shipped", func() bool { return strings.Contains(h.out.String(), `"message":"first"`) })
	h.stop()
	if err := h.ended(); err != nil {
		t.Fatal(err)
	}

	head.Down()
	api.Delete(kubetest.RayClusters, "ray", "dev")
	api.Delete(kubetest.Pods, "ray", "dev-head")
	api.Refuse(kubetest.RayClusters, http.StatusForbidden)
	h = again()
	h.until("the API server refuses the list", func() bool { return len(api.Requests("rayclusters")) > 2 })
	if code, text := h.reload(c, nil); code != http.StatusOK { // which looks at all positions
		t.Fatalf("%d %s", code, text)
	}
	if strings.Contains(h.out.String(), `"event"`) {
		t.Errorf("without a list of the namespace there are %s", h.out.String())
	}
	api.Refuse(kubetest.RayClusters, 0)
	api.Put(kubetest.RayClusters, kubetest.Cluster{Namespace: "ray", Name: "next", UID: "uid-of-next"}.Object())
	h.until("the API server lists", func() bool { return h.d.metrics.rayClusters.source.Load().Listed("ray") })
	if code, text := h.reload(c, nil); code != http.StatusOK {
		t.Fatalf("%d %s", code, text)
	}
	ends := func() int { return strings.Count(h.out.String(), `"event":"end"`) }
	h.until("the end is written", func() bool { return ends() == 1 })
	for line := range strings.Lines(h.out.String()) {
		for _, want := range []string{`"ray_cluster":"ray/dev"`, `"k8s_namespace":"ray"`, `"submission_id":"half-read"`, "deleted while raytap was away"} {
			if !strings.Contains(line, want) {
				t.Errorf("record without %s: %s", want, line)
			}
		}
	}
	if !strings.Contains(h.out.String(), `"event":"gap"`) || !strings.Contains(h.out.String(), `"complete":false`) {
		t.Errorf("records: %s", h.out.String())
	}
	h.until("the loss is counted", func() bool {
		return strings.Contains(h.page(), `raytap_shipper_gaps_total{ray_cluster="ray/dev"} 1`)
	})
	h.stop()
	if err := h.ended(); err != nil {
		t.Fatal(err)
	}
	h = again()
	h.until("the API server lists", func() bool { return h.d.metrics.rayClusters.source.Load().Listed("ray") })
	if code, text := h.reload(c, nil); code != http.StatusOK {
		t.Fatalf("%d %s", code, text)
	}
	if ends() != 0 {
		t.Errorf("after another restart there are %s", h.out.String())
	}
}
