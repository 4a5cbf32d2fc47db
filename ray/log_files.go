package ray

import (
	"strconv"
	"strings"
)

// LogSource is what kind of process a log file is of.
type LogSource string

// The sources of log files.
const (
	LogDriver LogSource = "driver" // job-driver-….log of a submission
	LogWorker LogSource = "worker" // stdout and stderr of workers: tasks, actors, Serve replicas
	LogServe  LogSource = "serve"  // serve/…: controller, proxies, replicas
	LogSystem LogSource = "system" // raylet, gcs_server, monitor and other processes of Ray
	LogEvent  LogSource = "event"  // events/…: Ray's own events as JSON lines
)

// LogSources lists all sources.
var LogSources = []LogSource{LogDriver, LogWorker, LogServe, LogSystem, LogEvent}

// LogFile is a file in the log directory of a node. What is not known of it is zero.
type LogFile struct {
	NodeID string
	// AgentURL is the base URL of the agent that serves it; "" if no agent can be used,
	// for the reason AgentErr: then the head reads it from the node.
	AgentURL string
	AgentErr error
	Name     string // relative to the log directory: "old/worker-….out"
	LogName
	ActorID string // of the actor that its worker runs
	Stat    FileStat
	// HasStat is true if Stat is known.
	HasStat bool
}

// LogName is what the name of a log file states. What it does not state is zero.
type LogName struct {
	Source LogSource
	// Log is the name of the log without its generation, and without "old/", to which
	// the files of dead workers are moved.
	Log          string
	Generation   int    // 0: the newest; k: NAME.k
	SubmissionID string // of a driver log
	WorkerID     string
	PID          int
	JobID        string // "" also for a worker that was started before its job
}

// ParseLogName returns what a name, relative to the log directory, states
// (worker-WORKER-JOB-PID.out, python-core-worker-WORKER_PID.log; the same from Ray
// 2.9.3 to 2.60.0).
func ParseLogName(name string) LogName {
	n := LogName{Source: LogSystem, Log: strings.TrimPrefix(name, "old/")}
	if at := strings.LastIndexByte(n.Log, '.'); at > 0 && strings.Contains(n.Log[:at], ".") {
		if k, err := strconv.Atoi(n.Log[at+1:]); err == nil && k > 0 {
			n.Log, n.Generation = n.Log[:at], k
		}
	}
	base, extension := n.Log, ""
	if at := strings.LastIndexByte(base, '.'); at >= 0 {
		base, extension = base[:at], base[at:]
	}
	switch {
	case strings.HasPrefix(n.Log, "serve/"):
		n.Source = LogServe
	case strings.HasPrefix(n.Log, "events/"):
		n.Source = LogEvent
	case strings.HasPrefix(n.Log, "job-driver-") && extension == ".log":
		n.Source, n.SubmissionID = LogDriver, strings.TrimPrefix(base, "job-driver-")
	case strings.HasPrefix(base, "worker-") && (extension == ".out" || extension == ".err"):
		if p := strings.Split(base, "-"); len(p) == 4 {
			pid, err := strconv.Atoi(p[3])
			if err == nil && isHex(p[1]) && isHex(p[2]) {
				n.Source, n.WorkerID, n.PID = LogWorker, p[1], pid
				if strings.Trim(p[2], "f") != "" {
					n.JobID = p[2]
				}
			}
		}
	case strings.HasPrefix(base, "python-core-worker-"):
		id, pid, _ := strings.Cut(strings.TrimPrefix(base, "python-core-worker-"), "_")
		if n.PID, _ = strconv.Atoi(pid); isHex(id) {
			n.WorkerID = id
		}
	}
	return n
}

func isHex(s string) bool { return s != "" && strings.Trim(s, "0123456789abcdef") == "" }

// LogSelector selects log files. A file matches if it matches each list that is not
// empty, by one of its elements. The zero value selects all files.
type LogSelector struct {
	Nodes        []string // node ids or prefixes of them, or addresses
	Workers      []string // worker ids or prefixes of them
	Actors       []string // actor ids; prefixes of those that are alive
	Jobs         []string // submission ids or job ids
	Applications []string // names of Serve applications
	Sources      []LogSource
	// Match is called with each name, relative to the log directory; nil matches all.
	Match func(name string) bool
}

// LogList is the result of a selection.
type LogList struct {
	Files []LogFile // by node, in the order of the node list, and by log and generation
	// Missing are the directories that could not be listed completely. The list may lack
	// files of them.
	Missing []MissingLog
	// UnknownWorkers is the number of workers that a selection by job lacks although they
	// have lines: their job is not known, because their first lines were deleted.
	UnknownWorkers int
}

// MissingLog is a directory, or a file, that could not be read.
type MissingLog struct {
	NodeID string
	Name   string // relative to the log directory; "" for the directory itself
	Err    error
}
