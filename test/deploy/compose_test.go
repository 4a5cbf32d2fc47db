package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"sigs.k8s.io/yaml"
)

// compose returns the project in the Compose file.
func compose(t *testing.T) *types.Project {
	t.Helper()
	o, err := cli.NewProjectOptions([]string{filepath.Join(root, "deploy/compose/compose.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	project, err := o.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestCompose_ReferencedFilesExist(t *testing.T) {
	p := compose(t)
	for _, want := range []string{"raytap", "prometheus", "grafana", "loki", "alloy"} {
		if _, ok := p.Services[want]; !ok {
			t.Errorf("no service %s", want)
		}
	}
	for name, s := range p.Services {
		if s.Build == nil && (strings.HasSuffix(s.Image, ":latest") || !strings.Contains(s.Image, ":")) {
			t.Errorf("%s: the version of %s is not pinned", name, s.Image)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open to the network", name, port.Published)
			}
		}
		for _, v := range s.Volumes {
			if _, err := os.Stat(v.Source); v.Type == types.VolumeTypeBind && err != nil {
				t.Errorf("%s mounts a file that does not exist: %v", name, err)
			}
		}
	}
	if b := p.Services["raytap"].Build; b == nil || b.Context != root {
		t.Errorf("raytap is not built from %s", root)
	}
}

func TestCompose_ConfigurationsAreValid(t *testing.T) {
	checkConfig(t, []string{"RAY_URL=http://ray:8265"}, read(t, "deploy/compose/raytap.yaml"))
	var loki map[string]any
	if err := yaml.UnmarshalStrict([]byte(read(t, "deploy/compose/loki.yaml")), &loki); err != nil {
		t.Errorf("loki.yaml: %v", err)
	}
}

// The addresses and paths in the services' configurations exist.
func TestCompose_ServiceAddresses(t *testing.T) {
	p := compose(t)
	for file, addresses := range map[string][]string{
		"deploy/prometheus/prometheus.yml":                    {"raytap:9265"},
		"deploy/grafana/provisioning/datasources/raytap.yaml": {"http://prometheus:9090", "http://loki:3100"},
		"deploy/grafana/provisioning/dashboards/raytap.yaml":  {"/var/lib/grafana/dashboards/raytap"},
		"deploy/pipelines/alloy.alloy":                        {"http://127.0.0.1:3100", "/var/lib/raytap/raytap.jsonl"},
		"deploy/compose/raytap.yaml":                          {"/var/lib/raytap/raytap.jsonl"},
	} {
		for _, address := range addresses {
			if !strings.Contains(read(t, file), address) {
				t.Errorf("%s does not contain %s", file, address)
			}
		}
	}
	// Alloy shares Loki's network, so that 127.0.0.1 is Loki.
	if mode := p.Services["alloy"].NetworkMode; mode != "service:loki" {
		t.Errorf("Alloy's network mode is %q", mode)
	}
	mounts := func(service, path string) bool {
		return slices.ContainsFunc(p.Services[service].Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == path })
	}
	for service, path := range map[string]string{"raytap": "/var/lib/raytap", "alloy": "/var/lib/raytap", "grafana": "/var/lib/grafana/dashboards/raytap"} {
		if !mounts(service, path) {
			t.Errorf("%s has no mount at %s", service, path)
		}
	}
}
