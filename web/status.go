package web

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"time"
)

// Status is raytap's current status. It has no secrets. Zero times and empty
// strings mean unknown or none.
type Status struct {
	Version  string          `json:"version"`
	Started  time.Time       `json:"started,omitzero"`
	Now      time.Time       `json:"now"`
	NotReady string          `json:"not_ready,omitempty"` // the reason; "": it is ready
	Config   ConfigStatus    `json:"config"`
	Clusters []ClusterStatus `json:"clusters"`
	Files    []FileStatus    `json:"cluster_files,omitempty"`
	// Kubernetes is nil without RayClusters of KubeRay.
	Kubernetes *KubernetesStatus `json:"kubernetes,omitempty"`
	Probes     ProbesStatus      `json:"probes"`
	Shipper    *ShipperStatus    `json:"shipper,omitempty"` // nil: disabled
}

// ConfigStatus is the status of the configuration in use.
type ConfigStatus struct {
	Hash   string    `json:"hash"`
	Loaded time.Time `json:"loaded"`
	// Failed is when the last reload failed, and Error why; zero if it succeeded.
	Failed time.Time `json:"failed,omitzero"`
	Error  string    `json:"error,omitempty"`
}

// The states of a cluster.
const (
	ClusterUp      = "up"
	ClusterDown    = "down"
	ClusterWaiting = "waiting" // not checked yet
)

// ClusterStatus is the status of one cluster.
type ClusterStatus struct {
	Name       string            `json:"name"`
	URL        string            `json:"url"` // without user and password
	API        string            `json:"api"`
	From       string            `json:"from,omitempty"` // the file that lists it; "": the configuration
	State      string            `json:"state"`
	Error      string            `json:"error,omitempty"`
	Version    string            `json:"ray_version,omitempty"`
	Session    string            `json:"session,omitempty"`
	LastAnswer time.Time         `json:"last_answer,omitzero"`
	Collectors []CollectorStatus `json:"collectors,omitempty"`
	Tails      []TailStatus      `json:"tails,omitempty"`
	NodeLogs   []NodeLogsStatus  `json:"node_logs,omitempty"`
}

// CollectorStatus is the last result of a collector.
type CollectorStatus struct {
	Name  string `json:"name"`
	Error string `json:"error,omitempty"` // "": it succeeded
}

// TailStatus is the status of one job's log.
type TailStatus struct {
	SubmissionID string    `json:"submission_id"`
	Status       string    `json:"status"`
	Transport    string    `json:"transport"` // node_agent, websocket, file, sse or snapshot; none before the first read
	State        string    `json:"state"`     // reading or waiting
	LastRead     time.Time `json:"last_read"`
	Error        string    `json:"error,omitempty"` // of the last read; "": it succeeded
	Lines        uint64    `json:"lines"`           // accepted by the sink, since the start of the log
	Bytes        uint64    `json:"bytes"`           // without line ends
}

// FileStatus is the status of a file of cluster_files.
type FileStatus struct {
	Name     string `json:"name"`
	Clusters int    `json:"clusters"`
	Error    string `json:"error,omitempty"` // then its last valid content is in use
}

// KubernetesStatus is the status of the watches of RayClusters and pods.
type KubernetesStatus struct {
	Watches   []WatchStatus      `json:"watches"`
	Unwatched []RayClusterStatus `json:"unwatched,omitempty"`
}

// WatchStatus is the status of a resource in a namespace; * is all.
type WatchStatus struct {
	Resource   string    `json:"resource"`
	Namespace  string    `json:"namespace"`
	LastAnswer time.Time `json:"last_answer,omitzero"`
	Error      string    `json:"error,omitempty"` // of the last request; "": it succeeded
}

// RayClusterStatus is a RayCluster that a rule selects and that is not queried now.
type RayClusterStatus struct {
	Name  string `json:"name"`
	State string `json:"state"` // as in raytap_kubernetes_clusters
	Why   string `json:"why"`
}

// ShownUnwatched returns the first of Unwatched.
func (k *KubernetesStatus) ShownUnwatched() []RayClusterStatus {
	return k.Unwatched[:min(len(k.Unwatched), maxShown)]
}

// ProbesStatus is the number of targets of /probe, and its maximum.
type ProbesStatus struct {
	Targets int `json:"targets"`
	Max     int `json:"max"`
}

// ShipperStatus is the status of the sink and the positions.
type ShipperStatus struct {
	Sink         string    `json:"sink"` // stdout, or the file
	Records      uint64    `json:"records"`
	Bytes        uint64    `json:"bytes"`
	StalledSince time.Time `json:"stalled_since,omitzero"`
	Positions    string    `json:"positions"` // the file; "": in memory
	Saved        time.Time `json:"positions_saved,omitzero"`
}

//go:embed status.html
var statusHTML string

var statusTemplate = template.Must(template.New("status").Funcs(template.FuncMap{
	"age": age, "count": count, "failing": failing, "oldest": oldest, "size": size, "short": short, "nodeLogs": newNodeLogsView,
}).Parse(statusHTML))

// view is the data of the template: a status, and its totals.
type view struct {
	Status
	Up, Down, Waiting int
	Tails             []tailGroup
	NodeLogs          []sourceGroup
	Oldest            time.Time // of the last reads of all tails
}

// tailGroup counts the tails of one cluster with the same transport and state.
type tailGroup struct {
	Cluster, Transport, State string
	Count                     int
	Failing                   int // those whose last read failed
}

func newView(s Status) view {
	v := view{Status: s}
	for _, c := range s.Clusters {
		v.NodeLogs = append(v.NodeLogs, sourceGroups(c)...)
		switch c.State {
		case ClusterUp:
			v.Up++
		case ClusterDown:
			v.Down++
		default:
			v.Waiting++
		}
		for _, t := range c.Tails {
			if v.Oldest.IsZero() || t.LastRead.Before(v.Oldest) {
				v.Oldest = t.LastRead
			}
			same := func(g tailGroup) bool {
				return g.Cluster == c.Name && g.Transport == t.Transport && g.State == t.State
			}
			i := slices.IndexFunc(v.Tails, same)
			if i < 0 {
				i = len(v.Tails)
				v.Tails = append(v.Tails, tailGroup{Cluster: c.Name, Transport: t.Transport, State: t.State})
			}
			v.Tails[i].Count++
			if t.Error != "" {
				v.Tails[i].Failing++
			}
		}
	}
	return v
}

// statusPage serves the status as HTML. The page has no script, loads nothing and
// cannot be framed.
func (s *Server) statusPage(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer
	if err := statusTemplate.Execute(&b, newView(s.o.Status())); err != nil {
		text(w, http.StatusInternalServerError, "render the status page: "+err.Error())
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	_, _ = w.Write(b.Bytes()) // fails if the client has left
}

// statusJSON serves the status as JSON.
func (s *Server) statusJSON(w http.ResponseWriter, _ *http.Request) {
	b, err := json.MarshalIndent(s.o.Status(), "", "  ")
	if err != nil {
		text(w, http.StatusInternalServerError, "encode the status: "+err.Error())
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(append(b, '\n'))
}

// maxShown bounds the tails that the page lists of one cluster.
const maxShown = 100

// failing returns the number of tails whose last read failed.
func failing(tails []TailStatus) (n int) {
	for _, t := range tails {
		if t.Error != "" {
			n++
		}
	}
	return n
}

// oldest returns the tails with the oldest last reads, as many as the page lists.
func oldest(tails []TailStatus) []TailStatus {
	all := slices.Clone(tails)
	slices.SortStableFunc(all, func(a, b TailStatus) int { return a.LastRead.Compare(b.LastRead) })
	return all[:min(len(all), maxShown)]
}

// age returns how long before now a time was; "never" for the zero time.
func age(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := max(0, now.Sub(t))
	switch {
	case d < time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

// count formats a number with thin spaces between thousands.
func count(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u2009" + s[i:]
	}
	return s
}

// size formats bytes with a unit.
func size(n uint64) string {
	v, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// short returns the start of a hash.
func short(s string) string { return s[:min(len(s), 12)] }
