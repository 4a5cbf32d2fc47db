package parse

import "bytes"

// ContextKey is a key of Context.
type ContextKey uint8

// The keys of Context, in the order in which records have them.
const (
	JobID ContextKey = iota
	NodeID
	WorkerID
	ActorID
	ActorName
	TaskID
	TaskName
	TaskFuncName
	Application
	Deployment
	Replica
	Route
	RequestID
	contextKeys
)

// contextNames are the names of the keys in the line, and in records.
var contextNames = [contextKeys]string{
	"job_id", "node_id", "worker_id", "actor_id", "actor_name", "task_id", "task_name", "task_func_name",
	"application", "deployment", "replica", "route", "request_id",
}

// workerKey is in each line that Parse accepts. Without the quote before it, it is faster to
// search for.
var workerKey = []byte(`worker_id"`)

// String returns the name of the key.
func (k ContextKey) String() string { return contextNames[k] }

// Context is what a line of Ray's JSON logging says of what printed it:
//
//	{"asctime": "…", "levelname": "INFO", "message": "…", …, "job_id": "02000000", "worker_id": "…", …}
//
// LoggingConfig(encoding="JSON") writes it, and Ray Serve with the same encoding (Ray 2.60.0,
// CoreContextFilter in ray/_common/filters.py and ServeContextFilter in
// ray/serve/_private/logging_utils.py).
type Context struct {
	// Values are parts of the line, as JSON has them between quotes; empty where the line has
	// no text, or an empty one. Application and Deployment of a replica are of its actor's name.
	Values [contextKeys][]byte
	PID    int // the line's "process"; 0 if it has none
}

// Parse sets c to what a line says, and returns false if Ray did not write it: such a line is
// a JSON object that has worker_id and node_id, both 56 hexadecimal digits. An object that
// ends early is read as far as it goes.
func (c *Context) Parse(line []byte) bool {
	if len(line) == 0 || line[0] != '{' || !bytes.Contains(line, workerKey) {
		return false
	}
	*c = Context{}
	s := line[1:]
	for {
		s = trimSpace(s)
		if len(s) == 0 || s[0] != '"' {
			break
		}
		n := textEnd(s)
		if n == 0 {
			break
		}
		key := s[1 : n-1]
		if s = trimSpace(s[n:]); len(s) == 0 || s[0] != ':' {
			break
		}
		s = trimSpace(s[1:])
		if n = valueEnd(s); n == 0 {
			break
		}
		c.set(key, s[:n])
		if s = trimSpace(s[n:]); len(s) == 0 || s[0] != ',' {
			break
		}
		s = s[1:]
	}
	if !isRayID(c.Values[WorkerID]) || !isRayID(c.Values[NodeID]) {
		return false
	}
	c.nameReplica()
	return true
}

// nameReplica sets the application and the deployment of a replica to what its actor's name
// says, "SERVE_REPLICA::APPLICATION#DEPLOYMENT#REPLICA": the line has APPLICATION_DEPLOYMENT as
// its deployment, and an application only while it serves a request.
func (c *Context) nameReplica() {
	name, ok := bytes.CutPrefix(c.Values[ActorName], []byte("SERVE_REPLICA::"))
	app, rest, ok1 := bytes.Cut(name, []byte("#"))
	deployment, _, ok2 := bytes.Cut(rest, []byte("#"))
	if ok && ok1 && ok2 {
		c.Values[Application], c.Values[Deployment] = app, deployment
	}
}

// set sets the value of a key, if it is one of Context.
func (c *Context) set(key, value []byte) {
	if string(key) == "process" {
		if c.PID = 0; len(value) <= 10 {
			c.PID = max(parseNumber(value), 0)
		}
		return
	}
	if k := contextKeyOf(key); k < contextKeys {
		if c.Values[k] = nil; value[0] == '"' {
			c.Values[k] = value[1 : len(value)-1]
		}
	}
}

// contextKeyOf returns the key with a name; contextKeys if there is none.
func contextKeyOf(name []byte) ContextKey {
	if len(name) < 5 || len(name) > 14 {
		return contextKeys
	}
	for k := range contextKeys {
		if n := contextNames[k]; len(n) == len(name) && n == string(name) {
			return k
		}
	}
	return contextKeys
}

// isRayID reports whether s is the id of a worker or a node.
func isRayID(s []byte) bool {
	if len(s) != 56 {
		return false
	}
	for _, b := range s {
		if !isDigit(b) && b-'a' > 'f'-'a' {
			return false
		}
	}
	return true
}

// textEnd returns the length of the JSON text that s begins with; 0 if it does not end.
func textEnd(s []byte) int {
	for i := 1; ; {
		quote := bytes.IndexByte(s[i:], '"')
		if quote < 0 {
			return 0
		}
		i += quote + 1
		escapes := 0
		for s[i-2-escapes] == '\\' { // ends at the latest at the first quote
			escapes++
		}
		if escapes%2 == 0 {
			return i
		}
	}
}

// valueEnd returns the length of the JSON value that s begins with; 0 if it does not end.
func valueEnd(s []byte) int {
	depth := 0
	for i := 0; i < len(s); {
		switch s[i] {
		case '"':
			n := textEnd(s[i:])
			if n == 0 {
				return 0
			}
			if i += n; depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return i // the end of the object after a number or a word
			}
			if depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return 0
}

// trimSpace returns s without leading blanks.
func trimSpace(s []byte) []byte {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t' || s[0] == '\r' || s[0] == '\n') {
		s = s[1:]
	}
	return s
}
