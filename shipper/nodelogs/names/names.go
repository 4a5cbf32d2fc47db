// Package names knows how Ray names the files in a node's log directory, and the lines that
// Ray writes into them.
//
// Facts are of Ray 2.60.0 unless another version is named.
package names

import (
	"strconv"
	"strings"
)

const (
	workerPrefix     = "worker-"
	coreWorkerPrefix = "python-core-worker-"
	// idLength and jobLength are the hexadecimal digits of a worker id and of a job id.
	idLength, jobLength = 56, 8
	// noJob is the job id in the names of workers that were started before they got a job. A
	// worker keeps its file names for life.
	noJob = "ffffffff"
	// maxGeneration is the highest number of an older generation that a name can have.
	maxGeneration = 999
	maxPIDDigits  = 10
)

// The streams of a worker.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// Worker is what the name of a worker's log file states:
// worker-<worker id>-<job id>-<pid>.out, or .err, and .k for the k-th older generation.
type Worker struct {
	Name       string // of the log, without the number of a generation
	ID         string // worker id, 56 hexadecimal digits
	JobID      string // 8 hexadecimal digits; "" if the worker was started before it got a job
	PID        int
	Stream     string // Stdout or Stderr
	Generation int    // 0 is the log itself
}

// ParseWorker parses the name of a worker's log file, without its directory. ok is false
// for any other name.
func ParseWorker(name string) (w Worker, ok bool) {
	rest, ok := strings.CutPrefix(name, workerPrefix)
	if !ok || len(rest) < idLength+1+jobLength+1 || rest[idLength] != '-' || rest[idLength+1+jobLength] != '-' {
		return Worker{}, false
	}
	w.ID, w.JobID = rest[:idLength], rest[idLength+1:idLength+1+jobLength]
	pid, suffix, ok := strings.Cut(rest[idLength+1+jobLength+1:], ".")
	if !ok || !isHex(w.ID) || !isHex(w.JobID) {
		return Worker{}, false
	}
	if w.PID, ok = number(pid, maxPIDDigits); !ok {
		return Worker{}, false
	}
	if w.JobID == noJob {
		w.JobID = ""
	}
	extension, generation, numbered := strings.Cut(suffix, ".")
	switch extension {
	case "out":
		w.Stream = Stdout
	case "err":
		w.Stream = Stderr
	default:
		return Worker{}, false
	}
	w.Name = name
	if numbered {
		if w.Generation, ok = number(generation, 3); !ok || w.Generation == 0 || w.Generation > maxGeneration {
			return Worker{}, false
		}
		w.Name = name[:len(name)-1-len(generation)]
	}
	return w, true
}

// Log returns the name of the stream, which its records have as log: worker-<worker id>.out
// or .err. A file's name has the job and the process, too, but a worker has one log of each
// kind.
func (w Worker) Log() string {
	return workerPrefix + w.ID + w.Name[len(w.Name)-len(".out"):]
}

// WorkerName returns the name of a log of a worker, as of ParseWorker. jobID can be "".
func WorkerName(id, jobID string, pid int, stream string) string {
	if jobID == "" {
		jobID = noJob
	}
	extension := ".out"
	if stream == Stderr {
		extension = ".err"
	}
	return workerPrefix + id + "-" + jobID + "-" + strconv.Itoa(pid) + extension
}

// ParseCoreWorker parses the name of the file that each worker's C++ library logs to,
// python-core-worker-<worker id>_<pid>.log. It sorts before the names of ParseWorker: an
// index that is cut off may have it alone.
func ParseCoreWorker(name string) (id string, pid int, ok bool) {
	rest, ok := strings.CutPrefix(name, coreWorkerPrefix)
	if !ok || len(rest) < idLength+1 || rest[idLength] != '_' || !isHex(rest[:idLength]) {
		return "", 0, false
	}
	digits, ok := strings.CutSuffix(rest[idLength+1:], ".log")
	if !ok {
		return "", 0, false
	}
	pid, ok = number(digits, maxPIDDigits)
	return rest[:idLength], pid, ok
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// number parses a decimal number without a sign or a leading zero.
func number(s string, digits int) (int, bool) {
	if s == "" || len(s) > digits || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}
