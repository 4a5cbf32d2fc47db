package names

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// Kind is which kind of process writes a log. Its text is the source in records.
type Kind uint8

// The kinds of logs on a node.
const (
	KindWorker Kind = iota // stdout and stderr of a worker process
	KindServe              // serve/: the controller of Ray Serve, its proxies, its replicas
	KindSystem             // Ray's own processes
	KindEvent              // events/: Ray's own events, one JSON object a line
	kinds
)

var kindNames = [kinds]string{"worker", "serve", "system", "event"}

// String returns the name of the source.
func (k Kind) String() string { return kindNames[k] }

// The directories, in the log directory, of the logs that have their own.
const (
	ServeDirectory = "serve"
	EventDirectory = "events"
)

const (
	setupPrefix      = "runtime_env_setup-"
	controllerPrefix = "controller_"
	buildPrefix      = "build_"
	proxyPrefix      = "proxy_"
	replicaPrefix    = "replica_"
	eventPrefix      = "event_"
	logSuffix        = ".log"
	// nodeDigits is how much of a node's id the names of logs have that are not of workers.
	nodeDigits = 12
)

// eventSources are the processes whose events are read. Each worker has a file, too, which
// was empty in every run (2.60.0).
var eventSources = []string{"AUTOSCALER", "GCS", "JOBS", "RAYLET"}

// File is what the name of a log file states. Of a log that is not of a worker, Worker has
// Name, Generation, and what else the name has of Stream, PID and JobID.
type File struct {
	Worker
	Kind                             Kind
	Application, Deployment, Replica string // of Ray Serve
}

// Parse parses the name of a log file, relative to the log directory. ok is false for a file
// that is never read: driver logs, which have their own source, those that Ray's C++ library
// writes for each worker, and all that are no logs.
func Parse(path string) (f File, ok bool) {
	if f.Worker, ok = ParseWorker(path); ok {
		return f, true
	}
	directory, base, nested := strings.Cut(path, "/")
	if !nested {
		directory, base = "", path
	}
	f.Name, f.Generation, ok = cutGeneration(path)
	if !ok || len(base) > 255 || strings.ContainsAny(base, "/\\") || strings.HasPrefix(base, ".") {
		return File{}, false
	}
	base = base[:len(base)-(len(path)-len(f.Name))]
	switch directory {
	case "":
		f.Kind = KindSystem
		ok = f.parseSystem(base)
	case ServeDirectory:
		f.Kind = KindServe
		ok = f.parseServe(base)
	case EventDirectory:
		f.Kind = KindEvent
		ok = isEvents(base)
	default:
		ok = false
	}
	if !ok {
		return File{}, false
	}
	return f, true
}

// cutGeneration cuts the number of an older generation from a name.
func cutGeneration(name string) (log string, generation int, ok bool) {
	at := strings.LastIndexByte(name, '.')
	if at <= 0 {
		return "", 0, false
	}
	if generation, ok = number(name[at+1:], 3); !ok {
		return name, 0, true
	}
	return name[:at], generation, generation > 0
}

// parseSystem parses the name of a log of one of Ray's own processes.
func (f *File) parseSystem(base string) bool {
	for _, prefix := range []string{workerPrefix, "io_" + workerPrefix, coreWorkerPrefix, "python-core-driver-", "job-driver-"} {
		if strings.HasPrefix(base, prefix) {
			return false
		}
	}
	switch {
	case strings.HasSuffix(base, ".out"):
		f.Stream = Stdout
	case strings.HasSuffix(base, ".err"):
		f.Stream = Stderr
	case !strings.HasSuffix(base, logSuffix):
		return false
	}
	if job, ok := strings.CutPrefix(base, setupPrefix); ok {
		if job = strings.TrimSuffix(job, logSuffix); len(job) == jobLength && isHex(job) && job != noJob {
			f.JobID = job
		}
	}
	return true
}

// parseServe parses the name of a log of Ray Serve: controller_PID.log,
// controller_build_APPLICATION_PID.log, proxy_IP.log, replica_APPLICATION_DEPLOYMENT_ID.log.
// Where the names of an application and its deployment have a _, they cannot be told apart.
func (f *File) parseServe(base string) bool {
	base, ok := strings.CutSuffix(base, logSuffix)
	if !ok {
		return false
	}
	if name, ok := strings.CutPrefix(base, controllerPrefix); ok {
		application, isBuild := strings.CutPrefix(name, buildPrefix)
		if isBuild {
			if at := strings.LastIndexByte(application, '_'); at >= 0 {
				f.Application, name = application[:at], application[at+1:]
			}
		}
		f.PID, _ = number(name, maxPIDDigits)
	}
	if name, ok := strings.CutPrefix(base, replicaPrefix); ok {
		if at := strings.LastIndexByte(name, '_'); at >= 0 {
			f.Replica = name[at+1:]
			if names := strings.Split(name[:at], "_"); len(names) == 2 {
				f.Application, f.Deployment = names[0], names[1]
			}
		}
	}
	return true
}

func isEvents(base string) bool {
	source, isEvent := strings.CutPrefix(base, eventPrefix)
	source, isLog := strings.CutSuffix(source, logSuffix)
	return isEvent && isLog && slices.Contains(eventSources, source)
}

// Base returns the log's name without its directory, which patterns match.
func (f File) Base() string { return f.Name[strings.LastIndexByte(f.Name, '/')+1:] }

// Log returns the name of the stream, which its records have as log. A worker's is of the
// worker alone; others have the beginning of their directory's id, which is that of a node.
func (f File) Log(directory string) string {
	if f.Kind == KindWorker {
		return f.Worker.Log()
	}
	return NodeLog(directory, f.Name)
}

// NodeLog returns the name of what is a node's, or of a log directory.
func NodeLog(node, name string) string { return node[:min(nodeDigits, len(node))] + "/" + name }

// RayletLog returns the older generation k of the log that a node's raylet begins with a line
// that has the node's id.
func RayletLog(k int) string {
	if k == 0 {
		return rayletLog
	}
	return rayletLog + "." + strconv.Itoa(k)
}

const rayletLog = "raylet.out"

// ServeLog returns what the name of the log that an actor has in serve/ is like, given the
// actor as a marker names it; ok is false if it is neither the controller nor a proxy.
func ServeLog(actor string) (base string, ok bool) {
	switch actor {
	case "ServeController":
		return controllerPrefix + "0" + logSuffix, true
	case "ProxyActor":
		return proxyPrefix + "0" + logSuffix, true
	}
	return "", false
}

// IsOwnRequest reports whether a line of Ray's dashboard or of a node agent is of a request
// that raytap has made: their access logs end with the name of the client in quotes
// (2.60.0). A look at such a log would make the next one find something.
func (f File) IsOwnRequest(line []byte) bool {
	return f.Kind == KindSystem && strings.HasPrefix(f.Name, "dashboard") &&
		(bytes.Contains(line, []byte(`"raytap/`)) || bytes.Contains(line, []byte(`'raytap/`)))
}
