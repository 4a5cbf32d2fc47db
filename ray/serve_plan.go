package ray

// What deploying a Serve configuration does to an application. Ray replaces all
// applications that a configuration deployed before, and leaves alone those that
// code deployed (serve.run) and that the new configuration does not name (2.60.0).
const (
	ServeAdd       = "add"
	ServeChange    = "change"
	ServeUnchanged = "unchanged" // deployed again; Ray leaves its replicas alone
	ServeTakeOver  = "take_over" // code deployed it, the configuration will
	ServeRemove    = "remove"
	ServeKeep      = "keep" // code deployed it, and the configuration does not name it
)

// ServeActions are all of them, those that take something away first.
var ServeActions = []string{ServeRemove, ServeTakeOver, ServeChange, ServeAdd, ServeUnchanged, ServeKeep}

// ServePlan is what deploying a Serve configuration would do, by name.
type ServePlan struct {
	Changes []ServePlanned
	// Notes are sentences about what is not of one application, such as a target
	// capacity that is reset.
	Notes []string
}

// ServePlanned is what a ServePlan does to one application.
type ServePlanned struct {
	Name   string
	Action string // one of ServeActions
	// Fields are the keys of its configuration that differ, sorted; of a
	// ServeChange alone. Values are left out, as they may hold secrets.
	Fields []string
	// Hidden: Ray hides parts of the current configuration, which were not compared.
	Hidden bool
}
