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
	Clusters []Cluster `yaml:"clusters"`
	// ClusterFiles list further clusters, in files that are watched.
	ClusterFiles []ClusterFiles `yaml:"cluster_files"`
	// Modules are the ways to clusters of ClusterFiles and of /probe, by name.
	Modules map[string]Module `yaml:"modules"`
	// MaxClusters bounds those of Clusters and ClusterFiles together.
	MaxClusters int `yaml:"max_clusters"`
	// MaxAnswers bounds what big answers of all clusters, those over 1 MiB, may
	// take together while they are read. Each counts as its cluster's MaxBody.
	MaxAnswers Size   `yaml:"max_answers"`
	Probes     Probes `yaml:"probes"`

	Collector Collector `yaml:"collector"`
	Shipper   Shipper   `yaml:"shipper"`
	Sink      Sink      `yaml:"sink"`
	Web       Web       `yaml:"web"`
	Log       Log       `yaml:"log"`

	hash  string
	state string // raytap's folder for what outlives it, "" where there is none
}

// Cluster is one Ray cluster and the way to it.
type Cluster struct {
	Name string `yaml:"name,omitempty"`
	API  string `yaml:"api"`           // ray | agent
	URL  URL    `yaml:"url,omitempty"` // with an optional path prefix
	Auth Auth   `yaml:"auth"`
	TLS  TLS    `yaml:"tls"`
	// Headers go out with every request; their values are secrets.
	Headers  map[string]Secret `yaml:"headers"`
	ProxyURL URL               `yaml:"proxy_url"` // "": HTTP_PROXY and its kin
	// Timeout bounds one call, answer included. Log streams have their own.
	Timeout       Duration   `yaml:"timeout"`
	MaxConcurrent int        `yaml:"max_concurrent"`
	MaxBody       Size       `yaml:"max_body"`
	NodeAgents    NodeAgents `yaml:"node_agents"`
}

// Auth says where the token comes from: from one of the first three at most.
type Auth struct {
	Token     Secret `yaml:"token"`
	TokenFile Path   `yaml:"token_file"`
	// Environment looks where Ray's own tools do: RAY_AUTH_TOKEN, the file
	// named by RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token.
	Environment bool `yaml:"environment"`
	// What an agent may want beside its own token, each as a value or in a file.
	UserToken     Secret `yaml:"user_token"`
	UserTokenFile Path   `yaml:"user_token_file"`
	Tenant        Secret `yaml:"tenant"`
	TenantFile    Path   `yaml:"tenant_file"`
}

// TLS is how an https cluster is verified, and what is shown to it.
type TLS struct {
	CAFile             Path   `yaml:"ca_file"`
	CertFile           Path   `yaml:"cert_file"`
	KeyFile            Path   `yaml:"key_file"`
	ServerName         string `yaml:"server_name"`
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify"`
}

// NodeAgents says which node agents may be connected to.
type NodeAgents struct {
	Mode  string `yaml:"mode"` // auto | on | off
	Allow []CIDR `yaml:"allow"`
}

// Collector is the metrics half.
type Collector struct {
	Enabled bool             `yaml:"enabled"`
	Cluster CollectorCluster `yaml:"cluster"`
	Jobs    CollectorJobs    `yaml:"jobs"`
	Nodes   CollectorNodes   `yaml:"nodes"`
	Tasks   CollectorTasks   `yaml:"tasks"`
	Actors  CollectorActors  `yaml:"actors"`
	Serve   CollectorServe   `yaml:"serve"`
	// Drop are the families that are not shown: those whose whole name one of
	// the patterns matches.
	Drop []Pattern `yaml:"drop"`
}

// CollectorCluster is about the cluster's resources and what waits for them.
type CollectorCluster struct {
	Enabled bool `yaml:"enabled"`
	// DemandShapes shows what waits by shape (CPU=1,GPU=1) as well.
	DemandShapes bool `yaml:"demand_shapes"`
}

// CollectorJobs bounds what is shown of jobs.
type CollectorJobs struct {
	Enabled bool `yaml:"enabled"`
	// Retention is how long a job, and a node, stays on the page after its end.
	Retention Duration `yaml:"retention"`
	Max       int      `yaml:"max"`
	// Metadata are the keys of a job's metadata that its info metric carries.
	Metadata []string `yaml:"metadata"`
}

// CollectorNodes is about nodes.
type CollectorNodes struct {
	Enabled bool `yaml:"enabled"`
	Max     int  `yaml:"max"`
	// Labels are the keys of node labels that a node's info metric carries.
	Labels []string `yaml:"labels"`
}

// CollectorTasks bounds what tasks cost Ray and the page.
type CollectorTasks struct {
	Enabled bool `yaml:"enabled"`
	// Cache is how long an answer on tasks, actors or placement groups serves.
	Cache     Duration `yaml:"cache"`
	ByName    bool     `yaml:"by_name"`
	MaxSeries int      `yaml:"max_series"`
}

// CollectorActors is about actors and placement groups.
type CollectorActors struct {
	Enabled bool `yaml:"enabled"`
}

// CollectorServe bounds what is shown of Serve.
type CollectorServe struct {
	Enabled bool `yaml:"enabled"`
	Max     int  `yaml:"max"` // applications and deployments
}

// Shipper is the log half.
type Shipper struct {
	Enabled   bool       `yaml:"enabled"`
	Discovery Discovery  `yaml:"discovery"`
	Include   []Selector `yaml:"include"` // empty: every submission
	Exclude   []Selector `yaml:"exclude"`
	Protocol  string     `yaml:"protocol"` // auto | websocket | http
	// Timeout bounds the wait for a log stream's first answer.
	Timeout   Duration  `yaml:"timeout"`
	WebSocket WebSocket `yaml:"websocket"`
	Backoff   Backoff   `yaml:"backoff"`
	Limits    Limits    `yaml:"limits"`
	// PollInterval is the pause between two reads of a log that grows.
	PollInterval Duration `yaml:"poll_interval"`
	// EndTimeout is how long the log of an ended job may stay unreadable.
	EndTimeout Duration `yaml:"end_timeout"`
	// Linger is how long a job's children may print after its end.
	Linger Duration `yaml:"linger"`
	// Memory bounds what all tails together hold of lines not yet written.
	Memory    Size              `yaml:"memory"`
	Labels    map[string]string `yaml:"labels"`   // constant keys of every record
	Metadata  []string          `yaml:"metadata"` // keys of a job's metadata to carry
	Positions Positions         `yaml:"positions"`
}

// Discovery is how jobs are found.
type Discovery struct {
	Interval Duration `yaml:"interval"`
	Backfill string   `yaml:"backfill"` // running | all | none
}

// Selector matches a submission if each of its fields that is set does. Values
// are globs as of path.Match.
type Selector struct {
	SubmissionID string            `yaml:"submission_id"`
	JobName      string            `yaml:"job_name"`
	Metadata     map[string]string `yaml:"metadata"`
}

// WebSocket bounds the tails that are held open on the dashboard.
type WebSocket struct {
	// MaxTails 0 is 32 with positions in a file, and 8 without: tails that were
	// open when raytap died are known only from there. Of an agent it is about
	// streams of both kinds, and 64 and 16.
	MaxTails  int  `yaml:"max_tails"`
	MaxReplay Size `yaml:"max_replay"`
}

// Backoff is the pause between attempts of one stream. It never gives up.
type Backoff struct {
	Initial Duration `yaml:"initial"`
	Max     Duration `yaml:"max"`
}

// Limits are those of one stream; 0 is no limit.
type Limits struct {
	MaxMessages    int64    `yaml:"max_messages"`
	MaxLines       int64    `yaml:"max_lines"`
	MaxBytes       Size     `yaml:"max_bytes"`
	MaxMessageSize Size     `yaml:"max_message_size"`
	Oversized      string   `yaml:"oversized"` // cut | skip
	Window         Duration `yaml:"window"`
	OnExceeded     string   `yaml:"on_exceeded"` // stop | pause
}

// Positions is where the shipper remembers what it has shipped.
type Positions struct {
	File     Path     `yaml:"file"` // "": see Config.PositionsFile
	Interval Duration `yaml:"interval"`
}

// Sink is where lines go; at most one of its fields is set, and none means
// stdout.
type Sink struct {
	Stdout *Stdout `yaml:"stdout,omitempty"`
	File   *File   `yaml:"file,omitempty"`
}

// Stdout has no settings.
type Stdout struct{}

// File is a file that records are appended to.
type File struct {
	Path   Path   `yaml:"path"`
	Rotate Rotate `yaml:"rotate"`
	Fsync  Fsync  `yaml:"fsync"`
}

// Rotate says when a file gets a number and the next one begins, and how many
// numbered ones stay. A number that is 0 is no bound.
type Rotate struct {
	MaxSize  Size     `yaml:"max_size"`
	MaxAge   Duration `yaml:"max_age"`
	MaxFiles int      `yaml:"max_files"`
	Gzip     bool     `yaml:"gzip"`
}

// Web is raytap's own page.
type Web struct {
	ListenAddresses []string `yaml:"listen_addresses"`
	ConfigFile      Path     `yaml:"config_file"`
	// ScrapeTimeoutOffset is taken off the deadline that Prometheus announces,
	// to leave time for the answer's way back.
	ScrapeTimeoutOffset Duration `yaml:"scrape_timeout_offset"`
	// MaxConcurrentScrapes bounds the requests to /metrics and /probe in progress.
	MaxConcurrentScrapes int `yaml:"max_concurrent_scrapes"`
}

// Log is raytap's own log, which always goes to stderr.
type Log struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"` // text | json
}

// Default is the configuration of an empty file: complete but for its clusters.
func Default() Config {
	return Config{
		MaxClusters: 500,
		MaxAnswers:  256 << 20,
		Probes:      Probes{Max: 100, Keep: Duration(10 * time.Minute)},
		Collector: Collector{
			Enabled: true,
			Cluster: CollectorCluster{Enabled: true},
			Jobs:    CollectorJobs{Enabled: true, Retention: Duration(time.Hour), Max: 2000},
			Nodes:   CollectorNodes{Enabled: true, Max: 2000},
			Tasks:   CollectorTasks{Enabled: true, Cache: Duration(30 * time.Second), MaxSeries: 1000},
			Actors:  CollectorActors{Enabled: true},
			Serve:   CollectorServe{Enabled: true, Max: 1000},
		},
		Shipper: Shipper{
			Enabled:      true,
			Discovery:    Discovery{Interval: Duration(5 * time.Second), Backfill: "running"},
			Protocol:     "auto",
			Timeout:      Duration(30 * time.Second),
			WebSocket:    WebSocket{MaxReplay: 8 << 20},
			Backoff:      Backoff{Initial: Duration(500 * time.Millisecond), Max: Duration(30 * time.Second)},
			Limits:       Limits{MaxMessageSize: 256 << 10, Oversized: "cut", OnExceeded: "stop"},
			PollInterval: Duration(time.Second),
			EndTimeout:   Duration(10 * time.Minute),
			Linger:       Duration(5 * time.Second),
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
		return string(c.Sink.File.Path) + ".positions.json", true
	case c.state != "":
		return filepath.Join(c.state, "positions.json"), false
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
		API:           "ray",
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
