package nodelogs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"raytap/shipper/checkpoint"
	"raytap/shipper/metrics"
	"raytap/shipper/sink"
	"raytap/shipper/writer"

	"raytap/ray"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nodes is a fake cluster: nodes, and the files that their agents serve.
type nodes struct {
	mu       sync.Mutex
	list     []*node
	unknown  bool // no list names a worker, as right after a start of the head
	down     bool // no request is answered
	replicas map[string]string
	noServe  bool
	cut      int // an index has at most so many names; 0: all
	requests map[string]int
}

type node struct {
	ray.NodeWorkers
	files map[string]*file // by name, shared by nodes that share a directory
}

type file struct {
	data  []byte
	wrote time.Time
}

func newNodes() *nodes { return &nodes{requests: map[string]int{}} }

// add adds a node. It serves the files of another one unless that is nil.
func (n *nodes) add(with *node) *node {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := len(n.list) + 1
	added := &node{NodeWorkers: ray.NodeWorkers{
		NodeID: fmt.Sprintf("%012x%044x", i, i), IP: "10.0.0.1", State: ray.NodeAlive, AgentURL: fmt.Sprintf("http://10.0.0.1:%d", 52364+i), Known: true,
	}, files: map[string]*file{}}
	if with != nil {
		added.files = with.files
	}
	n.list = append(n.list, added)
	return added
}

// workerID returns the id of worker i.
func workerID(i int) string { return fmt.Sprintf("%056x", 0xabc0000+i) }

// fileName returns the name of the log of worker i.
func fileName(i int, job, extension string) string {
	return fmt.Sprintf("worker-%s-%s-%d.%s", workerID(i), job, 1000+i, extension)
}

// live makes workers alive on a node.
func (n *nodes) live(at *node, workers ...int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, i := range workers {
		at.Workers = append(at.Workers, ray.Worker{ID: workerID(i), PID: 1000 + i})
	}
}

// die removes workers from the list.
func (n *nodes) die(at *node, workers ...int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at.Workers = slices.DeleteFunc(slices.Clone(at.Workers), func(w ray.Worker) bool {
		return slices.ContainsFunc(workers, func(i int) bool { return w.ID == workerID(i) })
	})
}

func (n *nodes) write(at *node, name, format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := at.files[name]
	if f == nil {
		f = &file{}
		at.files[name] = f
	}
	f.data = fmt.Appendf(f.data, format, args...)
	f.wrote = time.Now()
}

// rotate renames a log and its generations, of which keep stay.
func (n *nodes) rotate(at *node, name string, keep int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if at.files[name] == nil {
		return // Ray rotates what it has open
	}
	for k := keep; k >= 0; k-- {
		from := name
		if k > 0 {
			from += fmt.Sprintf(".%d", k)
		}
		if f := at.files[from]; f != nil {
			delete(at.files, from)
			if k < keep {
				at.files[fmt.Sprintf("%s.%d", name, k+1)] = f
			}
		}
	}
}

func (n *nodes) rename(at *node, from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at.files[to] = at.files[from]
	delete(at.files, from)
}

func (n *nodes) set(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

func (n *nodes) NodeWorkers(context.Context) ([]ray.NodeWorkers, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		return nil, &ray.Error{Op: "list workers", Code: 503}
	}
	var out []ray.NodeWorkers
	for _, at := range n.list {
		w := at.NodeWorkers
		w.Workers = slices.Clone(at.Workers)
		if n.unknown {
			w.Workers, w.Known = nil, false
		}
		out = append(out, w)
	}
	return out, nil
}

// at returns the node of an agent, and counts the request.
func (n *nodes) at(kind, agent string) (*node, error) {
	n.requests[kind]++
	for _, at := range n.list {
		if at.AgentURL == agent && at.State == ray.NodeAlive && !n.down {
			return at, nil
		}
	}
	return nil, &ray.Error{Op: "read from node agent", Code: 503}
}

func (n *nodes) AgentFileIndex(_ context.Context, agent, dir string) (ray.FileIndex, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at, err := n.at("index", agent)
	if err != nil {
		return ray.FileIndex{}, err
	}
	var index ray.FileIndex
	for _, name := range slices.Sorted(maps.Keys(at.files)) {
		if d, base := filepath.Split(name); strings.TrimSuffix(d, "/") == dir {
			index.Names = append(index.Names, base)
		}
	}
	if n.cut > 0 && len(index.Names) > n.cut {
		index.Names, index.Truncated = index.Names[:n.cut], true
	}
	return index, nil
}

func (n *nodes) ServeReplicas(context.Context) (map[string]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.requests["replicas"]++
	if n.down || n.noServe {
		return nil, &ray.Error{Op: "list replicas", Code: 503}
	}
	return maps.Clone(n.replicas), nil
}

func (n *nodes) stat(kind, agent, name string) (*file, ray.FileStat, error) {
	at, err := n.at(kind, agent)
	if err != nil {
		return nil, ray.FileStat{}, err
	}
	f := at.files[name]
	if f == nil {
		return nil, ray.FileStat{}, &ray.Error{Op: "read from node agent", Code: 404}
	}
	return f, ray.FileStat{Size: int64(len(f.data)), ETag: fmt.Sprintf("%x-%x", f.wrote.UnixNano(), len(f.data)), Modified: f.wrote}, nil
}

func (n *nodes) AgentFileStat(_ context.Context, agent, name string) (ray.FileStat, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, st, err := n.stat("stat", agent, name)
	return st, err
}

func (n *nodes) AgentFile(_ context.Context, agent, name string, from, to int64) (ray.FilePart, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f, st, err := n.stat("file", agent, name)
	if err != nil {
		return ray.FilePart{}, err
	}
	if to == 0 || to > st.Size {
		to = st.Size
	}
	if from >= to {
		return ray.FilePart{Body: io.NopCloser(bytes.NewReader(nil)), Offset: from, FileStat: ray.FileStat{Size: st.Size}}, nil
	}
	return ray.FilePart{Body: io.NopCloser(bytes.NewReader(bytes.Clone(f.data[from:to]))), Offset: from, FileStat: st}, nil
}

func (n *nodes) count(kind string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.requests[kind]
}

// jsonRecord has the keys of a record that tests read.
type jsonRecord struct {
	Session, Log, Source, Stream, Event, Message string
	SubmissionID                                 string `json:"submission_id"`
	JobID                                        string `json:"job_id"`
	JobName                                      string `json:"job_name"`
	WorkerID                                     string `json:"worker_id"`
	NodeID                                       string `json:"node_id"`
	PID                                          int
	ActorName                                    string `json:"actor_name"`
	TaskName                                     string `json:"task_name"`
	TaskID                                       string `json:"task_id"`
	Application, Deployment, Replica             string
	Level                                        string
	EventLabel                                   string `json:"event_label"`
	SourceType                                   string `json:"source_type"`
	Epoch, Seq                                   uint64
	Skipped, Blank                               uint64
	Complete                                     *bool
	Lines, Logs                                  uint64
	Limit                                        string
}

// harness is a Cluster that runs on fake nodes and writes to a file.
type harness struct {
	t       *testing.T
	file    string
	cluster *Cluster
	out     *writer.Writer
	metrics *metrics.Metrics
	stop    func()
}

const testSession = "session_1"

// start starts a Cluster, like a process that finds the files of an earlier one.
func start(t *testing.T, n *nodes, dir string, o Options) *harness {
	t.Helper()
	h := &harness{t: t, file: filepath.Join(dir, "lines.jsonl"), metrics: metrics.New()}
	positions, err := checkpoint.Open(filepath.Join(dir, "positions"))
	if err != nil {
		t.Fatal(err)
	}
	claim, err := sink.Acquire(h.file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claim.Recover(positions.Watermark(), positions.Recovered); err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(t.Output())
	log.SetFormatter(&logrus.TextFormatter{DisableTimestamp: true})
	f, err := sink.NewFile(sink.FileOptions{Path: h.file, Claim: claim, Saved: positions.Watermark(), Checkpoint: positions.Save, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := positions.Save(t.Context(), f.Durable()); err != nil {
		t.Fatal(err)
	}
	h.out = writer.New(f, writer.Options{Positions: positions, Metrics: h.metrics, Log: log})
	o.Cluster, o.Log = "test", log
	h.cluster = New(n, h.out, o)
	h.cluster.Observe(testSession, nil)
	ctx, cancel := context.WithCancel(context.Background())
	outCtx, cancelOut := context.WithCancel(context.Background())
	ended, outEnded := make(chan struct{}), make(chan error, 1)
	go func() { defer close(ended); h.cluster.Run(ctx) }()
	go func() { outEnded <- h.out.Run(outCtx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
		cancelOut()
		if err := <-outEnded; err != nil {
			t.Error(err)
		}
		positions.Close()
	})
	t.Cleanup(h.stop)
	return h
}

// records returns the records of the sink.
func (h *harness) records() []jsonRecord {
	h.t.Helper()
	return readRecords(h.t, h.file)
}

func readRecords(t *testing.T, path string) (out []jsonRecord) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var r jsonRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		out = append(out, r)
	}
	return out
}

// messages returns the lines of the sink, without events.
func (h *harness) messages() (out []string) {
	for _, r := range h.records() {
		if r.Event == "" {
			out = append(out, r.Message)
		}
	}
	return out
}

func (h *harness) events(event string) (out []jsonRecord) {
	for _, r := range h.records() {
		if r.Event == event {
			out = append(out, r)
		}
	}
	return out
}

// checkKeys checks that no record has the key of another one, and that the numbers of each
// log's lines have no holes.
func (h *harness) checkKeys() {
	h.t.Helper()
	type key struct {
		log, event string
		epoch, seq uint64
	}
	seen, next := map[key]bool{}, map[string]uint64{}
	for _, r := range h.records() {
		k := key{r.Session + r.Log, r.Event, r.Epoch, r.Seq}
		if seen[k] {
			h.t.Errorf("twice: %+v", k)
		}
		seen[k] = true
		next[k.log] += r.Skipped
		if r.Seq != next[k.log] {
			h.t.Errorf("seq %d of %s, want %d: %+v", r.Seq, r.Log, next[k.log], r)
			next[k.log] = r.Seq
		}
		if r.Event == "" {
			next[k.log] += max(1, r.Lines)
		}
	}
}

// inBubble runs a test on fake time.
func inBubble(t *testing.T, f func(t *testing.T, n *nodes, dir string)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { f(t, newNodes(), dir) })
}

// pass lets time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
