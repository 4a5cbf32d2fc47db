package ray

// What deploying a Serve configuration does to an application. Ray replaces all
// applications that a configuration deployed before, and keeps those that code
// deployed (serve.run) and that the new configuration does not name (2.60.0).
const (
	ServeAdd       = "add"
	ServeChange    = "change"
	ServeUnchanged = "unchanged" // deployed again; Ray keeps its replicas
	ServeTakeOver  = "take_over" // deployed by code so far, by the configuration from now on
	ServeRemove    = "remove"
	ServeKeep      = "keep" // deployed by code, and not in the configuration
)

// ServeActions lists all actions, destructive ones first.
var ServeActions = []string{ServeRemove, ServeTakeOver, ServeChange, ServeAdd, ServeUnchanged, ServeKeep}

// ServePlan is what deploying a Serve configuration would do.
type ServePlan struct {
	Changes []ServePlanned // sorted by name
	// Notes are sentences about other changes, such as a target capacity that is reset.
	Notes []string
}

// ServePlanned is what a ServePlan does to one application.
type ServePlanned struct {
	Name   string
	Action string // one of ServeActions
	// Fields are the keys of its configuration that differ, sorted; for ServeChange
	// only. Values are omitted: they may hold secrets.
	Fields []string
	// Hidden: Ray redacts parts of the current configuration; they are not compared.
	Hidden bool
}
