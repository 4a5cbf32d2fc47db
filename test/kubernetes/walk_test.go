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

// A reader who has nothing but docs/kubernetes.md gets from an empty namespace to
// lines in a store and to metrics in Prometheus, on a namespace that lets in only
// pods of the restricted Pod Security Standard. No line is lost or doubled when
// the container is killed, the pod is deleted, or the configuration changes.
//
// The network of the node enforces no NetworkPolicy: that object is only accepted.
func TestKubernetes_Documentation(t *testing.T) {
	s := newScene(t)
	docs := readGuide(t)
	docs.take("docker build") // there is no Docker: the image is made in Go, as the Dockerfile does
	s.restrict(docs.take("create namespace"))

	t.Log(s.must(docs.take("helm install")))
	s.print()
	s.settle("raytap is installed")
	s.look(docs.take("curl"))
	s.monitored(docs.take("serviceMonitor.enabled"))
	s.scraped(docs.take("kubernetes_sd_configs"))

	s.killContainer()
	s.settle("the container was killed")
	s.deletePod()
	s.settle("the pod was deleted")
	s.secondCluster()
	s.settle("the configuration was changed")
	s.toStdout()

	s.removed(docs.take("helm uninstall"), docs.take("delete pvc"))
	s.without(docs.take("kubectl -n ray apply -f deploy/kubernetes/raytap.yaml"))
	if len(docs.left) > 0 {
		t.Errorf("these blocks of docs/kubernetes.md were not tried: %q", docs.left)
	}
}

// restrict makes the namespace and the store, where nothing but restricted pods
// may run.
func (s *scene) restrict(block string) {
	s.t.Helper()
	namespace, store, ok := strings.Cut(block, "\n")
	if !ok {
		s.t.Fatalf("the namespace and the store are no two commands: %q", block)
	}
	s.must(namespace)
	s.must("kubectl label namespace ray pod-security.kubernetes.io/enforce=restricted")
	s.until(s.apiserver, 30*time.Second, "the namespace has its account", func() bool {
		return s.try("kubectl -n ray get serviceaccount default") == nil
	})
	if err := s.try("kubectl -n ray run any --image=any --dry-run=server"); err == nil || !strings.Contains(err.Error(), `violates PodSecurity "restricted`) {
		s.t.Fatalf("a pod that is not restricted is let in: %v", err)
	}
	s.must(store)
	s.apply(head(s.prod.URL()))
}

// look does what a reader does to see a metric and a line.
func (s *scene) look(block string) {
	s.t.Helper()
	out := s.must(block)
	if !strings.Contains(out, `raytap_up{ray_cluster="prod"} 1`) || !strings.Contains(out, `"_msg":"`) {
		s.t.Errorf("the commands show no cluster that is up, or no line:\n%s", out)
	}
	if page := program.Get("http://" + s.podIP("raytap-0") + ":9265/metrics"); !strings.Contains(page, `raytap_up{ray_cluster="prod"} 1`) {
		s.t.Errorf("the page at the pod's address says %.300q", page)
	}
}

// monitored has what the Prometheus operator and Grafana's sidecar read accepted.
func (s *scene) monitored(block string) {
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
		s.t.Errorf("%d dashboards are in config maps, %d ship", len(got), len(boards))
	}
	if s.uid() != uid {
		s.t.Error("what only adds monitoring has replaced the pod")
	}
}

// scraped has a real Prometheus scrape by the configuration in the docs. Debian's
// is built without discovery in Kubernetes: in its place stand the labels that it
// reads off the objects, here read off them by kubectl.
func (s *scene) scraped(config string) {
	s.t.Helper()
	discovery, rest, ok := strings.Cut(config, "    relabel_configs:")
	if !ok || !strings.Contains(discovery, "- role: endpointslice\n        namespaces: {names: [ray]}\n") {
		s.t.Fatalf("this test does not know the configuration\n%s", config)
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
		s.ask(slice+"'{.items[0].endpoints[0].addresses[0]}'"), s.ask(slice+"'{.items[0].ports[0].port}'"),
		s.ask(`kubectl -n ray get service raytap -o jsonpath='{.metadata.labels.app\.kubernetes\.io/name}'`),
		s.ask(slice+"'{.items[0].ports[0].name}'"), s.ask(slice+"'{.items[0].endpoints[0].targetRef.name}'")) + rest
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

// killContainer kills raytap alone; the kubelet starts it again in its pod.
func (s *scene) killContainer() {
	s.t.Helper()
	uid := s.uid()
	s.print()
	s.kill("/raytap")
	s.print()
	s.until(s.kubelet, time.Minute, "the container was started again", func() bool {
		return s.ask(`kubectl -n ray get pod raytap-0 -o jsonpath='{.status.containerStatuses[?(@.name=="raytap")].restartCount}'`) == "1"
	})
	s.print()
	if s.uid() != uid {
		s.t.Error("the pod was replaced")
	}
}

// deletePod is what a node that is lost comes to: nobody waits for the pod's end.
func (s *scene) deletePod() {
	s.t.Helper()
	uid := s.uid()
	s.print()
	s.must("kubectl -n ray delete pod raytap-0 --grace-period=0 --force")
	s.print()
	s.until(s.kubelet, time.Minute, "there is a new pod", func() bool { now := s.uid(); return now != "" && now != uid })
	s.print()
}

// secondCluster adds a cluster whose token is wrong at first. The pod is replaced
// for it, and not for the token.
func (s *scene) secondCluster() {
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
		s.t.Error("another configuration is in no new pod")
	}
	s.must("kubectl -n ray create secret generic ray-token --from-literal=token=" + secondToken + " --dry-run=client -o yaml | kubectl apply -f -")
	s.up("second", "1")
	s.up("prod", "1")
	if s.uid() != replaced {
		s.t.Error("another token has replaced the pod")
	}
}

// toStdout installs a second release, whose lines are the container's.
func (s *scene) toStdout() {
	s.t.Helper()
	s.must(`helm install lines deploy/helm/raytap --namespace ray --values deploy/kubernetes/values-stdout.yaml \
		--set image.repository=registry.example/raytap,persistence.enabled=false
		kubectl -n ray rollout status statefulset/lines-raytap --timeout=2m`)
	s.once("the container's stdout", func() string { return s.ask("kubectl -n ray logs lines-raytap-0 -c raytap") })
	s.must("helm uninstall lines --namespace ray --wait")
}

// removed takes the release away, and with it all but the claim.
func (s *scene) removed(uninstall, claim string) {
	s.t.Helper()
	s.must(uninstall)
	everything := "kubectl -n ray get all,configmap,secret,serviceaccount,pvc,networkpolicy,servicemonitor,prometheusrule -l app.kubernetes.io/instance=raytap -o name"
	s.until(s.apiserver, time.Minute, "all but the claim is gone", func() bool {
		return s.ask(everything) == "persistentvolumeclaim/data-raytap-0"
	})
	s.must(claim)
	if left := s.ask(everything); left != "" {
		s.t.Errorf("%s is left", left)
	}
}

// without installs the plain manifests.
func (s *scene) without(block string) {
	s.t.Helper()
	s.must(block + "\nkubectl -n ray rollout status statefulset/raytap --timeout=2m")
	s.up("default", "1")
}

// kill kills the processes of a program in the pods, by its place in the image.
func (s *scene) kill(exe string) {
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
		s.t.Fatalf("%d processes of %s were killed", killed, exe)
	}
}
