package dashboards

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/table"
)

// column is a column of a table: the value of a query, or a label of the queries.
type column struct {
	title string
	expr  string // "" for a label
	label string // "" for a value
	props []dashboard.DynamicConfigValue
}

// grid returns a table of current values, with a row for each set of labels. All queries
// group by those labels.
func grid(title, about string, columns ...column) *table.PanelBuilder {
	p := table.NewPanelBuilder().
		Title(title).Description(about).Datasource(prometheusRef).Height(9).Span(24).
		Thresholds(steps(grey)).CellHeight(common.TableCellHeightSm).ShowHeader(true).Filterable(true).NoValue("").
		Footer(common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{}))
	hidden := map[string]bool{"Time": true}
	order, names := map[string]int{}, map[string]string{}
	queries := 0
	for i, c := range columns {
		field := c.label
		if c.expr != "" {
			id := refID(queries)
			queries++
			p.WithTarget(prometheus.NewDataqueryBuilder().RefId(id).Expr(c.expr).Format(prometheus.PromQueryFormatTable).Instant())
			field = "Value #" + id
		}
		if c.title == "" {
			hidden[field] = true // queried only for its labels
			continue
		}
		order[field], names[field] = i, c.title
		if len(c.props) > 0 {
			p.OverrideByName(c.title, c.props)
		}
	}
	return p.
		WithTransformation(dashboard.DataTransformerConfig{Id: "merge", Options: map[string]any{}}).
		WithTransformation(dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{
			"excludeByName": hidden, "indexByName": order, "renameByName": names,
		}})
}

func prop(id string, value any) dashboard.DynamicConfigValue {
	return dashboard.DynamicConfigValue{Id: id, Value: value}
}

func unit(name string) dashboard.DynamicConfigValue { return prop("unit", name) }

func width(pixels int) dashboard.DynamicConfigValue { return prop("custom.width", pixels) }

// bar shows a ratio as a bar, red from limit on.
func bar(limit float64) []dashboard.DynamicConfigValue {
	t, _ := steps(green, limit, red).Build() // cannot fail
	return []dashboard.DynamicConfigValue{
		unit(unitRatio), prop("min", 0), prop("max", 1), prop("thresholds", t),
		prop("color", map[string]any{"mode": "thresholds"}),
		prop("custom.cellOptions", map[string]any{"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}),
	}
}

// badge colours the cell by its value.
func badge(m dashboard.ValueMapping) []dashboard.DynamicConfigValue {
	return []dashboard.DynamicConfigValue{
		prop("mappings", []dashboard.ValueMapping{m}),
		prop("custom.cellOptions", map[string]any{"type": "color-background", "mode": "basic"}),
	}
}

// warn colours the text of a number that reaches a limit.
func warn(limit float64, colour string) []dashboard.DynamicConfigValue {
	t, _ := steps("text", limit, colour).Build() // cannot fail
	return []dashboard.DynamicConfigValue{
		prop("thresholds", t), prop("color", map[string]any{"mode": "thresholds"}),
		prop("custom.cellOptions", map[string]any{"type": "color-text"}),
	}
}

// links adds links to the cells of a column.
func links(all ...map[string]any) dashboard.DynamicConfigValue { return prop("links", all) }

// dateTime shows Unix milliseconds as a date and time.
func dateTime() []dashboard.DynamicConfigValue {
	return []dashboard.DynamicConfigValue{unit(unitTime), width(170)}
}
