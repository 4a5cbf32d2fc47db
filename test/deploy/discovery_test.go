package deploy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	rbac "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// enabled enables the discovery of RayClusters.
const enabled = "discovery.kuberay.enabled=true"

// rights returns what raytap may do, by namespace; "*" is all.
func rights(t *testing.T, all []object) map[string][]string {
	t.Helper()
	out, bound := map[string][]string{}, map[string]bool{}
	for _, o := range all {
		switch o.Kind {
		case "Role", "ClusterRole":
			var role rbac.ClusterRole
			if err := yaml.Unmarshal([]byte(o.text), &role); err != nil {
				t.Fatal(err)
			}
			namespace := role.Namespace
			if o.Kind == "ClusterRole" {
				namespace = "*"
			}
			for _, r := range role.Rules {
				if len(r.APIGroups) != 1 || len(r.Resources) != 1 {
					t.Fatalf("a rule for %v of %v", r.Resources, r.APIGroups)
				}
				out[namespace] = append(out[namespace], fmt.Sprintf("%s%v", strings.TrimPrefix(r.APIGroups[0]+"/"+r.Resources[0], "/"), r.Verbs))
			}
		case "RoleBinding", "ClusterRoleBinding":
			var b rbac.ClusterRoleBinding
			if err := yaml.Unmarshal([]byte(o.text), &b); err != nil {
				t.Fatal(err)
			}
			if b.RoleRef.Name != b.Name || b.RoleRef.Kind+"Binding" != o.Kind || len(b.Subjects) != 1 || b.Subjects[0].Namespace != "ray" {
				t.Errorf("%s %s/%s binds %+v to %+v", o.Kind, b.Namespace, b.Name, b.RoleRef, b.Subjects)
			}
			bound[o.Kind+b.Namespace] = true
		}
	}
	if len(bound) != len(out) {
		t.Errorf("roles in %v, but %d bindings", out, len(bound))
	}
	return out
}

// raytap gets exactly the rights that discovery needs, where its clusters are, and a token of
// its account only with discovery, in its own container.
func TestChart_Rights(t *testing.T) {
	const clusters, pods, secrets = "ray.io/rayclusters[get list watch]", "pods[get list watch]", "secrets[get]"
	for name, tt := range map[string]struct {
		set  string
		want map[string][]string
	}{
		"no discovery":       {"service.port=9265", map[string][]string{}},
		"its own namespace":  {enabled, map[string][]string{"ray": {clusters, pods, secrets}}},
		"two namespaces":     {enabled + ",discovery.kuberay.namespaces={a,ray}", map[string][]string{"a": {clusters, pods, secrets}, "ray": {clusters, pods, secrets}}},
		"all namespaces":     {enabled + ",discovery.kuberay.allNamespaces=true", map[string][]string{"*": {clusters, pods, secrets}}},
		"no tokens":          {enabled + ",discovery.kuberay.auth=none", map[string][]string{"ray": {clusters, pods}}},
		"no tokens, all":     {enabled + ",discovery.kuberay.auth=none,discovery.kuberay.allNamespaces=true", map[string][]string{"*": {clusters, pods}}},
		"given elsewhere":    {enabled + ",rbac.create=false", map[string][]string{}},
		"an account's name":  {enabled + ",serviceAccount.create=false,serviceAccount.name=mine", map[string][]string{"ray": {clusters, pods, secrets}}},
		"no roles, disabled": {"discovery.kuberay.allNamespaces=true", map[string][]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := render(t, "--set", tt.set, "--values", "deploy/kubernetes/values-victorialogs.yaml")
			if err != nil {
				t.Fatal(err)
			}
			all := objects(t, text)
			if got := rights(t, all); fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("rights: %v, want %v", got, tt.want)
			}
			pod := of(t, all, "StatefulSet").Spec.Template.Spec
			if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
				t.Error("every container gets a token")
			}
			for _, c := range pod.Containers {
				token := slices.ContainsFunc(c.VolumeMounts, func(m struct{ MountPath string }) bool {
					return strings.HasPrefix("/var/run/secrets/kubernetes.io/serviceaccount", m.MountPath)
				})
				if want := c.Name == "raytap" && strings.Contains(tt.set, enabled); token != want {
					t.Errorf("container %s has a token: %t, want %t", c.Name, token, want)
				}
			}
		})
	}
}

// The values become raytap's configuration; what it says itself takes precedence.
func TestChart_Discovery(t *testing.T) {
	const k = enabled + ",discovery.kuberay."
	for name, tt := range map[string]struct{ set, clusters, kubernetes string }{
		"disabled":          {"discovery.kuberay.selector=a=b", "[map[name:default url:http://raycluster-head-svc:8265]]", "<nil>"},
		"the default":       {enabled, "[]", "map[rules:[map[auth:secret]]]"},
		"namespaces":        {k + "namespaces={a,b}", "[]", "map[rules:[map[auth:secret namespaces:[a b]]]]"},
		"all namespaces":    {k + "allNamespaces=true", "[]", "map[rules:[map[auth:secret namespaces:[*]]]]"},
		"selector and keys": {k + "selector=team=x," + k[len(enabled)+1:] + "clusterLabels.team=team", "[]", "map[rules:[map[auth:secret cluster_labels:map[team:team] selector:team=x]]]"},
		"no tokens":         {k + "auth=none", "[]", "map[rules:[map[auth:none]]]"},
		"another key":       {enabled + ",config.kubernetes.drain_timeout=1m", "[]", "map[drain_timeout:1m rules:[map[auth:secret]]]"},
		"its own rules":     {enabled + ",config.kubernetes.rules[0].auth=none", "[]", "map[rules:[map[auth:none]]]"},
		"another cluster":   {enabled + ",config.clusters[0].name=a,config.clusters[0].url=http://a:1", "[map[name:a url:http://a:1]]", "map[rules:[map[auth:secret]]]"},
		"no other clusters": {enabled + ",config.clusters=null", "<nil>", "map[rules:[map[auth:secret]]]"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := render(t, "--set", tt.set)
			if err != nil {
				t.Fatal(err)
			}
			var config map[string]any
			if err := yaml.Unmarshal([]byte(of(t, objects(t, text), "ConfigMap").Data["raytap.yaml"]), &config); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(config["clusters"]); got != tt.clusters {
				t.Errorf("clusters: %s, want %s", got, tt.clusters)
			}
			if got := fmt.Sprint(config["kubernetes"]); got != tt.kubernetes {
				t.Errorf("kubernetes: %s, want %s", got, tt.kubernetes)
			}
		})
	}
}

func TestChart_InvalidDiscovery(t *testing.T) {
	const k = enabled + ",discovery.kuberay."
	for name, set := range map[string]string{
		"all and some namespaces": k + "allNamespaces=true," + "discovery.kuberay.namespaces={a}",
		"not a namespace":         k + "namespaces={A}",
		"all by a star":           k + "namespaces={*}",
		"another auth":            k + "auth=module",
		"an unknown value":        k + "namespace=a",
		"not a key":               k + "clusterLabels.team=my-team",
		"not a port":              enabled + ",networkPolicy.apiServerPorts[0]=0",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := render(t, "--set", set); err == nil {
				t.Errorf("--set %s is accepted", set)
			}
		})
	}
}
