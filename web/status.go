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

// Status is how raytap fares. It holds no secret: it is shown to whoever may see
// the page. Times that are zero are not known; texts that are empty say nothing.
type Status struct {
	Version  string          `json:"version"`
	Started  time.Time       `json:"started,omitzero"`
	Now      time.Time       `json:"now"`
	NotReady string          `json:"not_ready,omitempty"` // why
	Config   ConfigStatus    `json:"config"`
	Clusters []ClusterStatus `json:"clusters"`
	Files    []FileStatus    `json:"cluster_files,omitempty"`
	Probes   ProbesStatus    `json:"probes"`
	Shipper  *ShipperStatus  `json:"shipper,omitempty"` // nil: the half is off
}

// ConfigStatus is about the configuration in use.
type ConfigStatus struct {
	Hash   string    `json:"hash"`
	Loaded time.Time `json:"loaded"`
	// Failed is when a reload last failed, and Error why; zero once one succeeded.
	Failed time.Time `json:"failed,omitzero"`
	Error  string    `json:"error,omitempty"`
}

// The states of a cluster.
const (
	ClusterUp      = "up"
	ClusterDown    = "down"
	ClusterWaiting = "waiting" // it was not tried yet
)

// ClusterStatus is one cluster.
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
}

// CollectorStatus is how one collector fared in the last scrape that asked for it.
type CollectorStatus struct {
	Name  string `json:"name"`
	Error string `json:"error,omitempty"` // "": it did well
}

// TailStatus is one job whose log is followed.
type TailStatus struct {
	SubmissionID string    `json:"submission_id"`
	Status       string    `json:"status"`
	Transport    string    `json:"transport"` // node_agent, websocket, file, sse, snapshot; none before the first
	State        string    `json:"state"`     // reading, waiting
	LastRead     time.Time `json:"last_read"`
	Error        string    `json:"error,omitempty"` // why the last read failed; "": it did not
	Lines        uint64    `json:"lines"`           // that the sink has taken, since the log's start
	Bytes        uint64    `json:"bytes"`           // of content, without line ends
}

// FileStatus is a file that lists clusters.
type FileStatus struct {
	Name     string `json:"name"`
	Clusters int    `json:"clusters"`
	Error    string `json:"error,omitempty"` // then its last good content is in use
}

// ProbesStatus is about the targets of /probe.
type ProbesStatus struct {
	Targets int `json:"targets"`
	Max     int `json:"max"`
}

// ShipperStatus is about what all tails share.
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
	"age": age, "count": count, "failing": failing, "oldest": oldest, "size": size, "short": short,
}).Parse(statusHTML))

// view is what the template shows: a status, and what is counted over it.
type view struct {
	Status
	Up, Down, Waiting int
	Tails             []tailGroup
	Oldest            time.Time // the last read of the tail where it is longest ago
}

// tailGroup counts tails of one cluster that are alike.
type tailGroup struct {
	Cluster, Transport, State string
	Count                     int
	Failing                   int // of them, tails whose last read failed
}

func newView(s Status) view {
	v := view{Status: s}
	for _, c := range s.Clusters {
		switch c.State {
		case ClusterUp:
			v.Up++
		case ClusterDown:
			v.Down++
		default:
			v.Waiting++
		}
		for _, st := range c.Tails {
			if v.Oldest.IsZero() || st.LastRead.Before(v.Oldest) {
				v.Oldest = st.LastRead
			}
			like := func(g tailGroup) bool {
				return g.Cluster == c.Name && g.Transport == st.Transport && g.State == st.State
			}
			i := slices.IndexFunc(v.Tails, like)
			if i < 0 {
				i = len(v.Tails)
				v.Tails = append(v.Tails, tailGroup{Cluster: c.Name, Transport: st.Transport, State: st.State})
			}
			v.Tails[i].Count++
			if st.Error != "" {
				v.Tails[i].Failing++
			}
		}
	}
	return v
}

// statusPage shows the status to people. The page needs no script, and may load
// nothing and be framed by nobody.
func (s *Server) statusPage(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer
	if err := statusTemplate.Execute(&b, newView(s.o.Status())); err != nil {
		text(w, http.StatusInternalServerError, "the page cannot be made: "+err.Error())
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	_, _ = w.Write(b.Bytes()) // whoever asked has left
}

// statusJSON gives the same to scripts.
func (s *Server) statusJSON(w http.ResponseWriter, _ *http.Request) {
	b, err := json.MarshalIndent(s.o.Status(), "", "  ")
	if err != nil {
		text(w, http.StatusInternalServerError, "the status cannot be made: "+err.Error())
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

// failing counts the tails whose last read failed.
func failing(tails []TailStatus) (n int) {
	for _, st := range tails {
		if st.Error != "" {
			n++
		}
	}
	return n
}

// oldest returns the tails that were read longest ago, as many as the page lists.
func oldest(tails []TailStatus) []TailStatus {
	all := slices.Clone(tails)
	slices.SortStableFunc(all, func(a, b TailStatus) int { return a.LastRead.Compare(b.LastRead) })
	return all[:min(len(all), maxShown)]
}

// age is how long before now a time was, in words; "never" for none.
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

// count writes a number with thin spaces between its thousands.
func count(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u2009" + s[i:]
	}
	return s
}

// size writes bytes with a unit.
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

// short is the start of a hash.
func short(s string) string { return s[:min(len(s), 12)] }
