package config

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"raytap/shipper/record"
)

// The values of kubernetes.rules[].auth.
const (
	AuthSecret = "secret" // the token of the Secret that the head pod uses
	AuthNone   = "none"   // no token
	AuthModule = "module" // the credentials of the module
)

// AllNamespaces, as the only element of kubernetes.rules[].namespaces, is every
// namespace.
const AllNamespaces = "*"

// Kubernetes is how the RayClusters of KubeRay (ray.io/v1) are found.
type Kubernetes struct {
	// File with the connection to the API server. Empty: that of the pod, with its
	// ServiceAccount. raytap must be able to reach the addresses of pods.
	Kubeconfig Path `yaml:"kubeconfig"`
	// Which RayClusters are watched, and with which settings: the first rule that
	// matches a RayCluster is used, and one that no rule matches is not watched.
	Rules []KubernetesRule `yaml:"rules"`
	// How long the rest of the logs of a RayCluster that was deleted is read, at most.
	DrainTimeout Duration `yaml:"drain_timeout"`
}

// KubernetesRule selects RayClusters and has the settings for them.
type KubernetesRule struct {
	// Namespaces of the RayClusters. ["*"]: all. Empty: the namespace that raytap
	// runs in.
	Namespaces []string `yaml:"namespaces"`
	// Label selector for RayClusters, such as team=vision,env!=test. Empty: all.
	Selector string `yaml:"selector"`
	// Module with the settings for these clusters. Its targets do not apply to them.
	// Empty: the defaults of clusters.
	Module string `yaml:"module"`
	// secret: the token of the Secret that the head pod uses. none: no token. module:
	// the credentials of the module.
	Auth string `yaml:"auth" enum:"secret,none,module"`
	// Labels of the RayCluster that are added to records and to raytap_cluster_info,
	// with the key that each gets there.
	ClusterLabels map[string]string `yaml:"cluster_labels"`
}

func (k *Kubernetes) setDefaults() {
	k.DrainTimeout = Duration(2 * time.Minute)
	k.Rules = make([]KubernetesRule, 1)
	k.Rules[0].setDefaults()
}

func (r *KubernetesRule) setDefaults() { r.Auth = AuthSecret }

// All reports whether a rule is for every namespace.
func (r *KubernetesRule) All() bool { return slices.Contains(r.Namespaces, AllNamespaces) }

// RayCluster returns the settings for a RayCluster that a rule of c matches, with
// namespace/name as its name. The host of the URL is for messages: it need not
// resolve.
func (c *Config) RayCluster(r KubernetesRule, namespace, name string) Cluster {
	var out Cluster
	out.setDefaults()
	if m, ok := c.Modules[r.Module]; ok {
		out = m.Cluster
	}
	if r.Auth != AuthModule {
		out.Auth = Auth{}
	}
	scheme := "http"
	if out.TLS != (TLS{}) {
		scheme = "https"
	}
	out.Shard = ShardAuto // its uid decides
	out.Name, out.URL = namespace+"/"+name, URL(scheme+"://"+name+"."+namespace)
	return out
}

// onlyKubernetes reports whether a module is used by rules of kubernetes, and not by
// cluster_files: it needs no targets.
func (c *Config) onlyKubernetes(module string) bool {
	return c.Kubernetes != nil &&
		slices.ContainsFunc(c.Kubernetes.Rules, func(r KubernetesRule) bool { return r.Module == module }) &&
		!slices.ContainsFunc(c.ClusterFiles, func(f ClusterFiles) bool { return f.Module == module })
}

// credentials reports whether requests of a cluster have something that others must
// not get.
func (c *Cluster) credentials() bool {
	return c.Auth != (Auth{}) || len(c.Headers) > 0 || c.TLS.CertFile != ""
}

// kubernetes checks how RayClusters are found.
func (k *checker) kubernetes(c *Config) {
	if c.Kubernetes == nil {
		return
	}
	const at = "kubernetes"
	k.minDuration(at+".drain_timeout", c.Kubernetes.DrainTimeout, time.Second)
	if len(c.Kubernetes.Rules) == 0 {
		k.fail(at+".rules", "needs at least one rule; omit the key for all RayClusters in the namespace that raytap runs in")
	}
	for i := range c.Kubernetes.Rules {
		r, at := &c.Kubernetes.Rules[i], at+".rules["+strconv.Itoa(i)+"]"
		k.enums(at, reflect.ValueOf(r).Elem())
		k.namespaces(at+".namespaces", r.Namespaces)
		if _, err := labels.Parse(r.Selector); err != nil {
			k.fail(at+".selector", "is not a label selector, such as team=vision,env!=test: %v", err)
		}
		k.kubernetesModule(at, r, c)
		k.clusterLabels(at+".cluster_labels", r.ClusterLabels, c)
	}
}

func (k *checker) namespaces(at string, list []string) {
	for i, name := range list {
		switch path := at + "[" + strconv.Itoa(i) + "]"; {
		case name == AllNamespaces && len(list) > 1:
			k.fail(at, "has * and other namespaces; write [\"*\"] for all")
		case name == AllNamespaces:
		case len(validation.IsDNS1123Label(name)) > 0:
			k.fail(path, "is not the name of a namespace; * is for all, and only whole names are possible")
		case slices.Index(list, name) < i:
			k.fail(path, "is listed twice")
		}
	}
}

// kubernetesModule checks the module of a rule. A user who may create a RayCluster
// chooses the program that gets its requests, so that credentials are sent only to
// namespaces that the rule names.
func (k *checker) kubernetesModule(at string, r *KubernetesRule, c *Config) {
	if r.Module == "" {
		if r.Auth == AuthModule {
			k.fail(at+".module", "is required with auth: module: it has the credentials")
		}
		return
	}
	m, ok := c.Modules[r.Module]
	if !ok {
		k.fail(at+".module", "must be the name of one of modules, which has the settings for these RayClusters, or be omitted")
		return
	}
	switch cluster := &m.Cluster; {
	case cluster.API != APIRay:
		k.fail(at+".module", "names a module with api: %s: RayClusters serve api: ray", cluster.API)
	case cluster.ProxyURL != "":
		k.fail(at+".module", "names a module with proxy_url: raytap connects to pods of RayClusters without a proxy, to be sure which pod answers")
	case r.Auth == AuthModule && cluster.Auth == (Auth{}) && len(cluster.Headers) == 0:
		k.fail(at+".auth", "is module, but the module has no credentials; use none for clusters without a token")
	case r.Auth != AuthModule && (cluster.Auth != (Auth{}) || hasAuthorization(cluster.Headers)):
		k.fail(at+".auth", "is %s, but the module has credentials; use module to send these", r.Auth)
	case cluster.credentials() && (len(r.Namespaces) == 0 || r.All()):
		k.fail(at+".namespaces", "must name the namespaces: the module has credentials (auth, headers or a client certificate), and every user who may create a RayCluster can read them")
	}
}

func hasAuthorization(headers map[string]Secret) bool {
	for name := range headers {
		if strings.EqualFold(name, "authorization") {
			return true
		}
	}
	return false
}

// recordKey is what a key of cluster_labels may be: it is a label of a metric, too.
var recordKey = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func (k *checker) clusterLabels(at string, list map[string]string, c *Config) {
	first := map[string]string{}
	for _, label := range sortedKeys(list) {
		key, path := list[label], at+"."+label
		_, added := c.Shipper.Labels[key]
		switch {
		case len(validation.IsQualifiedName(label)) > 0:
			k.fail(path, "is not the name of a label of a RayCluster")
		case !recordKey.MatchString(key) || strings.HasPrefix(key, "__"):
			k.fail(path, "must be a key of letters, digits and _ that does not begin with a digit or __")
		case slices.Contains(record.ReservedKeys, key) || slices.Contains(kubernetesKeys, key):
			k.fail(path, "is a reserved key of records or of raytap_cluster_info")
		case added:
			k.fail(path, "is a key of shipper.labels, too")
		case first[key] != "":
			k.fail(path, "is the key of the label %s, too", first[key])
		}
		first[key] = label
	}
}

// kubernetesKeys are the keys that raytap adds for each RayCluster, and the labels of
// raytap_cluster_info.
var kubernetesKeys = []string{
	"k8s_namespace", "owner_kind", "owner_name", "uid", "ray_version", "session_name",
	"job", "instance", "namespace", "pod", "service", "endpoint", "container",
}

// DrainTimeout returns how long the logs of a cluster that was deleted are read, at most.
func (c *Config) DrainTimeout() time.Duration {
	if c.Kubernetes == nil {
		return 0
	}
	return time.Duration(c.Kubernetes.DrainTimeout)
}

// ClusterLabelKeys returns the keys that the rules give to labels of RayClusters, sorted.
func (c *Config) ClusterLabelKeys() []string {
	if c.Kubernetes == nil {
		return nil
	}
	var keys []string
	for _, r := range c.Kubernetes.Rules {
		keys = slices.AppendSeq(keys, maps.Values(r.ClusterLabels))
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
