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
	"raytap/test/realkube"
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

	t.Log(s.Must(docs.block("helm install")))
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
	s.T.Helper()
	namespace, store, ok := strings.Cut(block, "\n")
	if !ok {
		s.T.Fatalf("want two commands, for the namespace and the store: %q", block)
	}
	s.Must(namespace)
	s.Must("kubectl label namespace ray pod-security.kubernetes.io/enforce=restricted")
	s.Until(s.APIServer, 30*time.Second, "the namespace has its service account", func() bool {
		return s.Try("kubectl -n ray get serviceaccount default") == nil
	})
	if err := s.Try("kubectl -n ray run any --image=any --dry-run=server"); err == nil || !strings.Contains(err.Error(), `violates PodSecurity "restricted`) {
		s.T.Fatalf("the namespace allows a pod that is not restricted: %v", err)
	}
	s.Must(store)
	s.Apply(head(s.prod.URL()))
}

// checkLook runs the commands that show a metric and a line.
func (s *testCluster) checkLook(block string) {
	s.T.Helper()
	out := s.Must(block)
	if !strings.Contains(out, `raytap_up{ray_cluster="prod"} 1`) || !strings.Contains(out, `"_msg":"`) {
		s.T.Errorf("the commands do not show a cluster that is up and a line:\n%s", out)
	}
	if metrics := program.Get("http://" + s.podIP("raytap-0") + ":9265/metrics"); !strings.Contains(metrics, `raytap_up{ray_cluster="prod"} 1`) {
		s.T.Errorf("the metrics at the pod's address are %.300q", metrics)
	}
}

// monitored checks that the API server accepts the objects for the Prometheus operator and
// Grafana's sidecar.
func (s *testCluster) monitored(block string) {
	s.T.Helper()
	s.Must("kubectl apply --server-side -f .tools/kubernetes/crds")
	s.Must("kubectl wait --for=condition=Established --timeout=30s -f .tools/kubernetes/crds")
	uid := s.uid()
	s.Must(block)
	s.Must("kubectl -n ray get servicemonitor/raytap prometheusrule/raytap networkpolicy/raytap")
	boards, err := filepath.Glob("../../deploy/grafana/dashboards/*.json")
	if err != nil {
		s.T.Fatal(err)
	}
	if got := strings.Fields(s.Must("kubectl -n ray get configmap -l grafana_dashboard=1 -o name")); len(got) != len(boards) || len(got) == 0 {
		s.T.Errorf("%d dashboards are in config maps, want %d", len(got), len(boards))
	}
	if s.uid() != uid {
		s.T.Error("enabling monitoring replaces the pod")
	}
}

// scraped checks that a real Prometheus scrapes raytap with the documented configuration.
// Debian's Prometheus has no Kubernetes service discovery: it is replaced by a static
// configuration with the same labels, which kubectl reads from the objects.
func (s *testCluster) scraped(config string) {
	s.T.Helper()
	discovery, rest, ok := strings.Cut(config, "    relabel_configs:")
	if !ok || !strings.Contains(discovery, "- role: endpointslice\n        namespaces: {names: [ray]}\n") {
		s.T.Fatalf("unexpected scrape configuration\n%s", config)
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
		s.Output(slice+"'{.items[0].endpoints[0].addresses[0]}'"), s.Output(slice+"'{.items[0].ports[0].port}'"),
		s.Output(`kubectl -n ray get service raytap -o jsonpath='{.metadata.labels.app\.kubernetes\.io/name}'`),
		s.Output(slice+"'{.items[0].ports[0].name}'"), s.Output(slice+"'{.items[0].endpoints[0].targetRef.name}'")) + rest
	file := realkube.Write(s.T, filepath.Join(s.T.TempDir(), "prometheus.yaml"), config, 0o600)
	const url = "127.0.0.1:9090"
	p := program.Start(s.T, exec.Command(program.Tool(s.T, "bin/prometheus"), "--config.file="+file,
		"--storage.tsdb.path="+s.T.TempDir(), "--web.listen-address="+url))
	for _, query := range []string{`up{job="raytap",pod="raytap-0"}==1`, `raytap_up{job="raytap",ray_cluster="prod"}==1`} {
		s.Until(p, time.Minute, "Prometheus has "+query, func() bool {
			return strings.Contains(program.Get("http://"+url+"/api/v1/query?query="+escape(query)), `"value":[`)
		})
	}
	p.Stop(30 * time.Second)
}

// killContainer kills raytap. The kubelet restarts it in its pod.
func (s *testCluster) killContainer() {
	s.T.Helper()
	uid := s.uid()
	s.print()
	s.kill("/raytap")
	s.print()
	s.Until(s.Kubelet, time.Minute, "the container is restarted", func() bool {
		return s.Output(`kubectl -n ray get pod raytap-0 -o jsonpath='{.status.containerStatuses[?(@.name=="raytap")].restartCount}'`) == "1"
	})
	s.print()
	if s.uid() != uid {
		s.T.Error("the pod is replaced")
	}
}

// deletePod deletes the pod without waiting for its end, like after the loss of a node.
func (s *testCluster) deletePod() {
	s.T.Helper()
	uid := s.uid()
	s.print()
	s.Must("kubectl -n ray delete pod raytap-0 --grace-period=0 --force")
	s.print()
	s.Until(s.Kubelet, time.Minute, "a new pod exists", func() bool { now := s.uid(); return now != "" && now != uid })
	s.print()
}

// secondCluster adds a cluster with a wrong token, and then corrects the token. The change
// of the configuration replaces the pod, the change of the token does not.
func (s *testCluster) secondCluster() {
	s.T.Helper()
	uid := s.uid()
	s.Must("kubectl -n ray create secret generic ray-token --from-literal=token=wrong")
	values := realkube.Write(s.T, filepath.Join(s.T.TempDir(), "values.yaml"), strings.ReplaceAll(`
config:
  clusters:
    - {name: prod, url: "http://raycluster-head-svc:8265"}
    - {name: second, url: "URL", auth: {token_file: /var/run/secrets/ray/token}}
secretMounts:
  - {secretName: ray-token, mountPath: /var/run/secrets/ray}
`, "URL", s.second.URL()), 0o600)
	s.print()
	s.Must("helm upgrade raytap deploy/helm/raytap --namespace ray --reuse-values --values " + values + "\n" +
		"kubectl -n ray rollout status statefulset/raytap --timeout=2m")
	s.print()
	s.up("second", "0")
	replaced := s.uid()
	if replaced == uid {
		s.T.Error("a changed configuration does not replace the pod")
	}
	s.Must("kubectl -n ray create secret generic ray-token --from-literal=token=" + secondToken + " --dry-run=client -o yaml | kubectl apply -f -")
	s.up("second", "1")
	s.up("prod", "1")
	if s.uid() != replaced {
		s.T.Error("a changed token replaces the pod")
	}
}

// toStdout installs a second release, which writes to stdout.
func (s *testCluster) toStdout() {
	s.T.Helper()
	s.Must(`helm install lines deploy/helm/raytap --namespace ray --values deploy/kubernetes/values-stdout.yaml \
		--set image.repository=registry.example/raytap,persistence.enabled=false
		kubectl -n ray rollout status statefulset/lines-raytap --timeout=2m`)
	s.checkOnce("the container's stdout", func() string { return s.Output("kubectl -n ray logs lines-raytap-0 -c raytap") })
	s.Must("helm uninstall lines --namespace ray --wait")
}

// removed uninstalls the release, which keeps the claim, and deletes the claim.
func (s *testCluster) removed(uninstall, claim string) {
	s.T.Helper()
	s.Must(uninstall)
	everything := "kubectl -n ray get all,configmap,secret,serviceaccount,pvc,networkpolicy,servicemonitor,prometheusrule -l app.kubernetes.io/instance=raytap -o name"
	s.Until(s.APIServer, time.Minute, "all objects except the claim are deleted", func() bool {
		return s.Output(everything) == "persistentvolumeclaim/data-raytap-0"
	})
	s.Must(claim)
	if left := s.Output(everything); left != "" {
		s.T.Errorf("%s still exists", left)
	}
}

// plainManifests installs the plain manifests.
func (s *testCluster) plainManifests(block string) {
	s.T.Helper()
	s.Must(block + "\nkubectl -n ray rollout status statefulset/raytap --timeout=2m")
	s.up("default", "1")
}

// kill kills the process of a program in a pod, by its path in the image.
func (s *testCluster) kill(exe string) {
	s.T.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		s.T.Fatal(err)
	}
	killed := 0
	for _, link := range all {
		if to, err := os.Readlink(link); err == nil && to == exe {
			s.Must("kill -9 " + filepath.Base(filepath.Dir(link)))
			killed++
		}
	}
	if killed != 1 {
		s.T.Fatalf("%d processes of %s killed, want 1", killed, exe)
	}
}
