package connect

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"raytap/discovery/kuberay/kubetest"
	"raytap/ray/raytest"
)

// A RayCluster is found by its namespace and name: its head pod, its pods and its token.
func TestTarget_RayCluster(t *testing.T) {
	head := raytest.New(t, raytest.Token("right"))
	at := netip.MustParseAddrPort(strings.TrimPrefix(head.URL(), "http://"))
	api := kubetest.New(t)
	api.Put(kubetest.RayClusters, kubetest.Cluster{Namespace: "ray", Name: "dev", UID: "u1"}.Object())
	api.Put(kubetest.RayClusters, kubetest.Cluster{Namespace: "ray", Name: "pending", UID: "u2"}.Object())
	api.Put(kubetest.RayClusters, kubetest.Cluster{Namespace: "other", Name: "dev", UID: "u3"}.Object())
	api.Put(kubetest.Pods, kubetest.Pod{Namespace: "ray", Name: "old-head", UID: "p0", Cluster: "u0", Label: "dev", IP: "10.0.0.9"}.Object())
	api.Put(kubetest.Pods, kubetest.Pod{Namespace: "ray", Name: "head", UID: "p1", Cluster: "u1", Label: "dev", IP: at.Addr().String(), Port: int(at.Port()), Secret: "token"}.Object())
	file := filepath.Join(t.TempDir(), "raytap.yaml")
	if err := os.WriteFile(file, []byte("kubernetes: {kubeconfig: "+api.Kubeconfig+", rules: [{namespaces: [ray]}]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	none := func(string) (string, bool) { return "", false }
	for cluster, want := range map[string]string{
		"ray/none":    "there is no RayCluster ray/none in Kubernetes",
		"ray/pending": "RayCluster ray/pending cannot be queried: it has no head pod yet",
		"other/dev":   "no rule of kubernetes selects RayCluster other/dev",
		"dev":         "set --cluster to NAMESPACE/NAME of a RayCluster",
		"":            "set --cluster to NAMESPACE/NAME of a RayCluster",
		"ray/dev":     `read the Secret ray/token`, // it does not exist yet
	} {
		if _, err := (Target{ConfigFile: file, Cluster: cluster}).Resolve(t.Context(), none); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", cluster, err, want)
		}
	}
	api.PutSecret("ray", "token", "auth_token", "right\n")
	c, err := Target{ConfigFile: file, Cluster: "ray/dev"}.Resolve(t.Context(), none)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Dashboard(c.Cluster, Options{Live: c.Live})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Jobs(t.Context()); err != nil {
		t.Errorf("list jobs: %v", err)
	}
	if !c.Live.Agents(at.Addr()) || c.Live.Agents(netip.MustParseAddr("10.0.0.9")) {
		t.Error("node agents are not those of the cluster's own pods")
	}
}
