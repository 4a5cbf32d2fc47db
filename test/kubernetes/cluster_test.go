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
	"raytap/test/realkube"
)

const secondToken = "the-token-of-the-second"

// testCluster is a Kubernetes cluster of one node with two fake Rays, and images for
// everything that the documentation installs.
type testCluster struct {
	*realkube.Node
	prod, second *raytest.Head
	jobs         []*raytest.Job // of prod
	printed      int
	start        time.Time
}

func newCluster(t *testing.T) *testCluster {
	t.Helper()
	raytap := realkube.RaytapImage(t, "registry.example/raytap:0.1.0", realkube.Raytap())
	plain := raytap
	plain.Name = "docker.io/library/raytap:0.1.0"
	s := &testCluster{
		start: time.Now(),
		Node: realkube.NewNode(t, raytap, plain,
			realkube.Image{Name: "docker.io/victoriametrics/victoria-logs:v1.52.1", Entrypoint: []string{"/victoria-logs-prod"},
				Files: map[string]string{"victoria-logs-prod": program.Tool(t, "bin/victoria-logs")}},
			realkube.Image{Name: "docker.io/victoriametrics/vlagent:v1.52.1", Entrypoint: []string{"/vlagent-prod"},
				Files: map[string]string{"vlagent-prod": program.Tool(t, "bin/vlagent")}}),
		prod:   raytest.New(t, raytest.IP(realkube.NodeIP)),
		second: raytest.New(t, raytest.IP(realkube.NodeIP), raytest.Token(secondToken)),
	}
	for i := range 3 {
		s.jobs = append(s.jobs, s.prod.Submit(fmt.Sprintf("job-%d", i), raytest.JobOptions{}))
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Output(`set +e
				kubectl -n ray get pods,services,endpointslices,pvc -o wide
				kubectl -n ray get events --sort-by=.lastTimestamp | tail -n 20
				for container in raytap vlagent; do kubectl -n ray logs raytap-0 -c $container --tail=15; done
				kubectl -n ray logs deployment/victoria-logs --tail=15
				ls -lan /var/lib/volume-*`))
		}
	})
	s.ServeDNS()
	for i := range 2 { // the second one is for a claim after the first one was deleted
		dir := fmt.Sprintf("/var/lib/volume-%d", i)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		s.Apply(volume(i, dir))
	}
	return s
}

// volume returns a local volume on the node. The kubelet sets its group to the pod's, as
// for a disk, but unlike for a hostPath.
func volume(i int, dir string) string {
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "volume-%d"}, "spec": {
		"capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"], "local": {"path": %q},
		"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node"]}]}]}}}}`, i, dir)
}

// head returns the service of a head, as created by KubeRay, for a head outside of pods.
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

func (s *testCluster) uid() string {
	return s.Output("kubectl -n ray get pod raytap-0 -o jsonpath='{.metadata.uid}'")
}

func (s *testCluster) podIP(name string) string {
	return s.Output("kubectl -n ray get pod " + name + " -o jsonpath='{.status.podIP}'")
}

// up waits until raytap_up has a value for a cluster.
func (s *testCluster) up(cluster, value string) {
	s.T.Helper()
	want := fmt.Sprintf("raytap_up{ray_cluster=%q} %s\n", cluster, value)
	s.Until(s.Kubelet, 2*time.Minute, "raytap has "+want, func() bool {
		return strings.Contains(program.Get("http://"+s.podIP("raytap-0")+":9265/metrics"), want)
	})
}

// print makes each job print some lines.
func (s *testCluster) print() {
	for _, job := range s.jobs {
		for range 20 {
			s.printed++
			job.Printf("line %d of all %s\n", s.printed, strings.Repeat("x", 100))
		}
	}
}

// awaitLines waits until all printed lines are in the sink file and in the store, each
// line once.
func (s *testCluster) awaitLines(after string) {
	s.T.Helper()
	volume := s.Output("kubectl -n ray get pvc data-raytap-0 -o jsonpath='{.spec.volumeName}'")
	if volume == "" {
		s.T.Fatal("raytap's claim has no volume")
	}
	s.checkOnce("the file, after "+after, func() string {
		b, err := os.ReadFile(filepath.Join("/var/lib", volume, "raytap.jsonl"))
		if err != nil {
			return ""
		}
		return string(b)
	})
	s.checkOnce("the store, after "+after, func() string {
		address := s.Output("kubectl -n ray get pod -l app.kubernetes.io/name=victoria-logs -o jsonpath='{.items[0].status.podIP}'")
		query := "* | fields submission_id, event, _msg"
		return strings.ReplaceAll(program.Get("http://"+address+":9428/select/logsql/query?query="+escape(query)), `"_msg"`, `"message"`)
	})
}

// checkOnce waits until a text has a record for each line that the jobs printed, and
// checks that each line is there once. It skips other lines, such as raytap's log.
func (s *testCluster) checkOnce(where string, text func() string) {
	s.T.Helper()
	want := 0
	for _, job := range s.jobs {
		want += strings.Count(string(job.Log()), "\n")
	}
	var got map[string]int
	s.Until(s.Kubelet, time.Minute, where+" has each line", func() bool {
		got = records(text())
		return len(got) >= want
	})
	for _, job := range s.jobs {
		for line := range strings.Lines(string(job.Log())) {
			if n := got[job.ID+" "+strings.TrimSuffix(line, "\n")]; n != 1 {
				s.T.Errorf("%s has %d records, want 1, of this line of %s: %.60q", where, n, job.ID, line)
			}
		}
	}
	s.T.Logf("%s has %d lines; %.0f s after the start", where, want, time.Since(s.start).Seconds())
}

// records counts the records of each line.
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
