// Package boards builds raytap's Grafana dashboards.
//
// Every query about a cluster takes the max over raytaps, so that two of them on
// one cluster count once.
package boards

import (
	"encoding/json"
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// All gives the dashboards' JSON by file name.
func All() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, build := range []func() *dashboard.DashboardBuilder{clusters, jobs, nodes, serve, itself} {
		d, err := build().Build()
		if err != nil {
			return nil, fmt.Errorf("build a dashboard: %w", err)
		}
		finish(&d)
		text, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("encode dashboard %s: %w", *d.Uid, err)
		}
		files[*d.Uid+".json"] = append(text, '\n')
	}
	return files, nil
}

// finish gives panels ids, which links to a single panel name, and keeps links in
// sight: the builder puts them into a menu.
func finish(d *dashboard.Dashboard) {
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

// board begins a dashboard, with the variables that all have.
func board(uid, title, about string) *dashboard.DashboardBuilder {
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
		WithVariable(source("datasource", "Prometheus", "prometheus"))
}

// source is a variable for a datasource of a kind.
func source(name, label, kind string) *dashboard.DatasourceVariableBuilder {
	return dashboard.NewDatasourceVariableBuilder(name).Label(label).Type(kind)
}

// values is a variable with the values of a metric's label, all of them at first.
// All is .+ and not .*, because Loki refuses what could match nothing.
func values(name, label, selector string) *dashboard.QueryVariableBuilder {
	query := fmt.Sprintf("label_values(%s, %s)", selector, name)
	return named(name, label, query)
}

func named(name, label, query string) *dashboard.QueryVariableBuilder {
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

// byCluster is the variable that narrows a dashboard to some clusters.
func byCluster() *dashboard.QueryVariableBuilder {
	return values("ray_cluster", "Cluster", "raytap_up")
}

var (
	prometheusRef = ref("prometheus", "${datasource}")
	lokiRef       = ref("loki", "${loki}")
)

func ref(kind, uid string) common.DataSourceRef {
	return common.DataSourceRef{Type: &kind, Uid: &uid}
}
