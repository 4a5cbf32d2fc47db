//go:build e2e && linux

package kuberay

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/test/program"
	"raytap/test/realkube"
)

// rayImage contains nothing that is used: Ray, Python and their libraries are the ones of
// this machine, which pods mount.
const rayImage = "raytap.test/pause:1"

// operated is a Kubernetes of one node with KubeRay's operator, as a process of the node.
type operated struct {
	*realkube.Node
	mounts, volumes string // of the pods of Ray, in JSON
	environment     string
	operator        *program.Process
}

func newOperated(t *testing.T, ray string) *operated {
	t.Helper()
	o := &operated{Node: realkube.NewNode(t)}
	o.ServeDNS()
	o.Define(".tools/kuberay/crds")
	o.machine(ray)
	o.operator = o.Start(exec.Command(program.Tool(t, "bin/ray-operator"), "--use-kubernetes-proxy", "--enable-leader-election=false",
		"--metrics-addr=127.0.0.1:0", "--health-probe-bind-address=127.0.0.1:8082"))
	o.Until(o.operator, time.Minute, "the operator is ready", func() bool { return program.Get("http://127.0.0.1:8082/readyz") != "" })
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(o.Output(`set +e
				kubectl -n ray get rayclusters,rayjobs,pods -o wide
				kubectl -n ray get events --sort-by=.lastTimestamp | tail -n 20
				for pod in $(kubectl -n ray get pods -o name); do kubectl -n ray logs $pod --tail=15; done`))
		}
	})
	return o
}

// machine lists the directories of this machine that contain a Ray of scripts/tools.
func (o *operated) machine(ray string) {
	o.T.Helper()
	python, err := filepath.EvalSymlinks(program.Tool(o.T, ray+"/bin/ray"))
	if err != nil {
		o.T.Fatal(err)
	}
	venv := filepath.Dir(filepath.Dir(python))
	interpreter, err := filepath.EvalSymlinks(filepath.Join(venv, "bin/python3"))
	if err != nil {
		o.T.Fatal(err)
	}
	var mounts, volumes []string
	for i, dir := range []string{"/usr", "/bin", "/lib", "/lib64", "/etc/passwd", venv, filepath.Dir(filepath.Dir(interpreter))} {
		mounts = append(mounts, fmt.Sprintf(`{"name": "machine-%d", "mountPath": %q, "readOnly": true}`, i, dir))
		volumes = append(volumes, fmt.Sprintf(`{"name": "machine-%d", "hostPath": {"path": %q}}`, i, dir))
	}
	o.mounts = strings.Join(append(mounts, `{"name": "tmp", "mountPath": "/tmp"}`), ", ")
	o.volumes = strings.Join(append(volumes, `{"name": "tmp", "emptyDir": {}}`), ", ")
	o.environment = fmt.Sprintf(`{"name": "PATH", "value": "%s/bin:/usr/bin:/bin"}, {"name": "HOME", "value": "/tmp"}, {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"}`, venv)
}

// clusterSpec returns the spec of a RayCluster that has only a head. lifecycle is that of
// its container, "{}" for none; more is added to the spec.
func (o *operated) clusterSpec(lifecycle, more string) string {
	return fmt.Sprintf(`{"rayVersion": "2.60.0", %s "headGroupSpec": {
		"rayStartParams": {"num-cpus": "1", "object-store-memory": "100000000"},
		"template": {"spec": {"volumes": [%s], "containers": [{"name": "ray-head", "image": %q, "imagePullPolicy": "Never", "lifecycle": %s,
			"env": [%s], "volumeMounts": [%s], "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"memory": "4Gi"}}}]}}}}`,
		more, o.volumes, rayImage, lifecycle, o.environment, o.mounts)
}

// createCluster creates a RayCluster with a spec and waits until its head is ready. It returns the
// name of the head pod and the URL of the dashboard.
func (o *operated) createCluster(name, spec string) (pod, url string) {
	o.T.Helper()
	o.Apply(fmt.Sprintf(`{"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": %q, "namespace": "ray"}, "spec": %s}`, name, spec))
	var pods struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				PodIP      string
				Conditions []struct{ Type, Status string }
			}
		}
	}
	o.Until(o.operator, 3*time.Minute, "the head of "+name+" is ready", func() bool {
		if o.Get("/api/v1/namespaces/ray/pods?labelSelector=ray.io/cluster%3D"+name, &pods) != nil || len(pods.Items) != 1 {
			return false
		}
		for _, c := range pods.Items[0].Status.Conditions {
			if c.Type == "Ready" && c.Status == "True" {
				return true
			}
		}
		return false
	})
	return pods.Items[0].Metadata.Name, "http://" + pods.Items[0].Status.PodIP + ":8265"
}

// deleteObject deletes an object without waiting for its end.
func (o *operated) deleteObject(path string) {
	o.T.Helper()
	if _, err := o.Request(http.MethodDelete, path, "", ""); err != nil {
		o.T.Fatal(err)
	}
}
