package dashboards

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

const (
	green  = "green"
	yellow = "yellow"
	orange = "orange"
	red    = "red"
	blue   = "blue"
	grey   = "#808080"
)

// Grafana's units.
const (
	unitShort   = "short"
	unitBytes   = "bytes"
	unitRate    = "Bps"
	unitSeconds = "s"
	unitRatio   = "percentunit"
	unitTime    = "dateTimeAsIso"
	unitLines   = "cps"
)

// query is an expression and the legend of its series.
type query struct{ expr, legend string }

// rangeQuery returns a query over the dashboard's time range.
func rangeQuery(i int, q query) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().RefId(refID(i)).Expr(q.expr).LegendFormat(q.legend).Range()
}

// refID returns A, B and so on.
func refID(i int) string { return string(rune('A' + i)) }

// steps returns thresholds: the first colour applies from -Inf, each other one from its value.
func steps(first string, rest ...any) *dashboard.ThresholdsConfigBuilder {
	list := []dashboard.Threshold{{Color: first}}
	for i := 0; i+1 < len(rest); i += 2 {
		value := rest[i].(float64)
		list = append(list, dashboard.Threshold{Value: &value, Color: rest[i+1].(string)})
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(list)
}

// number returns a panel with the current value.
func number(title, about, unit, expr string, colours *dashboard.ThresholdsConfigBuilder) *stat.PanelBuilder {
	return stat.NewPanelBuilder().
		Title(title).Description(about).Datasource(prometheusRef).Height(4).Span(4).
		Unit(unit).Thresholds(colours).NoValue("–").
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		ColorMode(common.BigValueColorModeValue).GraphMode(common.BigValueGraphModeNone).
		WithTarget(prometheus.NewDataqueryBuilder().RefId("A").Expr(expr).Instant())
}

// lines returns a panel with values over time.
func lines(title, about, unit string, queries ...query) *timeseries.PanelBuilder {
	p := timeseries.NewPanelBuilder().
		Title(title).Description(about).Datasource(prometheusRef).Height(8).Span(12).
		Unit(unit).LineWidth(1).FillOpacity(8).ShowPoints(common.VisibilityModeNever).AxisSoftMin(0).
		Thresholds(steps(green)).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeList).
			Placement(common.LegendPlacementBottom).ShowLegend(true).Calcs([]string{})).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
	for i, q := range queries {
		p.WithTarget(rangeQuery(i, q))
	}
	return p
}

// share returns a panel of ratios over time, red from limit on.
func share(title, about string, limit float64, queries ...query) *timeseries.PanelBuilder {
	return lines(title, about, unitRatio, queries...).Min(0).AxisSoftMax(1).
		Thresholds(steps(green, limit, red)).
		ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed))
}

// stack returns a panel of stacked values over time.
func stack(title, about, unit string, queries ...query) *timeseries.PanelBuilder {
	return lines(title, about, unit, queries...).FillOpacity(40).
		Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal).Group("A"))
}

// states returns a state timeline; text and colour come from the mapping.
func states(title, about string, values dashboard.ValueMapping, queries ...query) *statetimeline.PanelBuilder {
	p := statetimeline.NewPanelBuilder().
		Title(title).Description(about).Datasource(prometheusRef).Height(8).Span(24).
		Mappings([]dashboard.ValueMapping{values}).Thresholds(steps(grey)).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds)).
		MergeValues(true).ShowValue(common.VisibilityModeAuto).RowHeight(0.8).PerPage(20).FillOpacity(75).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeList).
			Placement(common.LegendPlacementBottom).ShowLegend(false).Calcs([]string{})).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeSingle).Sort(common.SortOrderNone))
	for i, q := range queries {
		p.WithTarget(rangeQuery(i, q))
	}
	return p
}

// valueText is the text and colour of a value.
type valueText struct{ value, text, colour string }

func mapping(all ...valueText) dashboard.ValueMapping {
	m := dashboard.NewValueMap()
	for i, s := range all {
		index := int32(i)
		m.Options[s.value] = dashboard.ValueMappingResult{Text: &s.text, Color: &s.colour, Index: &index}
	}
	return dashboard.ValueMapping{ValueMap: m}
}

// upDown maps 1 and 0.
var upDown = mapping(valueText{"1", "up", green}, valueText{"0", "down", red})

// jobStatuses are the statuses of jobs and their colours. A status's code is its index + 1.
var jobStatuses = []valueText{
	{"PENDING", "PENDING", yellow}, {"RUNNING", "RUNNING", blue}, {"SUCCEEDED", "SUCCEEDED", green},
	{"FAILED", "FAILED", red}, {"STOPPED", "STOPPED", grey}, {"ENDED", "ENDED", grey},
}

// coded returns a query that turns a state set into one number: the state's index + 1.
func coded(states []valueText, by, metric, selector, label string) query {
	expr := ""
	for i, s := range states {
		if i > 0 {
			expr += " or "
		}
		expr += fmt.Sprintf("%d * max by (%s) (%s{%s, %s=%q} == 1)", i+1, by, metric, selector, label, s.value)
	}
	return query{expr: expr}
}

// codes returns the mapping for a query of coded.
func codes(states []valueText) dashboard.ValueMapping {
	all := make([]valueText, len(states))
	for i, s := range states {
		all[i] = valueText{fmt.Sprint(i + 1), s.text, s.colour}
	}
	return mapping(all...)
}
