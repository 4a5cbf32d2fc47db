package kuberay

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"raytap/config"
)

// clusterFacts are what is kept of a RayCluster.
type clusterFacts struct {
	uid, namespace, name  string
	created               time.Time
	labels                map[string]string
	ownerKind, ownerName  string // of the RayJob or RayService that made it; "": none did
	dashboardPort         string // of rayStartParams; "": not set
	secret                string // of authOptions; "": authOptions asks for no token
	suspended, suspending bool
	elsewhere             bool      // another Kubernetes cluster runs its pods
	deleting              bool      // it has a deletionTimestamp
	gone                  time.Time // when it was found to be deleted; zero: it is not
}

func (c *clusterFacts) fullName() string { return c.namespace + "/" + c.name }

// Values of RayClusters (KubeRay 1.5, ray-operator/apis/ray/v1/raycluster_types.go).
const (
	multiKueue          = "kueue.x-k8s.io/multikueue" // spec.managedBy: the status is that of a cluster elsewhere
	stateSuspended      = "suspended"
	conditionSuspending = "RayClusterSuspending"
	conditionSuspended  = "RayClusterSuspended"
	authModeToken       = "token"
)

func factsOfCluster(c *rayCluster) *clusterFacts {
	out := &clusterFacts{
		uid: c.Meta.UID, namespace: c.Meta.Namespace, name: c.Meta.Name, created: c.Meta.Created.Time, labels: c.Meta.Labels,
		dashboardPort: c.Spec.Head.StartParams["dashboard-port"],
		suspended:     c.Spec.Suspend || c.Status.State == stateSuspended,
		elsewhere:     c.Spec.ManagedBy == multiKueue,
		deleting:      c.Meta.Deleted != nil,
	}
	if o := c.Meta.controller(); o.Kind == "RayJob" || o.Kind == "RayService" {
		out.ownerKind, out.ownerName = o.Kind, o.Name
	}
	for _, condition := range c.Status.Conditions {
		if condition.Status == "True" {
			out.suspending = out.suspending || condition.Type == conditionSuspending
			out.suspended = out.suspended || condition.Type == conditionSuspended
		}
	}
	if a := c.Spec.Auth; a != nil && a.Mode == authModeToken {
		if out.secret = a.SecretName; out.secret == "" {
			out.secret = checkName(c.Meta.Name)
		}
	}
	return out
}

// checkName returns the name of what KubeRay makes for a RayCluster: the
// last 50 characters of its name, with r in place of a first one that is a digit or a
// punctuation mark (KubeRay 1.5, CheckName in controllers/ray/utils/util.go).
func checkName(name string) string {
	const longest = 50
	name = name[max(0, len(name)-longest):]
	if name != "" && strings.IndexByte("0123456789-._", name[0]) >= 0 {
		name = "r" + name[1:]
	}
	return name
}

// podFacts are what is kept of a pod.
type podFacts struct {
	uid, namespace, name string
	owner                string // uid of its RayCluster
	created              time.Time
	head                 bool
	phase                string
	running              bool // its first container, Ray's, runs
	ready, deleting      bool
	hostNetwork          bool
	restarts             int // of Ray's container
	addresses            []netip.Addr
	port                 int       // named dashboard; 0: none
	token                secretKey // of RAY_AUTH_TOKEN; the zero value: none
	why                  string    // why Ray's container does not run
}

const (
	nodeTypeLabel = "ray.io/node-type"
	headType      = "head"
	tokenVariable = "RAY_AUTH_TOKEN"
	dashboard     = "dashboard" // name of a port
)

// factsOfPod returns the facts of a pod. Ray's container is the first one (KubeRay
// 1.5, utils.RayContainerIndex).
func factsOfPod(p *pod) *podFacts {
	out := &podFacts{
		uid: p.Meta.UID, namespace: p.Meta.Namespace, name: p.Meta.Name, owner: p.Meta.controller().UID, created: p.Meta.Created.Time,
		head: p.Meta.Labels[nodeTypeLabel] == headType, phase: p.Status.Phase,
		deleting: p.Meta.Deleted != nil, hostNetwork: p.Spec.HostNetwork,
	}
	for _, ip := range p.Status.IPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			out.addresses = append(out.addresses, a.Unmap())
		}
	}
	ray := ""
	if len(p.Spec.Containers) > 0 {
		c := &p.Spec.Containers[0]
		ray = c.Name
		for _, port := range c.Ports {
			if port.Name == dashboard {
				out.port = port.Port
			}
		}
		for _, v := range c.Env {
			if v.Name == tokenVariable && v.From.Secret != nil {
				out.token = *v.From.Secret
			}
		}
	}
	for _, c := range p.Status.Conditions {
		switch {
		case c.Type == "Ready":
			out.ready = c.Status == "True"
		case c.Type == "PodScheduled" && c.Status == "False":
			out.why = c.Reason
		}
	}
	if i := slices.IndexFunc(p.Status.Containers, func(c containerStatus) bool { return c.Name == ray }); i >= 0 {
		c := &p.Status.Containers[i]
		out.running, out.restarts = c.State.Running != nil, c.Restarts
		if c.State.Waiting != nil {
			out.why = c.State.Waiting.Reason
		}
	}
	return out
}

// alive reports whether Ray runs in the pod, and is the only one with its addresses: a
// pod that has ended keeps them in its status while they are given to others, and with
// hostNetwork they are the node's.
func (p *podFacts) alive() bool {
	return p.phase == "Running" && p.running && !p.hostNetwork && len(p.addresses) > 0
}

func (p *podFacts) ended() bool { return p.phase == "Succeeded" || p.phase == "Failed" }

// container identifies the running container of Ray: a token or a session is that of
// one container.
func (p *podFacts) container() string { return p.uid + "/" + strconv.Itoa(p.restarts) }

// headOf returns the head pod out of the pods of a cluster, nil if there is none: one
// that runs and stays before one that is being deleted, and the newest of equals.
func headOf(pods map[string]*podFacts) *podFacts {
	rank := func(p *podFacts) int {
		switch {
		case p.alive() && !p.deleting:
			return 3
		case p.alive():
			return 2
		case !p.deleting:
			return 1
		}
		return 0
	}
	var best *podFacts
	for _, p := range pods {
		if !p.head || p.ended() {
			continue
		}
		if best == nil || rank(p) > rank(best) ||
			rank(p) == rank(best) && (p.created.After(best.created) || p.created.Equal(best.created) && p.uid > best.uid) {
			best = p
		}
	}
	return best
}

// dashboardAddress returns the address of the dashboard of a head pod.
func dashboardAddress(c *clusterFacts, head *podFacts) string {
	const defaultPort = 8265
	port := head.port
	if port == 0 {
		port, _ = strconv.Atoi(c.dashboardPort)
	}
	if port <= 0 || port > 65535 {
		port = defaultPort
	}
	return netip.AddrPortFrom(head.addresses[0], uint16(port)).String()
}

// tokenKey returns where the token of a cluster is: what the head's container was
// given, which holds for all versions of KubeRay and for what users set up themselves,
// else what authOptions says. The zero value means that there is none, or that auth of
// the rule is not secret.
func tokenKey(auth string, c *clusterFacts, head *podFacts) secretKey {
	switch {
	case auth != config.AuthSecret:
	case head.token.Name != "":
		return head.token
	case c.secret != "":
		return secretKey{Name: c.secret, Key: "auth_token"}
	}
	return secretKey{}
}
