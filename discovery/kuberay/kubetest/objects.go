package kubetest

import (
	"fmt"
	"time"
)

// Cluster is a RayCluster. The zero value of a field leaves it out.
type Cluster struct {
	Namespace, Name, UID string
	Labels               map[string]string
	Owner                string // "RayJob name" or "RayService name"
	Secret               string // authOptions with this secretName
	Auth                 bool   // authOptions without a secretName
	Port                 string // dashboard-port of rayStartParams
	ManagedBy            string
	Suspend, Deleting    bool
	Condition            string // that is True
	Created              time.Time
}

// Object returns the RayCluster as KubeRay and the API server have it.
func (c Cluster) Object() Object {
	created := c.Created
	if created.IsZero() {
		created = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	}
	meta := Object{"namespace": c.Namespace, "name": c.Name, "uid": c.UID, "creationTimestamp": created.Format(time.RFC3339),
		"annotations": Object{"kubectl.kubernetes.io/last-applied-configuration": "{}"}, "labels": anyMap(c.Labels)}
	spec := Object{"headGroupSpec": Object{"rayStartParams": Object{}}}
	if c.Port != "" {
		spec["headGroupSpec"] = Object{"rayStartParams": Object{"dashboard-port": c.Port}}
	}
	if c.Owner != "" {
		var kind, name string
		_, _ = fmt.Sscanf(c.Owner, "%s %s", &kind, &name)
		meta["ownerReferences"] = []Object{{"kind": kind, "name": name, "uid": "uid-of-" + name, "controller": true}}
	}
	if c.Auth || c.Secret != "" {
		auth := Object{"mode": "token"}
		if c.Secret != "" {
			auth["secretName"] = c.Secret
		}
		spec["authOptions"] = auth
	}
	if c.ManagedBy != "" {
		spec["managedBy"] = c.ManagedBy
	}
	if c.Suspend {
		spec["suspend"] = true
	}
	if c.Deleting {
		meta["deletionTimestamp"] = "2026-12-01T12:30:00Z"
	}
	conditions := []Object{}
	if c.Condition != "" {
		conditions = append(conditions, Object{"type": c.Condition, "status": "True"})
	}
	return Object{"kind": "RayCluster", "apiVersion": "ray.io/v1", "metadata": meta, "spec": spec, "status": Object{"conditions": conditions,
		// A head of another Kubernetes cluster: nothing may use it.
		"head": Object{"podIP": "127.0.0.99", "serviceName": c.Name + "-head-svc"}}}
}

// Pod is a pod of KubeRay, running and ready unless a field says otherwise.
type Pod struct {
	Namespace, Name, UID string
	Cluster              string // uid of the RayCluster that owns it; "": none does
	Worker               bool
	IP                   string
	Port                 int    // named dashboard; 0: none
	Secret               string // of RAY_AUTH_TOKEN; its key is Key or auth_token
	Key                  string
	Phase                string // "": Running
	Waiting              string // why its container does not run
	NotReady, Deleting   bool
	HostNetwork          bool
	Restarts             int
	Label                string // ray.io/cluster; no more than a label
}

// Object returns the pod as KubeRay, the kubelet and the API server have it.
func (p Pod) Object() Object {
	kind := "head"
	if p.Worker {
		kind = "worker"
	}
	meta := Object{"namespace": p.Namespace, "name": p.Name, "uid": p.UID, "creationTimestamp": "2026-12-01T12:00:00Z",
		"labels": Object{"ray.io/is-ray-node": "yes", "ray.io/node-type": kind, "ray.io/cluster": p.Label}}
	if p.Cluster != "" {
		meta["ownerReferences"] = []Object{{"kind": "RayCluster", "name": "any", "uid": p.Cluster, "controller": true}}
	}
	if p.Deleting {
		meta["deletionTimestamp"] = "2026-12-01T12:30:00Z"
	}
	ports := []Object{{"name": "gcs", "containerPort": 6379}}
	if p.Port != 0 {
		ports = append(ports, Object{"name": "dashboard", "containerPort": p.Port})
	}
	env := []Object{{"name": "RAY_PORT", "value": "6379"}}
	if p.Secret != "" {
		key := p.Key
		if key == "" {
			key = "auth_token"
		}
		env = append(env, Object{"name": "RAY_AUTH_TOKEN", "valueFrom": Object{"secretKeyRef": Object{"name": p.Secret, "key": key}}})
	}
	phase := p.Phase
	if phase == "" {
		phase = "Running"
	}
	state := Object{"running": Object{"startedAt": "2026-12-01T12:00:01Z"}}
	if p.Waiting != "" {
		state = Object{"waiting": Object{"reason": p.Waiting}}
	}
	ready := "True"
	if p.NotReady || p.Waiting != "" {
		ready = "False"
	}
	status := Object{
		"phase": phase, "conditions": []Object{{"type": "Ready", "status": ready}},
		"containerStatuses": []Object{
			{"name": "sidecar", "restartCount": 7, "state": Object{"running": Object{}}},
			{"name": "ray", "restartCount": p.Restarts, "state": state},
		},
	}
	if p.IP != "" {
		status["podIP"], status["podIPs"] = p.IP, []Object{{"ip": p.IP}}
	}
	return Object{"kind": "Pod", "apiVersion": "v1", "metadata": meta, "status": status, "spec": Object{
		"hostNetwork": p.HostNetwork,
		"containers":  []Object{{"name": "ray", "ports": ports, "env": env}, {"name": "sidecar"}},
	}}
}

func anyMap(m map[string]string) Object {
	out := Object{}
	for k, v := range m {
		out[k] = v
	}
	return out
}
