package deploy

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"
)

const chart = "deploy/helm/raytap"

// valuesOf are the values with which the chart is rendered. The files are published
// examples.
var valuesOf = map[string][]string{
	"the defaults":       nil,
	"everything enabled": {"--set", "serviceMonitor.enabled=true,prometheusRule.enabled=true,dashboards.enabled=true"},
	"lines to stdout":    {"--values", "deploy/kubernetes/values-stdout.yaml"},
	"vlagent sidecar":    {"--values", "deploy/kubernetes/values-victorialogs.yaml"},
	"a token and https":  {"--values", "deploy/kubernetes/values-token.yaml"},
	"no optional objects": {"--set", "persistence.enabled=false,serviceAccount.create=false,networkPolicy.enabled=false",
		"--set", "podLabels.a=b,podAnnotations.c=d,nodeSelector.e=f,priorityClassName=g,service.annotations.h=i",
		"--set", "imagePullSecrets[0].name=pull,tolerations[0].operator=Exists,extraArgs[0]=--no-shipper.enabled"},
	"an existing claim": {"--set", "persistence.existingClaim=mine,fullnameOverride=other"},
	"clusters in files": {"--set", "config.clusters=null,config.cluster_files[0].files[0]=/etc/clusters/*.json,config.cluster_files[0].module=prod",
		"--set", "config.modules.prod.targets[0]=*.ray.svc,networkPolicy.nodeAgentPort=0"},
	"discovery":                   {"--set", enabled},
	"discovery in all namespaces": {"--set", enabled + ",discovery.kuberay.allNamespaces=true,discovery.kuberay.auth=none"},
	"discovery in some":           {"--set", enabled + ",discovery.kuberay.namespaces={a,b},discovery.kuberay.clusterLabels.team=team,rbac.create=true"},
	"shards":                      {"--values", "deploy/kubernetes/values-shards.yaml"},
	"clusters by probes":          {"--set-json", "config.clusters=[]", "--set", "config.modules.prod.targets[0]=*.ray.svc"},
}

// render renders the chart.
func render(t *testing.T, args ...string) (string, error) {
	t.Helper()
	home := t.TempDir()
	env := []string{"HELM_CONFIG_HOME=" + home, "HELM_CACHE_HOME=" + home, "HELM_DATA_HOME=" + home}
	return command(t, env, tool(t, "helm"), append([]string{"template", "raytap", chart, "--namespace", "ray"}, args...)...)
}

// object is the part of a Kubernetes object that the tests check.
type object struct {
	Kind     string
	Metadata struct {
		Name   string
		Labels map[string]string
	}
	Data map[string]string
	Spec struct {
		Replicas int
		Template struct {
			Spec podSpec
		}
		Egress []struct {
			Ports []struct{ Port any }
		}
	}
	text string
}

type podSpec struct {
	AutomountServiceAccountToken *bool
	SecurityContext              map[string]any
	Containers                   []container
}

type container struct {
	Name            string
	Image           string
	Env             []struct{ Name, Value string }
	VolumeMounts    []struct{ MountPath string }
	SecurityContext struct {
		AllowPrivilegeEscalation, ReadOnlyRootFilesystem *bool
		Capabilities                                     struct{ Drop []string }
	}
	Resources                     struct{ Requests, Limits map[string]string }
	LivenessProbe, ReadinessProbe map[string]any
}

func objects(t *testing.T, text string) []object {
	t.Helper()
	var all []object
	for part := range strings.SplitSeq("\n"+text, "\n---\n") {
		o := object{text: part}
		if err := yaml.Unmarshal([]byte(part), &o); err != nil {
			t.Fatalf("%v in\n%s", err, part)
		}
		if o.Kind != "" {
			all = append(all, o)
		}
	}
	return all
}

func of(t *testing.T, all []object, kind string) object {
	t.Helper()
	i := slices.IndexFunc(all, func(o object) bool { return o.Kind == kind })
	if i < 0 {
		t.Fatalf("no object of kind %s", kind)
	}
	return all[i]
}

func TestChart_Lint(t *testing.T) {
	must(t, tool(t, "helm"), "lint", "--strict", "--quiet", chart)
}

func TestChart_ManifestsAreValid(t *testing.T) {
	schemas := filepath.Join(root, ".tools", "kubernetes-schemas", "{{.ResourceKind}}{{.KindSuffix}}.json")
	for name, args := range valuesOf {
		t.Run(name, func(t *testing.T) {
			text, err := render(t, args...)
			if err != nil {
				t.Fatal(err)
			}
			must(t, tool(t, "kubeconform"), "-strict", "-skip", "ServiceMonitor,PrometheusRule", "-schema-location", schemas, write(t, "all.yaml", text))
			for _, o := range objects(t, text) {
				var err error
				switch o.Kind {
				case "ServiceMonitor":
					err = yaml.UnmarshalStrict([]byte(o.text), &monitoring.ServiceMonitor{})
				case "PrometheusRule":
					var rule monitoring.PrometheusRule
					if err = yaml.UnmarshalStrict([]byte(o.text), &rule); err == nil && len(rule.Spec.Groups) == 0 {
						err = fmt.Errorf("it lacks the rules of deploy/prometheus")
					}
				}
				if err != nil {
					t.Errorf("%s %s: %v", o.Kind, o.Metadata.Name, err)
				}
			}
		})
	}
}

func TestChart_Configuration(t *testing.T) {
	for name, args := range valuesOf {
		t.Run(name, func(t *testing.T) {
			text, err := render(t, args...)
			if err != nil {
				t.Fatal(err)
			}
			all := objects(t, text)
			config := of(t, all, "ConfigMap").Data["raytap.yaml"]
			checkConfig(t, nil, withMounts(t, of(t, all, "StatefulSet").Spec.Template.Spec.Containers[0], config))
		})
	}
}

// withMounts returns config as raytap would read it in the container: files below
// its mounts exist, here in directories of the test. What is not mounted stays
// missing.
func withMounts(t *testing.T, c container, config string) string {
	t.Helper()
	for _, m := range c.VolumeMounts {
		dir := t.TempDir()
		config = regexp.MustCompile(regexp.QuoteMeta(m.MountPath)+`/([\w.-]+)`).ReplaceAllStringFunc(config, func(path string) string {
			file := filepath.Join(dir, filepath.Base(path))
			text := []byte("a secret")
			if filepath.Ext(path) == ".pem" {
				text = certificate(t)
			}
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			return file
		})
	}
	return config
}

// certificate returns a certificate in PEM format.
func certificate(t *testing.T) []byte {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

func TestChart_PodSecurity(t *testing.T) {
	for name, args := range valuesOf {
		t.Run(name, func(t *testing.T) {
			text, err := render(t, args...)
			if err != nil {
				t.Fatal(err)
			}
			pod := of(t, objects(t, text), "StatefulSet").Spec.Template.Spec
			if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
				t.Error("a service account's token is mounted")
			}
			if fmt.Sprint(pod.SecurityContext["runAsNonRoot"], pod.SecurityContext["runAsUser"], pod.SecurityContext["seccompProfile"]) != "true 65532 map[type:RuntimeDefault]" {
				t.Errorf("the pod's security context is %v", pod.SecurityContext)
			}
			for _, c := range pod.Containers {
				s := c.SecurityContext
				if s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem ||
					!slices.Equal(s.Capabilities.Drop, []string{"ALL"}) {
					t.Errorf("container %s has the security context %+v", c.Name, s)
				}
				if c.Resources.Requests["cpu"] == "" || c.Resources.Requests["memory"] == "" || c.Resources.Limits["memory"] == "" {
					t.Errorf("container %s has resources %+v", c.Name, c.Resources)
				}
			}
			if c := pod.Containers[0]; c.LivenessProbe == nil || c.ReadinessProbe == nil {
				t.Error("raytap has no probes")
			}
		})
	}
}

// GOMEMLIMIT follows the memory limit. Without it, Go would collect garbage too late.
func TestChart_GoMemoryLimit(t *testing.T) {
	for name, c := range map[string]struct{ set, want string }{
		"the default":      {"service.port=9265", "429496729"},
		"whole gibibytes":  {"resources.limits.memory=2Gi", "1717986918"},
		"half a gibibyte":  {"resources.limits.memory=0.5Gi", "429496729"},
		"decimal":          {"resources.limits.memory=500M", "400000000"},
		"bytes":            {"resources.limits.memory=1000000000", "800000000"},
		"no limit":         {"resources.limits=null", ""},
		"no resources":     {"resources=null", ""},
		"set by the user":  {"env[0].name=GOMEMLIMIT,env[0].value=1GiB", "1GiB"},
		"another variable": {"env[0].name=A,env[0].value=b", "429496729"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := render(t, "--set", c.set)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range of(t, objects(t, text), "StatefulSet").Spec.Template.Spec.Containers[0].Env {
				if e.Name == "GOMEMLIMIT" {
					got = append(got, e.Value)
				}
			}
			if strings.Join(got, " and ") != c.want {
				t.Errorf("GOMEMLIMIT is %q, want %q", got, c.want)
			}
		})
	}
}

func TestChart_NetworkPolicyPorts(t *testing.T) {
	for name, c := range map[string]struct{ set, ports string }{
		"the default":       {"service.port=9265", "[8265 52365]"},
		"https, no port":    {"config.clusters[0].url=https://ray.example/prefix", "[443 52365]"},
		"http, no port":     {"config.clusters[0].url=http://ray.example", "[80 52365]"},
		"an IPv6 address":   {"config.clusters[0].url=http://[fd00::1]:8266/x", "[8266 52365]"},
		"two with one port": {"config.clusters[0].url=http://a:1,config.clusters[1].url=http://b:1", "[1 52365]"},
		"no node agents":    {"networkPolicy.nodeAgentPort=0", "[8265]"},
		"other node agents": {"networkPolicy.nodeAgentPort=9999", "[8265 9999]"},
		"no cluster":        {"config.clusters=null,config.modules.a.targets[0]=*", "[52365]"},
		"discovery":         {"discovery.kuberay.enabled=true", "[8265 52365 443 6443]"},
		"an API server":     {"discovery.kuberay.enabled=true,networkPolicy.apiServerPorts={16443}", "[8265 52365 16443]"},
		"no API server":     {"discovery.kuberay.enabled=true,networkPolicy.apiServerPorts=null", "[8265 52365]"},
		// A rule without ports would allow all ports.
		"no ports": {"config.clusters=null,config.modules.a.targets[0]=*,networkPolicy.nodeAgentPort=0", "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := render(t, "--set", c.set)
			if err != nil {
				t.Fatal(err)
			}
			var ports []any
			for _, rule := range of(t, objects(t, text), "NetworkPolicy").Spec.Egress[1:] {
				if len(rule.Ports) == 0 {
					ports = append(ports, "all")
				}
				for _, p := range rule.Ports {
					ports = append(ports, p.Port)
				}
			}
			if got := fmt.Sprint(ports); got != c.ports {
				t.Errorf("allowed egress ports: %s, want %s", got, c.ports)
			}
		})
	}
}

func TestChart_InvalidValues(t *testing.T) {
	for name, set := range map[string]string{
		"an unknown value":        "imgae.tag=1",
		"an unknown nested value": "persistence.sise=1Gi",
		"no cluster":              "config.clusters=null",
		"an empty list of files":  "config.clusters=null,config.cluster_files={}",
		"a URL without a scheme":  "config.clusters[0].url=ray-head:8265",
		"an invalid port":         "service.port=70000",
		"a relative mount":        "secretMounts[0].secretName=a,secretMounts[0].mountPath=etc",
		"a size with a typo":      "persistence.size=2GiB",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := render(t, "--set", set); err == nil {
				t.Errorf("--set %s is accepted", set)
			}
		})
	}
}

// schema is the part of a JSON schema that the tests check.
type schema struct {
	Description          string
	Properties           map[string]schema
	AdditionalProperties any
}

// Each value has a description in the schema, and each property of the schema has a default
// in values.yaml.
func TestChart_SchemaDescribesValues(t *testing.T) {
	var s schema
	if err := json.Unmarshal([]byte(read(t, chart+"/values.schema.json")), &s); err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.Unmarshal([]byte(read(t, chart+"/values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	values["global"] = map[string]any{} // Helm's own
	var compare func(path string, s schema, values map[string]any)
	compare = func(path string, s schema, values map[string]any) {
		if s.AdditionalProperties == false {
			if a, b := slices.Sorted(maps.Keys(s.Properties)), slices.Sorted(maps.Keys(values)); !slices.Equal(a, b) {
				t.Errorf("%s: the schema has %v, values.yaml has %v", path, a, b)
			}
		}
		for name, p := range s.Properties {
			if p.Description == "" {
				t.Errorf("%s.%s has no description", path, name)
			}
			// The property config is generated from raytap's structs, and has its own tests.
			if v, ok := values[name].(map[string]any); ok && path+"."+name != ".config" {
				compare(path+"."+name, p, v)
			}
		}
	}
	compare("", s, values)
}

// The plain manifests are the chart rendered with its defaults.
func TestChart_PlainManifestsAreCurrent(t *testing.T) {
	text, err := render(t)
	if err != nil {
		t.Fatal(err)
	}
	header := "# The chart in deploy/helm/raytap, rendered with its defaults, without a namespace.\n" +
		"# Generated by `make manifests`; do not edit.\n"
	if got, want := read(t, "deploy/kubernetes/raytap.yaml"), header+text; got != want {
		t.Errorf("deploy/kubernetes/raytap.yaml is out of date: run `make manifests`")
	}
}
