//go:build e2e && linux

package kubernetes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/test/program"
)

// The commands in docs/kubernetes.md lead from an empty namespace to lines in a store and
// metrics in Prometheus, with the restricted Pod Security Standard enforced. No line is
// lost or duplicated when the container is killed, the pod is deleted, or the
// configuration changes.
//
// The network of the node does not enforce the NetworkPolicy: its object is only accepted.
func TestKubernetes_Documentation(t *testing.T) {
	s := newCluster(t)
	docs := readGuide(t)
	docs.block("docker build") // without Docker: Go code builds the image
	s.restrict(docs.block("create namespace"))

	t.Log(s.must(docs.block("helm install")))
	s.print()
	s.awaitLines("the installation")
	s.checkLook(docs.block("curl"))
	s.monitored(docs.block("serviceMonitor.enabled"))
	s.scraped(docs.block("kubernetes_sd_configs"))

	s.killContainer()
	s.awaitLines("the kill of the container")
	s.deletePod()
	s.awaitLines("the deletion of the pod")
	s.secondCluster()
	s.awaitLines("the change of the configuration")
	s.toStdout()

	s.removed(docs.block("helm uninstall"), docs.block("delete pvc"))
	s.plainManifests(docs.block("kubectl -n ray apply -f deploy/kubernetes/raytap.yaml"))
	if len(docs.unused) > 0 {
		t.Errorf("unused code blocks of docs/kubernetes.md: %q", docs.unused)
	}
}

// restrict creates the namespace, which allows only restricted pods, and the store.
func (s *testCluster) restrict(block string) {
	s.t.Helper()
	namespace, store, ok := strings.Cut(block, "\n")
	if !ok {
		s.t.Fatalf("want two commands, for the namespace and the store: %q", block)
	}
	s.must(namespace)
	s.must("kubectl label namespace ray pod-security.kubernetes.io/enforce=restricted")
	s.until(s.apiserver, 30*time.Second, "the namespace has its service account", func() bool {
		return s.try("kubectl -n ray get serviceaccount default") == nil
	})
	if err := s.try("kubectl -n ray run any --image=any --dry-run=server"); err == nil || !strings.Contains(err.Error(), `violates PodSecurity "restricted`) {
		s.t.Fatalf("the namespace allows a pod that is not restricted: %v", err)
	}
	s.must(store)
	s.apply(head(s.prod.URL()))
}

// checkLook runs the commands that show a metric and a line.
func (s *testCluster) checkLook(block string) {
	s.t.Helper()
	out := s.must(block)
	if !strings.Contains(out, `raytap_up{ray_cluster="prod"} 1`) || !strings.Contains(out, `"_msg":"`) {
		s.t.Errorf("the commands do not show a cluster that is up and a line:\n%s", out)
	}
	if metrics := program.Get("http://" + s.podIP("raytap-0") + ":9265/metrics"); !strings.Contains(metrics, `raytap_up{ray_cluster="prod"} 1`) {
		s.t.Errorf("the metrics at the pod's address are %.300q", metrics)
	}
}

// monitored checks that the API server accepts the objects for the Prometheus operator and
// Grafana's sidecar.
func (s *testCluster) monitored(block string) {
	s.t.Helper()
	s.must("kubectl apply --server-side -f .tools/kubernetes/crds")
	s.must("kubectl wait --for=condition=Established --timeout=30s -f .tools/kubernetes/crds")
	uid := s.uid()
	s.must(block)
	s.must("kubectl -n ray get servicemonitor/raytap prometheusrule/raytap networkpolicy/raytap")
	boards, err := filepath.Glob("../../deploy/grafana/dashboards/*.json")
	if err != nil {
		s.t.Fatal(err)
	}
	if got := strings.Fields(s.must("kubectl -n ray get configmap -l grafana_dashboard=1 -o name")); len(got) != len(boards) || len(got) == 0 {
		s.t.Errorf("%d dashboards are in config maps, want %d", len(got), len(boards))
	}
	if s.uid() != uid {
		s.t.Error("enabling monitoring replaces the pod")
	}
}

// scraped checks that a real Prometheus scrapes raytap with the documented configuration.
// Debian's Prometheus has no Kubernetes service discovery: it is replaced by a static
// configuration with the same labels, which kubectl reads from the objects.
func (s *testCluster) scraped(config string) {
	s.t.Helper()
	discovery, rest, ok := strings.Cut(config, "    relabel_configs:")
	if !ok || !strings.Contains(discovery, "- role: endpointslice\n        namespaces: {names: [ray]}\n") {
		s.t.Fatalf("unexpected scrape configuration\n%s", config)
	}
	head, _, _ := strings.Cut(discovery, "    kubernetes_sd_configs:")
	const slice = "kubectl -n ray get endpointslice -l kubernetes.io/service-name=raytap -o jsonpath="
	config = strings.Replace(head, "30s", "2s", 1) + fmt.Sprintf(`    static_configs:
      - targets: ["%s:%s"]
        labels:
          __meta_kubernetes_service_label_app_kubernetes_io_name: %q
          __meta_kubernetes_endpointslice_port_name: %q
          __meta_kubernetes_pod_name: %q
    relabel_configs:`,
		s.output(slice+"'{.items[0].endpoints[0].addresses[0]}'"), s.output(slice+"'{.items[0].ports[0].port}'"),
		s.output(`kubectl -n ray get service raytap -o jsonpath='{.metadata.labels.app\.kubernetes\.io/name}'`),
		s.output(slice+"'{.items[0].ports[0].name}'"), s.output(slice+"'{.items[0].endpoints[0].targetRef.name}'")) + rest
	file := write(s.t, filepath.Join(s.t.TempDir(), "prometheus.yaml"), config, 0o600)
	const url = "127.0.0.1:9090"
	p := program.Start(s.t, exec.Command(program.Tool(s.t, "bin/prometheus"), "--config.file="+file,
		"--storage.tsdb.path="+s.t.TempDir(), "--web.listen-address="+url))
	for _, query := range []string{`up{job="raytap",pod="raytap-0"}==1`, `raytap_up{job="raytap",ray_cluster="prod"}==1`} {
		s.until(p, time.Minute, "Prometheus has "+query, func() bool {
			return strings.Contains(program.Get("http://"+url+"/api/v1/query?query="+escape(query)), `"value":[`)
		})
	}
	p.Stop(30 * time.Second)
}

// killContainer kills raytap. The kubelet restarts it in its pod.
func (s *testCluster) killContainer() {
	s.t.Helper()
	uid := s.uid()
	s.print()
	s.kill("/raytap")
	s.print()
	s.until(s.kubelet, time.Minute, "the container is restarted", func() bool {
		return s.output(`kubectl -n ray get pod raytap-0 -o jsonpath='{.status.containerStatuses[?(@.name=="raytap")].restartCount}'`) == "1"
	})
	s.print()
	if s.uid() != uid {
		s.t.Error("the pod is replaced")
	}
}

// deletePod deletes the pod without waiting for its end, like after the loss of a node.
func (s *testCluster) deletePod() {
	s.t.Helper()
	uid := s.uid()
	s.print()
	s.must("kubectl -n ray delete pod raytap-0 --grace-period=0 --force")
	s.print()
	s.until(s.kubelet, time.Minute, "a new pod exists", func() bool { now := s.uid(); return now != "" && now != uid })
	s.print()
}

// secondCluster adds a cluster with a wrong token, and then corrects the token. The change
// of the configuration replaces the pod, the change of the token does not.
func (s *testCluster) secondCluster() {
	s.t.Helper()
	uid := s.uid()
	s.must("kubectl -n ray create secret generic ray-token --from-literal=token=wrong")
	values := write(s.t, filepath.Join(s.t.TempDir(), "values.yaml"), strings.ReplaceAll(`
config:
  clusters:
    - {name: prod, url: "http://raycluster-head-svc:8265"}
    - {name: second, url: "URL", auth: {token_file: /var/run/secrets/ray/token}}
secretMounts:
  - {secretName: ray-token, mountPath: /var/run/secrets/ray}
`, "URL", s.second.URL()), 0o600)
	s.print()
	s.must("helm upgrade raytap deploy/helm/raytap --namespace ray --reuse-values --values " + values + "\n" +
		"kubectl -n ray rollout status statefulset/raytap --timeout=2m")
	s.print()
	s.up("second", "0")
	replaced := s.uid()
	if replaced == uid {
		s.t.Error("a changed configuration does not replace the pod")
	}
	s.must("kubectl -n ray create secret generic ray-token --from-literal=token=" + secondToken + " --dry-run=client -o yaml | kubectl apply -f -")
	s.up("second", "1")
	s.up("prod", "1")
	if s.uid() != replaced {
		s.t.Error("a changed token replaces the pod")
	}
}

// toStdout installs a second release, which writes to stdout.
func (s *testCluster) toStdout() {
	s.t.Helper()
	s.must(`helm install lines deploy/helm/raytap --namespace ray --values deploy/kubernetes/values-stdout.yaml \
		--set image.repository=registry.example/raytap,persistence.enabled=false
		kubectl -n ray rollout status statefulset/lines-raytap --timeout=2m`)
	s.checkOnce("the container's stdout", func() string { return s.output("kubectl -n ray logs lines-raytap-0 -c raytap") })
	s.must("helm uninstall lines --namespace ray --wait")
}

// removed uninstalls the release, which keeps the claim, and deletes the claim.
func (s *testCluster) removed(uninstall, claim string) {
	s.t.Helper()
	s.must(uninstall)
	everything := "kubectl -n ray get all,configmap,secret,serviceaccount,pvc,networkpolicy,servicemonitor,prometheusrule -l app.kubernetes.io/instance=raytap -o name"
	s.until(s.apiserver, time.Minute, "all objects except the claim are deleted", func() bool {
		return s.output(everything) == "persistentvolumeclaim/data-raytap-0"
	})
	s.must(claim)
	if left := s.output(everything); left != "" {
		s.t.Errorf("%s still exists", left)
	}
}

// plainManifests installs the plain manifests.
func (s *testCluster) plainManifests(block string) {
	s.t.Helper()
	s.must(block + "\nkubectl -n ray rollout status statefulset/raytap --timeout=2m")
	s.up("default", "1")
}

// kill kills the process of a program in a pod, by its path in the image.
func (s *testCluster) kill(exe string) {
	s.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		s.t.Fatal(err)
	}
	killed := 0
	for _, link := range all {
		if to, err := os.Readlink(link); err == nil && to == exe {
			s.must("kill -9 " + filepath.Base(filepath.Dir(link)))
			killed++
		}
	}
	if killed != 1 {
		s.t.Fatalf("%d processes of %s killed, want 1", killed, exe)
	}
}
