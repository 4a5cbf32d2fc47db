package discovery

import (
	"reflect"
	"testing"

	"raytap/config"
)

func TestSelect(t *testing.T) {
	found := func(names ...string) (out []Cluster) {
		for _, name := range names {
			out = append(out, Cluster{Cluster: config.Cluster{Name: name}, Source: "x.json"})
		}
		return out
	}
	for name, tt := range map[string]struct {
		found    []Cluster
		taken    []string
		want     []Cluster
		rejected []string
	}{
		"all":                       {found("a", "b"), []string{"own"}, found("a", "b"), nil},
		"name of the configuration": {found("a", "own"), []string{"own"}, found("a"), []string{"own in x.json: another cluster has this name"}},
		"name of another file":      {found("a", "a"), nil, found("a"), []string{"a in x.json: another cluster has this name"}},
		"too many":                  {found("a", "b", "c"), []string{"own", "own2"}, found("a", "b"), []string{"c in x.json: max_clusters is 4"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, rejected := Select(tt.found, tt.taken, 4)
			if !reflect.DeepEqual(got, tt.want) || !reflect.DeepEqual(rejected, tt.rejected) {
				t.Errorf("got %v and rejected %q; want %v and %q", got, rejected, tt.want, tt.rejected)
			}
		})
	}
}
