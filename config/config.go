// Package config is raytap's configuration: the YAML file with its defaults,
// strict decoding, validation that reports all problems at once, and secrets
// that do not print.
//
// A configuration is a plain value. Loading one opens and reads no other file (a
// token_file is read by the client that uses it), and two can be compared.
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
	// Files that list further clusters, read every 5s.
	ClusterFiles []ClusterFiles `yaml:"cluster_files"`
	// RayClusters of KubeRay that are watched while they exist. Absent: none are
	// looked for.
	Kubernetes *Kubernetes `yaml:"kubernetes,omitempty"`
	// Settings for the clusters of cluster_files, kubernetes and /probe, by name.
	Modules map[string]Module `yaml:"modules"`
	// Maximum number of clusters, of clusters, cluster_files and kubernetes together.
	MaxClusters int `yaml:"max_clusters"`
	// What stays on /metrics of clusters that are gone.
	EndedClusters EndedClusters `yaml:"ended_clusters"`
	// Divides the clusters among several raytaps with the same configuration.
	Sharding Sharding `yaml:"sharding"`
	// Maximum memory for API responses over 1MiB, of all clusters together, while
	// they are read. Each counts as the max_body of its cluster; others wait. The
	// cached lists are not included: they need about as much as their text.
	ResponseMemory Size `yaml:"response_memory"`
	// Limits of /probe.
	Probes Probes `yaml:"probes"`

	// Metrics of clusters.
	Collector Collector `yaml:"collector"`
	// Logs of jobs.
	Shipper Shipper `yaml:"shipper"`
	// Where records are written.
	Sink Sink `yaml:"sink"`
	// raytap's HTTP server.
	Web Web `yaml:"web"`
	// raytap's own log.
	Log Log `yaml:"log"`

	hash     string
	note     string // how FromEnvironment found its cluster
	stateDir string // raytap's directory for state; "" if the environment names none
}

// EndedClusters is what stays on /metrics of clusters that are gone.
type EndedClusters struct {
	// How long the ends of its jobs, and the counters of its logs, stay after a cluster
	// was deleted or removed, so that they are scraped and alerts see them. 0: not at all.
	Keep Duration `yaml:"keep"`
}

// The APIs of a cluster: the values of the key api.
const (
	APIRay     = "ray"     // Ray's dashboard
	APISynapse = "synapse" // a Synapse agent in front of a cluster
)

// Cluster is one Ray cluster and how to connect to it.
type Cluster struct {
	// The label and record key ray_cluster. Optional if the list has one cluster.
	Name string `yaml:"name,omitempty"`
	// The API at url: ray (the dashboard of Ray) or synapse (a Synapse agent).
	API string `yaml:"api" enum:"ray,synapse"`
	// Address of the dashboard or of the Synapse agent, with its path prefix if it
	// has one. Required.
	URL URL `yaml:"url,omitempty"`
	// Credentials. Without any, no token is sent.
	Auth Auth `yaml:"auth"`
	// TLS settings for an https url.
	TLS TLS `yaml:"tls"`
	// Headers of every request. Values are secrets.
	Headers map[string]Secret `yaml:"headers"`
	// Proxy for all requests. Empty: HTTP_PROXY, HTTPS_PROXY and NO_PROXY decide.
	ProxyURL URL `yaml:"proxy_url"`
	// Timeout of one API call, including its response. Log streams have
	// shipper.timeout instead. A slow job list gets up to 2m.
	Timeout Duration `yaml:"timeout"`
	// Maximum number of concurrent API calls, not counting log streams.
	MaxConcurrent int `yaml:"max_concurrent"`
	// Maximum size of a response. The job list may have 1GiB: it is decoded row by
	// row.
	MaxBody Size `yaml:"max_body"`
	// Which of Ray's node agents logs are read from. Only with api: ray.
	NodeAgents NodeAgents `yaml:"node_agents"`
	// The shard that watches the cluster, by hand; not for RayClusters of kubernetes.
	// auto: sharding.generations decide.
	Shard Shard `yaml:"shard"`
}

// Auth is where the token comes from: at most one of Token, TokenFile and
// Environment.
type Auth struct {
	// The token. Use ${VAR} to keep it out of the file. At most one of token,
	// token_file and environment.
	Token Secret `yaml:"token"`
	// File with the token, read again when it changes.
	TokenFile Path `yaml:"token_file"`
	// Take the token from where Ray's own tools do: RAY_AUTH_TOKEN, the file named
	// by RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token. Only with api: ray.
	Environment bool `yaml:"environment"`
	// User that a Synapse agent acts for.
	UserToken Secret `yaml:"user_token"`
	// The same, from a file.
	UserTokenFile Path `yaml:"user_token_file"`
	// Tenant that a Synapse agent acts for.
	Tenant Secret `yaml:"tenant"`
	// The same, from a file.
	TenantFile Path `yaml:"tenant_file"`
}

// TLS is how an https cluster is verified, and the client certificate.
type TLS struct {
	// CA certificates to trust instead of the system's.
	CAFile Path `yaml:"ca_file"`
	// Client certificate.
	CertFile Path `yaml:"cert_file"`
	// Key of cert_file.
	KeyFile Path `yaml:"key_file"`
	// Name that the server's certificate must have, if not the URL's host.
	ServerName string `yaml:"server_name"`
	// Do not verify the server's certificate. For tests.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`
}

// NodeAgents limits which of Ray's node agents raytap connects to.
type NodeAgents struct {
	// auto, on (any live node) or off. auto: without a token the addresses of live
	// nodes, with a token those in allow, because node agents use plain http.
	Mode string `yaml:"mode" enum:"auto,on,off"`
	// Networks whose node agents may get the token.
	Allow []CIDR `yaml:"allow"`
}

// Shipper configures the log shipper.
type Shipper struct {
	// Whether logs are shipped. Enabling it needs a restart.
	Enabled bool `yaml:"enabled"`
	// Which logs are shipped. driver: the driver logs of submissions. worker: what
	// every worker process prints, of jobs, actors, tasks and replicas of Serve. serve:
	// the controller and the proxies of Serve. system: Ray's own processes. event:
	// Ray's events, such as OOM kills. All but driver are read from node agents only.
	Sources []string `yaml:"sources"`
	// Logs of Serve, with serve in sources.
	Serve LogFiles `yaml:"serve"`
	// Logs of Ray's own processes, with system in sources.
	System LogFiles `yaml:"system"`
	// Ray's events, with event in sources.
	Event LogFiles `yaml:"event"`
	// How jobs are found.
	Discovery Discovery `yaml:"discovery"`
	// Ship only submissions that match one of these, and what their workers print.
	// Empty: all.
	Include []Selector `yaml:"include"`
	// Do not ship submissions that match one of these.
	Exclude []Selector `yaml:"exclude"`
	// auto: node agent, else WebSocket, else file reads. websocket: WebSocket only,
	// and one read of the whole log at a job's end. http: node agent, else file
	// reads; with api: synapse SSE. Ray before 2.40 has no file reads, and some
	// versions cannot use WebSockets: docs/old-rays.md.
	Protocol string `yaml:"protocol" enum:"auto,websocket,http"`
	// Timeout for opening a log stream, and for a read without progress.
	Timeout Duration `yaml:"timeout"`
	// Limits of open log streams.
	WebSocket WebSocket `yaml:"websocket"`
	// Pause after a failure. raytap never gives up.
	Backoff Backoff `yaml:"backoff"`
	// Limits of one job's log, counted over new lines.
	Limits Limits `yaml:"limits"`
	// Pause between two reads of a growing log.
	PollInterval Duration `yaml:"poll_interval"`
	// How long the log of an ended job may be unreadable before it counts as lost.
	LostAfter Duration `yaml:"lost_after"`
	// How long the processes of a job may still print after its end.
	GracePeriod Duration `yaml:"grace_period"`
	// Maximum memory for lines that are not yet written, of all jobs together. When
	// it is full, raytap stops reading.
	Memory Size `yaml:"memory"`
	// How records are made of lines.
	Record Record `yaml:"record"`
	// Keys added to each record, with their values.
	Labels map[string]string `yaml:"labels"`
	// Keys of a job's metadata that are added to its records.
	Metadata []string `yaml:"metadata"`
	// Where read positions are saved.
	Positions Positions `yaml:"positions"`
}

// Discovery is how jobs are found.
type Discovery struct {
	// Time between two looks at the job list.
	Interval Duration `yaml:"interval"`
	// Which jobs to ship of those that a cluster lists when raytap first sees it:
	// running, all (finished ones too) or none.
	Backfill string `yaml:"backfill" enum:"running,all,none"`
}

// Selector matches a submission if all of its fields that are set match. Values
// are patterns of package namepattern.
type Selector struct {
	// Pattern for the whole name: * matches any text, / included, ? one character,
	// [a-z] one of a set. All keys of an entry must match.
	SubmissionID string `yaml:"submission_id"`
	// Pattern for the job's name.
	JobName string `yaml:"job_name"`
	// Pattern for each metadata key listed here.
	Metadata map[string]string `yaml:"metadata"`
}

// WebSocket limits the log streams that are open on the dashboard.
type WebSocket struct {
	// Maximum number of open WebSockets per Ray session, of the 100 that Ray has. 0:
	// 32 with a positions file, 8 without; with api: synapse, where SSE streams
	// count too, 64 and 16.
	MaxTails int `yaml:"max_tails"`
	// A WebSocket replays a log from its start. A longer log is not opened again.
	MaxReplay Size `yaml:"max_replay"`
}

// Backoff is the pause between attempts to read one log.
type Backoff struct {
	// First pause. It doubles after each failure, and starts over after new bytes.
	Initial Duration `yaml:"initial"`
	// Longest pause.
	Max Duration `yaml:"max"`
}

// Limits are those of one job's log; 0 is no limit.
type Limits struct {
	// Maximum number of WebSocket frames, or of messages with api: synapse. 0: no
	// limit.
	MaxMessages int64 `yaml:"max_messages"`
	// Maximum number of lines. 0: no limit.
	MaxLines int64 `yaml:"max_lines"`
	// Maximum number of bytes. 0: no limit.
	MaxBytes Size `yaml:"max_bytes"`
	// Longest line, at most a quarter of shipper.memory. oversized says what happens
	// to a longer one.
	MaxMessageSize Size `yaml:"max_message_size"`
	// What to do with a longer line: truncate (its record says so) or drop (and
	// count).
	Oversized string `yaml:"oversized" enum:"truncate,drop"`
	// The counters start over after each interval. 0s: never.
	Interval Duration `yaml:"interval"`
	// What to do at a limit. stop: end the job's log with a record. pause: continue
	// in the next interval.
	OnExceeded string `yaml:"on_exceeded" enum:"stop,pause"`
}

// Positions is where the shipper saves what it has shipped.
type Positions struct {
	// Empty: next to the sink's file, as PATH.positions.db, else
	// $XDG_STATE_HOME/raytap or ~/.local/state/raytap. One raytap per file.
	// raytap positions show prints it.
	File Path `yaml:"file"`
	// Time between two saves.
	Interval Duration `yaml:"interval"`
}

// Sink is where records are written. At most one field is set; none means stdout.
type Sink struct {
	// Standard output. The default.
	Stdout *Stdout `yaml:"stdout,omitempty"`
	// A file that contains each line exactly once. One raytap per file.
	File *File `yaml:"file,omitempty"`
}

// Stdout has no settings.
type Stdout struct{}

// File is a file that records are appended to.
type File struct {
	// Path of the file. A symbolic link is resolved once, at the start. Required.
	Path Path `yaml:"path"`
	// When the file is renamed to PATH.000001 and so on.
	Rotate Rotate `yaml:"rotate"`
	// When records are synced to disk: always (with each write), never (the kernel
	// decides), or at most this long after a write. Until then a power failure can
	// lose them.
	Fsync Fsync `yaml:"fsync"`
}

// Rotate is when a file is rotated, and how many rotated files are kept. 0 is no
// limit.
type Rotate struct {
	// Maximum size of the file. 0: no limit.
	MaxSize Size `yaml:"max_size"`
	// Maximum age of the file; an empty file has no age. 0s: no limit.
	MaxAge Duration `yaml:"max_age"`
	// Number of rotated files to keep. 0: all.
	MaxFiles int `yaml:"max_files"`
	// Compress all rotated files but the newest two.
	Gzip bool `yaml:"gzip"`
}

// Web configures raytap's HTTP server.
type Web struct {
	// Addresses to listen on. --web.listen-address takes precedence.
	ListenAddresses []string `yaml:"listen_addresses"`
	// TLS and basic authentication, in the format of Prometheus' exporter toolkit.
	// --web.config.file takes precedence.
	ConfigFile Path `yaml:"config_file"`
	// Subtracted from the scrape timeout that Prometheus announces, for the time on
	// the network.
	ScrapeTimeoutOffset Duration `yaml:"scrape_timeout_offset"`
	// Maximum number of concurrent requests to /metrics and /probe. Others get 503.
	MaxConcurrentScrapes int `yaml:"max_concurrent_scrapes"`
}

// Log is raytap's own log, which always goes to stderr.
type Log struct {
	// debug, info, warning or error. --log.level takes precedence.
	Level string `yaml:"level"`
	// text or json. --log.format takes precedence.
	Format string `yaml:"format" enum:"text,json"`
}

// Default returns the configuration of an empty file: complete except for its
// clusters.
func Default() Config {
	return Config{
		MaxClusters:    500,
		EndedClusters:  EndedClusters{Keep: Duration(5 * time.Minute)},
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
			Sources:      []string{SourceDriver},
			Serve:        defaultServe(),
			System:       defaultSystem(),
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

// setDefaults sets the defaults of sink.file. The path has none.
func (f *File) setDefaults() {
	*f = File{
		Rotate: Rotate{MaxSize: 100 << 20, MaxAge: Duration(24 * time.Hour), MaxFiles: 10},
		Fsync:  Fsync(time.Second),
	}
}

// PositionsFile returns the file of the shipper's positions: the configured one,
// else one next to the sink's file, else one in raytap's state directory.
// configured is false only for the last. "" means that there is no place for it.
func (c Config) PositionsFile() (file string, configured bool) {
	switch {
	case c.Shipper.Positions.File != "":
		return string(c.Shipper.Positions.File), true
	case c.Sink.File != nil:
		return string(c.Sink.File.Path) + ".positions.db", true
	case c.stateDir != "":
		return filepath.Join(c.stateDir, "positions.db"), false
	}
	return "", false
}

// stateDir returns raytap's directory below the user's state directory, "" if
// the environment names none.
func stateDir(env Env) string {
	// The XDG specification says to ignore a relative path.
	if dir, _ := env("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "raytap")
	}
	if home, _ := env("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "raytap")
	}
	return ""
}

// setDefaults sets the defaults of an entry of clusters.
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

// Names returns the names of the clusters.
func (c Config) Names() []string {
	names := make([]string, len(c.Clusters))
	for i, cluster := range c.Clusters {
		names[i] = cluster.Name
	}
	return names
}
