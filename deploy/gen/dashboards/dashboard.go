// Package dashboards builds raytap's Grafana dashboards.
//
// Each query about a cluster takes the max over raytap instances, so that two instances
// on one cluster count once.
package dashboards

import (
	"encoding/json"
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// All returns the JSON of all dashboards by file name.
func All() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, build := range []func() *dashboard.DashboardBuilder{clusters, jobs, nodes, serve, self} {
		d, err := build().Build()
		if err != nil {
			return nil, fmt.Errorf("build dashboard: %w", err)
		}
		setIDs(&d)
		text, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("encode dashboard %s: %w", *d.Uid, err)
		}
		files[*d.Uid+".json"] = append(text, '\n')
	}
	return files, nil
}

// setIDs sets the ids of panels, which links to a single panel need, and shows the links
// in the dashboard: the builder puts them into a menu.
func setIDs(d *dashboard.Dashboard) {
	for i := range d.Links {
		d.Links[i].Placement = nil
	}
	for i, p := range d.Panels {
		id := uint32(i + 1)
		if p.Panel != nil {
			p.Panel.Id = &id
		} else {
			p.RowPanel.Id = id
		}
	}
}

const tag = "raytap"

// newDashboard returns a dashboard with the common variables.
func newDashboard(uid, title, about string) *dashboard.DashboardBuilder {
	return dashboard.NewDashboardBuilder(title).
		Uid(uid).
		Description(about).
		Tags([]string{tag, "ray"}).
		Timezone(common.TimeZoneBrowser).
		Time("now-6h", "now").
		Refresh("1m").
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Editable().
		Link(dashboard.NewDashboardLinkBuilder("Ray").
			Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{tag}).
			IncludeVars(true).KeepTime(true)).
		WithVariable(datasourceVariable("datasource", "Prometheus", "prometheus"))
}

// datasourceVariable returns a variable that selects a data source of a type.
func datasourceVariable(name, label, kind string) *dashboard.DatasourceVariableBuilder {
	return dashboard.NewDatasourceVariableBuilder(name).Label(label).Type(kind)
}

// labelVariable returns a variable with the values of a metric's label. All are selected
// by default, with .+ instead of .*, because Loki rejects a matcher that matches "".
func labelVariable(name, label, selector string) *dashboard.QueryVariableBuilder {
	query := fmt.Sprintf("label_values(%s, %s)", selector, name)
	return queryVariable(name, label, query)
}

func queryVariable(name, label, query string) *dashboard.QueryVariableBuilder {
	all := dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}}
	return dashboard.NewQueryVariableBuilder(name).
		Label(label).
		Query(dashboard.StringOrMap{Map: map[string]any{"query": query, "refId": name}}).
		Definition(query).
		Datasource(prometheusRef).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
		Sort(dashboard.VariableSortNaturalAsc).
		Multi(true).IncludeAll(true).AllValue(".+").
		Current(dashboard.VariableOption{Text: dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}}, Value: all})
}

// clusterVariable returns the variable that selects clusters.
func clusterVariable() *dashboard.QueryVariableBuilder {
	return labelVariable("ray_cluster", "Cluster", "raytap_up")
}

var (
	prometheusRef = ref("prometheus", "${datasource}")
	lokiRef       = ref("loki", "${loki}")
)

func ref(kind, uid string) common.DataSourceRef {
	return common.DataSourceRef{Type: &kind, Uid: &uid}
}
