// Package config holds raytap's configuration: the YAML file with its
// defaults, strict decoding, validation of everything at once, and secrets
// that do not print.
//
// A configuration is a plain value. Nothing in it is opened, dialled or read
// (a token_file is read by the client that uses it), so that loading one has
// no effect and two can be compared.
package config

import (
	"path/filepath"
	"time"
)

// Config is a whole configuration. The zero value is not useful: start from
// Default.
type Config struct {
	// The clusters to watch.
	Clusters []Cluster `yaml:"clusters"`
	// Files that list further clusters. They are looked at every 5s.
	ClusterFiles []ClusterFiles `yaml:"cluster_files"`
	// The ways to clusters of cluster_files and of /probe, by name.
	Modules map[string]Module `yaml:"modules"`
	// The most clusters, of clusters and cluster_files together.
	MaxClusters int `yaml:"max_clusters"`
	// What answers over 1MiB of all clusters may take together while they are
	// read. Each counts as the max_body of its cluster. What is kept of a list until
	// the next one comes is apart: about as much as its text.
	ResponseMemory Size `yaml:"response_memory"`
	// Bounds of /probe.
	Probes Probes `yaml:"probes"`

	// The metrics half.
	Collector Collector `yaml:"collector"`
	// The log half.
	Shipper Shipper `yaml:"shipper"`
	// Where lines go.
	Sink Sink `yaml:"sink"`
	// raytap's own page.
	Web Web `yaml:"web"`
	// raytap's own log.
	Log Log `yaml:"log"`

	hash  string
	note  string // of how its cluster was found
	state string // raytap's folder for what outlives it, "" where there is none
}

// The APIs of a cluster: the values of the key api.
const (
	APIRay     = "ray"     // Ray's dashboard
	APISynapse = "synapse" // a Synapse agent in front of a cluster
)

// Cluster is one Ray cluster and the way to it.
type Cluster struct {
	// The label and key ray_cluster. It may be left out of a list with one cluster.
	Name string `yaml:"name,omitempty"`
	// ray, that of Ray's dashboard, or synapse, that of a Synapse agent.
	API string `yaml:"api"`
	// The address of the dashboard or agent, with a path prefix where there is one.
	// Required.
	URL URL `yaml:"url,omitempty"`
	// Where the token comes from; without any none is sent.
	Auth Auth `yaml:"auth"`
	// For https alone.
	TLS TLS `yaml:"tls"`
	// Sent with every request. Their values are secrets.
	Headers map[string]Secret `yaml:"headers"`
	// Empty: HTTP_PROXY, HTTPS_PROXY and NO_PROXY decide.
	ProxyURL URL `yaml:"proxy_url"`
	// Of one call, from its start to the end of its answer. Log streams have their
	// own, shipper.timeout; Ray's job list gets more where it takes longer, up to 2m.
	Timeout Duration `yaml:"timeout"`
	// Calls in progress at a time, log streams apart.
	MaxConcurrent int `yaml:"max_concurrent"`
	// The longest answer that is read. The list of jobs may have 1GiB: it is read
	// row by row.
	MaxBody Size `yaml:"max_body"`
	// Which node agents logs may be read from. For api: ray.
	NodeAgents NodeAgents `yaml:"node_agents"`
}

// Auth says where the token comes from: from one of the first three at most.
type Auth struct {
	// The token itself; ${VAR} keeps it out of the file. One of token, token_file
	// and environment at most.
	Token Secret `yaml:"token"`
	// A file with the token, read again when it changes.
	TokenFile Path `yaml:"token_file"`
	// Look where Ray's own tools do: RAY_AUTH_TOKEN, the file named by
	// RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token. Not for agents.
	Environment bool `yaml:"environment"`
	// The user for whom an agent is asked.
	UserToken Secret `yaml:"user_token"`
	// The same, from a file.
	UserTokenFile Path `yaml:"user_token_file"`
	// The tenant for whom an agent is asked.
	Tenant Secret `yaml:"tenant"`
	// The same, from a file.
	TenantFile Path `yaml:"tenant_file"`
}

// TLS is how an https cluster is verified, and what is shown to it.
type TLS struct {
	// Certificates to trust instead of the system's.
	CAFile Path `yaml:"ca_file"`
	// A certificate to show, where the other side asks for one.
	CertFile Path `yaml:"cert_file"`
	// The key of cert_file.
	KeyFile Path `yaml:"key_file"`
	// The name that the certificate must carry, if not the URL's host.
	ServerName string `yaml:"server_name"`
	// Trust anybody. For tests.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`
}

// NodeAgents says which node agents may be connected to.
type NodeAgents struct {
	// auto, on (any live node) or off. auto: without a token the addresses of live
	// nodes, with one those in allow, since agents speak plain http.
	Mode string `yaml:"mode"`
	// The networks in which node agents may get the token.
	Allow []CIDR `yaml:"allow"`
}

// Shipper is the log half.
type Shipper struct {
	// Whether lines are shipped. Switching it on takes a restart.
	Enabled bool `yaml:"enabled"`
	// How jobs are found.
	Discovery Discovery `yaml:"discovery"`
	// Ship the submissions that one of these matches. Empty: all.
	Include []Selector `yaml:"include"`
	// Leave out those that one of these matches.
	Exclude []Selector `yaml:"exclude"`
	// auto: node agent, else WebSocket, else file reads. websocket: that alone, and
	// a read of the log at a job's end. http: node agent, else file reads; of an
	// agent SSE. Rays before 2.40 give no files, and some have no use for
	// WebSockets: docs/old-rays.md.
	Protocol string `yaml:"protocol"`
	// How long opening a log stream may take, and one read without progress.
	Timeout Duration `yaml:"timeout"`
	// Bounds of the tails that are held open.
	WebSocket WebSocket `yaml:"websocket"`
	// The pause after a failure. It never gives up.
	Backoff Backoff `yaml:"backoff"`
	// Bounds of one job's stream, over what is new.
	Limits Limits `yaml:"limits"`
	// The pause between two reads of a log that grows.
	PollInterval Duration `yaml:"poll_interval"`
	// How long the log of an ended job may be unreadable before it counts as lost.
	LostAfter Duration `yaml:"lost_after"`
	// How long the children of a job may still print after its end.
	GracePeriod Duration `yaml:"grace_period"`
	// What all jobs together may hold of lines not yet written. When it is full
	// raytap stops reading.
	Memory Size `yaml:"memory"`
	// How records are made of lines.
	Record Record `yaml:"record"`
	// Keys added to each record, with their values.
	Labels map[string]string `yaml:"labels"`
	// Keys of a job's metadata that its records carry.
	Metadata []string `yaml:"metadata"`
	// Where raytap remembers what was shipped.
	Positions Positions `yaml:"positions"`
}

// Discovery is how jobs are found.
type Discovery struct {
	// How often the job list is looked at.
	Interval Duration `yaml:"interval"`
	// What to ship of the jobs that a cluster lists when raytap first sees it:
	// running, all (finished ones too) or none.
	Backfill string `yaml:"backfill"`
}

// Selector matches a submission if each of its fields that is set does. Values
// are patterns as of package namepattern.
type Selector struct {
	// A pattern of the whole name: * is any text, also with a / in it, ? one
	// character, [a-z] one of a set. All keys of an entry must match.
	SubmissionID string `yaml:"submission_id"`
	// A pattern.
	JobName string `yaml:"job_name"`
	// A pattern for each key named.
	Metadata map[string]string `yaml:"metadata"`
}

// WebSocket bounds the tails that are held open on the dashboard.
type WebSocket struct {
	// WebSockets held open per Ray session, of the 100 that Ray has. 0: 32 with
	// positions in a file, 8 without; of an agent streams of both kinds, 64 and 16.
	MaxTails int `yaml:"max_tails"`
	// A WebSocket replays a log from its start; past this it is not dialled anew.
	MaxReplay Size `yaml:"max_replay"`
}

// Backoff is the pause between attempts of one stream. It never gives up.
type Backoff struct {
	// The first pause. It doubles, and starts over once new bytes came.
	Initial Duration `yaml:"initial"`
	// The longest pause.
	Max Duration `yaml:"max"`
}

// Limits are those of one stream; 0 is no limit.
type Limits struct {
	// WebSocket frames, and messages of an agent. 0: no limit.
	MaxMessages int64 `yaml:"max_messages"`
	// Lines. 0: no limit.
	MaxLines int64 `yaml:"max_lines"`
	// Bytes. 0: no limit.
	MaxBytes Size `yaml:"max_bytes"`
	// The longest line; a longer one is oversized. At most a quarter of memory.
	MaxMessageSize Size `yaml:"max_message_size"`
	// truncate (the record says so) or drop (and count).
	Oversized string `yaml:"oversized"`
	// The counters start over after each; 0s: never.
	Interval Duration `yaml:"interval"`
	// stop: give the job up, with a record. pause: read on in the next interval.
	OnExceeded string `yaml:"on_exceeded"`
}

// Positions is where the shipper remembers what it has shipped.
type Positions struct {
	// Empty: beside the sink's file, as PATH.positions.db, else
	// $XDG_STATE_HOME/raytap or ~/.local/state/raytap. One raytap per file.
	// raytap positions show prints it.
	File Path `yaml:"file"`
	// Between two saves while lines come.
	Interval Duration `yaml:"interval"`
}

// Sink is where lines go; at most one of its fields is set, and none means
// stdout.
type Sink struct {
	// Standard output, where file is not set.
	Stdout *Stdout `yaml:"stdout,omitempty"`
	// A file, with each line in it exactly once. One raytap per file.
	File *File `yaml:"file,omitempty"`
}

// Stdout has no settings.
type Stdout struct{}

// File is a file that records are appended to.
type File struct {
	// The file. Required. A symbolic link is resolved once, at the start.
	Path Path `yaml:"path"`
	// When the file becomes PATH.000001 and so on.
	Rotate Rotate `yaml:"rotate"`
	// When a power cut can no longer take a line back: always (with each write), so
	// long after it, or never (when the kernel likes).
	Fsync Fsync `yaml:"fsync"`
}

// Rotate says when a file gets a number and the next one begins, and how many
// numbered ones stay. A number that is 0 is no bound.
type Rotate struct {
	// The largest file. 0: no bound.
	MaxSize Size `yaml:"max_size"`
	// The oldest; an empty file has no age. 0s: no bound.
	MaxAge Duration `yaml:"max_age"`
	// How many numbered ones stay. 0: all.
	MaxFiles int `yaml:"max_files"`
	// Compress all but the newest two.
	Gzip bool `yaml:"gzip"`
}

// Web is raytap's own page.
type Web struct {
	// Where the page listens. --web.listen-address takes precedence.
	ListenAddresses []string `yaml:"listen_addresses"`
	// TLS and passwords, as of Prometheus' exporter toolkit. --web.config.file takes
	// precedence.
	ConfigFile Path `yaml:"config_file"`
	// Taken off the scrape timeout that Prometheus announces, for the way back.
	ScrapeTimeoutOffset Duration `yaml:"scrape_timeout_offset"`
	// Requests to /metrics and /probe in progress; another is answered 503.
	MaxConcurrentScrapes int `yaml:"max_concurrent_scrapes"`
}

// Log is raytap's own log, which always goes to stderr.
type Log struct {
	// debug, info, warning or error. --log.level takes precedence.
	Level string `yaml:"level"`
	// text or json. --log.format takes precedence.
	Format string `yaml:"format"`
}

// Default is the configuration of an empty file: complete but for its clusters.
func Default() Config {
	return Config{
		MaxClusters:    500,
		ResponseMemory: 256 << 20,
		Probes:         Probes{Max: 100, Keep: Duration(10 * time.Minute)},
		Collector: Collector{
			Enabled:  true,
			CacheTTL: Duration(14 * time.Second),
			Cluster:  CollectorCluster{Enabled: true},
			Jobs:     CollectorJobs{Enabled: true, Retention: Duration(time.Hour), Max: 2000},
			Nodes:    CollectorNodes{Enabled: true, Max: 2000},
			Tasks:    CollectorTasks{Enabled: true, CacheTTL: Duration(29 * time.Second), MaxSeries: 1000},
			Actors:   CollectorActors{Enabled: true},
			Serve:    CollectorServe{Enabled: true, Max: 1000},
		},
		Shipper: Shipper{
			Enabled:      true,
			Discovery:    Discovery{Interval: Duration(5 * time.Second), Backfill: "running"},
			Protocol:     "auto",
			Timeout:      Duration(30 * time.Second),
			WebSocket:    WebSocket{MaxReplay: 8 << 20},
			Backoff:      Backoff{Initial: Duration(500 * time.Millisecond), Max: Duration(30 * time.Second)},
			Limits:       Limits{MaxMessageSize: 256 << 10, Oversized: "truncate", OnExceeded: "stop"},
			Record:       defaultRecord(),
			PollInterval: Duration(time.Second),
			LostAfter:    Duration(10 * time.Minute),
			GracePeriod:  Duration(5 * time.Second),
			Memory:       64 << 20,
			Positions:    Positions{Interval: Duration(time.Second)},
		},
		Web: Web{ListenAddresses: []string{":9265"}, ScrapeTimeoutOffset: Duration(500 * time.Millisecond), MaxConcurrentScrapes: 32},
		Log: Log{Level: "info", Format: "text"},
	}
}

// setDefaults makes f what an empty sink.file means. It still needs a path.
func (f *File) setDefaults() {
	*f = File{
		Rotate: Rotate{MaxSize: 100 << 20, MaxAge: Duration(24 * time.Hour), MaxFiles: 10},
		Fsync:  Fsync(time.Second),
	}
}

// PositionsFile is where the shipper's positions lie: in the file that is
// configured, else beside the sink's file, else in raytap's own folder below
// $XDG_STATE_HOME or ~/.local/state. chosen tells that it is not the last of
// these, which nobody asked for. "": there is no place for it.
func (c Config) PositionsFile() (file string, chosen bool) {
	switch {
	case c.Shipper.Positions.File != "":
		return string(c.Shipper.Positions.File), true
	case c.Sink.File != nil:
		return string(c.Sink.File.Path) + ".positions.db", true
	case c.state != "":
		return filepath.Join(c.state, "positions.db"), false
	}
	return "", false
}

// stateFolder gives raytap's folder below the user's one for state, "" where
// the environment names none.
func stateFolder(env Env) string {
	// A relative one is to be ignored, as its specification says.
	if dir, _ := env("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "raytap")
	}
	if home, _ := env("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "raytap")
	}
	return ""
}

// setDefaults makes c what an empty entry of clusters means.
func (c *Cluster) setDefaults() {
	*c = Cluster{
		Name:          "default",
		API:           APIRay,
		Timeout:       Duration(10 * time.Second),
		MaxConcurrent: 8,
		MaxBody:       64 << 20,
		NodeAgents:    NodeAgents{Mode: "auto"},
	}
}

// Names gives the names of the clusters.
func (c Config) Names() []string {
	names := make([]string, len(c.Clusters))
	for i, cluster := range c.Clusters {
		names[i] = cluster.Name
	}
	return names
}
