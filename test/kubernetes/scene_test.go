//go:build e2e && linux

package kubernetes

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/test/program"
)

const secondToken = "the-token-of-the-second"

// scene is a cluster of one node beside two fake Rays, with images for all that
// the docs install.
type scene struct {
	*node
	prod, second *raytest.Head
	jobs         []*raytest.Job // of prod
	printed      int
	start        time.Time
}

func newScene(t *testing.T) *scene {
	t.Helper()
	dir := os.Getenv(inside)
	raytap := released(t, "registry.example/raytap:0.1.0", filepath.Join(dir, "raytap"))
	plain := raytap
	plain.name = "docker.io/library/raytap:0.1.0"
	s := &scene{
		start: time.Now(),
		node: newNode(t, raytap, plain,
			image{name: "docker.io/victoriametrics/victoria-logs:v1.52.1", entrypoint: []string{"/victoria-logs-prod"},
				files: map[string]string{"victoria-logs-prod": program.Tool(t, "bin/victoria-logs")}},
			image{name: "docker.io/victoriametrics/vlagent:v1.52.1", entrypoint: []string{"/vlagent-prod"},
				files: map[string]string{"vlagent-prod": program.Tool(t, "bin/vlagent")}}),
		prod:   raytest.New(t, raytest.IP(nodeIP)),
		second: raytest.New(t, raytest.IP(nodeIP), raytest.Token(secondToken)),
	}
	for i := range 3 {
		s.jobs = append(s.jobs, s.prod.Submit(fmt.Sprintf("job-%d", i), raytest.JobOptions{}))
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.ask(`set +e
				kubectl -n ray get pods,services,endpointslices,pvc -o wide
				kubectl -n ray get events --sort-by=.lastTimestamp | tail -n 20
				for container in raytap vlagent; do kubectl -n ray logs raytap-0 -c $container --tail=15; done
				kubectl -n ray logs deployment/victoria-logs --tail=15
				ls -lan /var/lib/volume-*`))
		}
	})
	s.names()
	for i := range 2 { // the second one is for a claim that comes after the first was deleted
		dir := fmt.Sprintf("/var/lib/volume-%d", i)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		s.apply(volume(i, dir))
	}
	return s
}

// volume is one on the node. The kubelet gives it to the pod's group, as it does
// with a disk and does not with a hostPath.
func volume(i int, dir string) string {
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "volume-%d"}, "spec": {
		"capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"], "local": {"path": %q},
		"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node"]}]}]}}}}`, i, dir)
}

// head is the service of a head, as KubeRay makes it, for one outside of pods.
func head(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "List", "items": [
		{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "raycluster-head-svc", "namespace": "ray"},
			"spec": {"ports": [{"name": "dashboard", "port": 8265, "targetPort": %[2]s}]}},
		{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "raycluster-head-svc", "namespace": "ray",
			"labels": {"kubernetes.io/service-name": "raycluster-head-svc"}}, "addressType": "IPv4",
			"endpoints": [{"addresses": [%[1]q], "conditions": {"ready": true}}], "ports": [{"name": "dashboard", "port": %[2]s, "protocol": "TCP"}]}]}`,
		u.Hostname(), u.Port())
}

func (s *scene) apply(object string) {
	s.t.Helper()
	s.must("kubectl apply -f - <<'END'\n" + object + "\nEND")
}

// ask gives what a command says, "" where it fails.
func (s *scene) ask(script string) string {
	out, err := s.run(script)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

func (s *scene) uid() string {
	return s.ask("kubectl -n ray get pod raytap-0 -o jsonpath='{.metadata.uid}'")
}

func (s *scene) podIP(name string) string {
	return s.ask("kubectl -n ray get pod " + name + " -o jsonpath='{.status.podIP}'")
}

// up waits until raytap says so of a cluster.
func (s *scene) up(cluster, value string) {
	s.t.Helper()
	want := fmt.Sprintf("raytap_up{ray_cluster=%q} %s\n", cluster, value)
	s.until(s.kubelet, 2*time.Minute, "raytap says "+want, func() bool {
		return strings.Contains(program.Get("http://"+s.podIP("raytap-0")+":9265/metrics"), want)
	})
}

// print has each job print some lines.
func (s *scene) print() {
	for _, job := range s.jobs {
		for range 20 {
			s.printed++
			job.Printf("line %d of all %s\n", s.printed, strings.Repeat("x", 100))
		}
	}
}

// settle waits until all that was printed is in raytap's file and in the store,
// each line once.
func (s *scene) settle(after string) {
	s.t.Helper()
	volume := s.ask("kubectl -n ray get pvc data-raytap-0 -o jsonpath='{.spec.volumeName}'")
	if volume == "" {
		s.t.Fatal("raytap's claim has no volume")
	}
	s.once("the file, after "+after, func() string {
		b, err := os.ReadFile(filepath.Join("/var/lib", volume, "raytap.jsonl"))
		if err != nil {
			return ""
		}
		return string(b)
	})
	s.once("the store, after "+after, func() string {
		address := s.ask("kubectl -n ray get pod -l app.kubernetes.io/name=victoria-logs -o jsonpath='{.items[0].status.podIP}'")
		query := "* | fields submission_id, event, _msg"
		return strings.ReplaceAll(program.Get("http://"+address+":9428/select/logsql/query?query="+escape(query)), `"_msg"`, `"message"`)
	})
}

// once waits until a text has each line that the jobs printed, as a record, and
// compares. Records with other texts, such as what raytap says itself, are passed over.
func (s *scene) once(where string, text func() string) {
	s.t.Helper()
	want := 0
	for _, job := range s.jobs {
		want += strings.Count(string(job.Log()), "\n")
	}
	var got map[string]int
	s.until(s.kubelet, time.Minute, where+" has each line", func() bool {
		got = records(text())
		return len(got) >= want
	})
	for _, job := range s.jobs {
		for line := range strings.Lines(string(job.Log())) {
			if n := got[job.ID+" "+strings.TrimSuffix(line, "\n")]; n != 1 {
				s.t.Errorf("%s has %d times this line of %s: %.60q", where, n, job.ID, line)
			}
		}
	}
	s.t.Logf("%s has %d lines, each once or told above; %.0f s after the start", where, want, time.Since(s.start).Seconds())
}

// records counts the lines of jobs in records.
func records(text string) map[string]int {
	all := map[string]int{}
	for line := range strings.Lines(text) {
		var r struct {
			ID      string `json:"submission_id"`
			Event   string
			Message string
		}
		if json.Unmarshal([]byte(line), &r) == nil && r.ID != "" && r.Event == "" {
			all[r.ID+" "+r.Message]++
		}
	}
	return all
}

func escape(query string) string { return url.QueryEscape(query) }
