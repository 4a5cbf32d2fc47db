package discovery

import (
	"strings"
	"testing"
)

func TestParseTargets(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want string // the fields of each target, separated by commas; or the error
	}{
		"JSON":                     {`[{"targets": ["a:1", "b:2"], "labels": {"env": "x", "__scheme__": "https"}}]`, "a:1 https,b:2 https"},
		"YAML":                     {"- targets: [a:1]\n  labels: {ray_cluster: prod, __raytap_api: ray, __raytap_path_prefix: /p}\n", "a:1 prod ray /p"},
		"no clusters":              {"[]", ""},
		"empty file":               {"", "it is empty: write [] for no clusters"},
		"incomplete file":          {`[{"targets": ["a:1", "b`, "it is not a list of"},
		"one name for two targets": {`[{"targets": ["a:1", "b:2"], "labels": {"ray_cluster": "x"}}]`, "group 1 has 2 targets and one ray_cluster for all of them"},
		"misspelled label":         {`[{"targets": ["a:1"], "labels": {"__raytap_apy": "x"}}]`, "group 1: unknown label __raytap_apy; use __raytap_api or __raytap_path_prefix"},
		"unknown scheme":           {`[{"targets": ["a:1"], "labels": {"__scheme__": "ftp"}}]`, "group 1: __scheme__ must be http or https"},
		"prefix without slash":     {`[{"targets": ["a:1"], "labels": {"__raytap_path_prefix": "p"}}]`, "group 1: __raytap_path_prefix must start with a slash"},
		"unknown key":              {`[{"targets": ["a:1"], "auth": {"token": "t"}}]`, `line 1: unknown key "auth"; use targets or labels`},
		"two documents":            {"[]\n---\n[]\n", "more than one document"},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := parseTargets("a.yml", []byte(tt.text))
			var parts []string
			for _, x := range list {
				parts = append(parts, strings.Join(strings.Fields(strings.Join([]string{x.Address, x.Name, x.API, x.Scheme, x.Prefix}, " ")), " "))
			}
			got := strings.Join(parts, ",")
			if err != nil {
				got = err.Error()
			}
			if got != tt.want && (err == nil || !strings.Contains(got, tt.want)) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
