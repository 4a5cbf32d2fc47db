package dashboard

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"raytap/ray"
	"raytap/ray/raytest"
	"raytap/ray/transport"
)

const (
	workerA = "aa00000000000000000000000000000000000000000000000000000a" // runs job 02000000; alive; in ffffffff's name
	workerB = "bb00000000000000000000000000000000000000000000000000000b" // ran job 02000000; dead, rotated; in ffffffff's name
	workerC = "cc00000000000000000000000000000000000000000000000000000c" // ran job 03000000; dead
	workerD = "dd00000000000000000000000000000000000000000000000000000d" // ran job 02000000; dead; named by its job; on the second node
	actorA  = "ac000000000000000000000002000000"
)

// logCluster is a cluster of two nodes with logs of every source.
func logCluster(t *testing.T, o ...raytest.Option) (*raytest.Head, *raytest.Node, *raytest.Node) {
	t.Helper()
	head := raytest.New(t, o...)
	first := head.Nodes()[0]
	second, err := head.AddNode("127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	head.Submit("train-1", raytest.JobOptions{}).Print("driver line\n")
	head.Submit("other", raytest.JobOptions{Node: second}).Print("other line\n")
	head.AddDriverJob("02000000", "train.py", time.Now(), time.Now())
	for name, content := range map[string]string{
		"worker-" + workerA + "-ffffffff-100.out":     ":job_id:02000000\nalive\n",
		"worker-" + workerA + "-ffffffff-100.err":     ":job_id:02000000\n",
		"old/worker-" + workerB + "-ffffffff-101.out": "second generation\n",
		"worker-" + workerB + "-ffffffff-101.out.1":   ":job_id:02000000\nfirst generation\n",
		"worker-" + workerC + "-ffffffff-102.out":     ":job_id:03000000\nanother job\n",
		"python-core-worker-" + workerA + "_100.log":  "core\n",
		"raylet.out":                    "raylet\n",
		"events/event_RAYLET.log":       "{}\n",
		"serve/proxy_127.0.0.1.log":     "proxy\n",
		"serve/replica_shop_Cart_x.log": "replica\n",
	} {
		first.WriteFile(name, content)
	}
	second.WriteFile("worker-"+workerD+"-02000000-103.out", ":job_id:02000000\nnode two\n")
	second.WriteFile("raylet.out", "raylet two\n")
	first.SetWorkers(ray.Worker{ID: workerA, PID: 100, JobID: "02000000", ActorID: actorA, Type: "WORKER"})
	return head, first, second
}

// listed returns a list as text: node's number and name of each file.
func listed(head *raytest.Head, list ray.LogList) string {
	short := strings.NewReplacer(workerA, "A", workerB, "B", workerC, "C", workerD, "D")
	var out []string
	for _, f := range list.Files {
		for i, n := range head.Nodes() {
			if n.ID == f.NodeID {
				out = append(out, fmt.Sprintf("%d:%s", i+1, short.Replace(f.Name)))
			}
		}
	}
	return strings.Join(out, " ")
}

// The workers of an actor are also those that it had before it was restarted, as far as Ray
// lists their tasks.
func TestLogFiles_RestartedActor(t *testing.T) {
	head, _, _ := logCluster(t)
	c := logClient(t, head, transport.Options{}, Options{})
	asked := ""
	head.SetResponseFunc(raytest.EndpointTasks, func(r *http.Request) (int, []byte) {
		asked = r.URL.Query().Get("filter_keys") + "=" + r.URL.Query().Get("filter_values")
		return http.StatusOK, []byte(stateAnswer(2, 2, 2, 2, `{"task_id":"#","worker_id":"`+workerB+`"}`))
	})
	for _, id := range []string{actorA, "ac00"} { // the actor lives, in worker A
		list, err := c.LogFiles(t.Context(), ray.LogSelector{Actors: []string{id}, Sources: []ray.LogSource{ray.LogWorker}})
		if err != nil {
			t.Fatal(err)
		}
		const want = "1:worker-A-ffffffff-100.err 1:worker-A-ffffffff-100.out 1:old/worker-B-ffffffff-101.out 1:worker-B-ffffffff-101.out.1"
		if got := listed(head, list); got != want || asked != "actor_id="+actorA {
			t.Errorf("%s: got %s, the tasks of %s were requested", id, got, asked)
		}
	}
}

func TestLogFiles_Select(t *testing.T) {
	head, first, second := logCluster(t)
	c := logClient(t, head, transport.Options{}, Options{})
	const ofJob = "1:python-core-worker-A_100.log 1:worker-A-ffffffff-100.err 1:worker-A-ffffffff-100.out 1:old/worker-B-ffffffff-101.out 1:worker-B-ffffffff-101.out.1 2:worker-D-02000000-103.out"
	for name, tt := range map[string]struct {
		s    ray.LogSelector
		want string
		code int
	}{
		"a job by its job id":         {s: ray.LogSelector{Jobs: []string{"02000000"}}, want: ofJob},
		"a submission":                {s: ray.LogSelector{Jobs: []string{"train-1"}}, want: "1:job-driver-train-1.log"},
		"two jobs":                    {s: ray.LogSelector{Jobs: []string{"02000000", "other"}}, want: strings.Replace(ofJob, "2:w", "2:job-driver-other.log 2:w", 1)},
		"a job's workers on a node":   {s: ray.LogSelector{Jobs: []string{"02000000"}, Nodes: []string{second.ID}}, want: "2:worker-D-02000000-103.out"},
		"an unknown job":              {s: ray.LogSelector{Jobs: []string{"nope"}}, code: 404},
		"a worker":                    {s: ray.LogSelector{Workers: []string{"bb0"}}, want: "1:old/worker-B-ffffffff-101.out 1:worker-B-ffffffff-101.out.1"},
		"an actor":                    {s: ray.LogSelector{Actors: []string{"ac00"}, Sources: []ray.LogSource{ray.LogWorker}}, want: "1:worker-A-ffffffff-100.err 1:worker-A-ffffffff-100.out"},
		"an unknown actor":            {s: ray.LogSelector{Actors: []string{strings.Repeat("e", 32)}}, code: 404},
		"a node by its address":       {s: ray.LogSelector{Nodes: []string{"127.0.0.2"}}, want: "2:job-driver-other.log 2:raylet.out 2:worker-D-02000000-103.out"},
		"an unknown node":             {s: ray.LogSelector{Nodes: []string{"zz"}}, code: 404},
		"drivers":                     {s: ray.LogSelector{Sources: []ray.LogSource{ray.LogDriver}}, want: "1:job-driver-train-1.log 2:job-driver-other.log"},
		"events and Serve":            {s: ray.LogSelector{Sources: []ray.LogSource{ray.LogEvent, ray.LogServe}}, want: "1:events/event_RAYLET.log 1:serve/proxy_127.0.0.1.log 1:serve/replica_shop_Cart_x.log"},
		"system":                      {s: ray.LogSelector{Sources: []ray.LogSource{ray.LogSystem}}, want: "1:python-core-worker-A_100.log 1:raylet.out 2:raylet.out"},
		"a name":                      {s: ray.LogSelector{Match: func(name string) bool { return name == "raylet.out" }}, want: "1:raylet.out 2:raylet.out"},
		"an application, not running": {s: ray.LogSelector{Applications: []string{"nope"}}, code: 404},
	} {
		list, err := c.LogFiles(t.Context(), tt.s)
		if ray.Code(err) != tt.code || listed(head, list) != tt.want || len(list.Missing) > 0 {
			t.Errorf("%s: %v\n%s, missing %v\nwant %s", name, err, listed(head, list), list.Missing, tt.want)
		}
	}
	if head.Requests(raytest.EndpointLogList)+head.Requests(raytest.EndpointLogStream) > 0 {
		t.Error("the head was asked although the agents answer")
	}
	list, err := c.LogFiles(t.Context(), ray.LogSelector{Workers: []string{workerA}, Sources: []ray.LogSource{ray.LogWorker}})
	if err != nil || len(list.Files) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	f := list.Files[1]
	if f.JobID != "02000000" || f.ActorID != actorA || f.PID != 100 || f.AgentURL != first.AgentURL() {
		t.Errorf("%+v", f)
	}
}

// TestLogFiles_JobInOtherLog: the first line of either log of a worker names its job.
func TestLogFiles_JobInOtherLog(t *testing.T) {
	head, first, _ := logCluster(t)
	first.WriteFile("worker-"+workerB+"-ffffffff-101.out.1", "its first generation is gone\n")
	c := logClient(t, head, transport.Options{}, Options{})
	s := ray.LogSelector{Jobs: []string{"02000000"}, Workers: []string{workerB}}
	list, err := c.LogFiles(t.Context(), s)
	if err != nil || len(list.Files) != 0 || list.UnknownWorkers != 1 {
		t.Errorf("%s, %d unknown, %v", listed(head, list), list.UnknownWorkers, err)
	}
	first.WriteFile("worker-"+workerB+"-ffffffff-101.err", ":job_id:02000000\n")
	list, err = c.LogFiles(t.Context(), s)
	if err != nil || len(list.Files) != 3 || list.UnknownWorkers != 0 || list.Files[0].JobID != "02000000" {
		t.Errorf("%s, %d unknown, %v", listed(head, list), list.UnknownWorkers, err)
	}
	first.WriteFile("worker-"+workerB+"-ffffffff-101.err", "")
	first.RemoveFile("worker-" + workerB + "-ffffffff-101.out.1")
	first.WriteFile("old/worker-"+workerB+"-ffffffff-101.out", "")
	if list, err := c.LogFiles(t.Context(), s); err != nil || list.UnknownWorkers != 0 {
		t.Errorf("a worker that printed nothing: %d unknown, %v", list.UnknownWorkers, err)
	}
}

func TestLogFiles_Application(t *testing.T) {
	head, _, _ := logCluster(t)
	node := head.Nodes()[0].ID
	head.SetResponse(raytest.EndpointServe, fmt.Appendf(nil, `{"applications":{"shop":{"name":"shop","status":"RUNNING","deployments":{"Cart":{"name":"Cart","replicas":[
		{"node_id":%q,"worker_id":%q,"pid":100,"log_file_path":"/serve/replica_shop_Cart_x.log"},{"node_id":%q,"worker_id":"","pid":101}]}}},"idle":{"name":"idle","status":"RUNNING","deployments":{}}}}`, node, workerA, node))
	c := logClient(t, head, transport.Options{}, Options{})
	list, err := c.LogFiles(t.Context(), ray.LogSelector{Applications: []string{"shop"}})
	const want = "1:python-core-worker-A_100.log 1:serve/replica_shop_Cart_x.log 1:worker-A-ffffffff-100.err 1:worker-A-ffffffff-100.out 1:old/worker-B-ffffffff-101.out 1:worker-B-ffffffff-101.out.1"
	if err != nil || listed(head, list) != want {
		t.Errorf("%s, %v", listed(head, list), err)
	}
	if list, err := c.LogFiles(t.Context(), ray.LogSelector{Applications: []string{"idle"}}); err != nil || len(list.Files) != 0 {
		t.Errorf("%s, %v", listed(head, list), err)
	}
}

// TestLogFiles_SharedDirectory: the files of two raylets of one host are listed once.
func TestLogFiles_SharedDirectory(t *testing.T) {
	head, first, second := logCluster(t)
	second.ShareLogs(first)
	second.WriteFile("raylet.1.out", "second raylet\n")
	c := logClient(t, head, transport.Options{}, Options{})
	list, err := c.LogFiles(t.Context(), ray.LogSelector{Match: func(name string) bool { return strings.Contains(name, "raylet") || strings.Contains(name, workerC) }, Sources: []ray.LogSource{ray.LogSystem, ray.LogWorker}})
	if want := "1:raylet.1.out 1:raylet.out 1:worker-C-ffffffff-102.out"; err != nil || listed(head, list) != want {
		t.Errorf("%s, %v", listed(head, list), err)
	}
}

// TestLogFiles_WithoutAgents: the head lists and reads what no agent may serve.
func TestLogFiles_WithoutAgents(t *testing.T) {
	head, _, second := logCluster(t)
	c := logClient(t, head, transport.Options{}, Options{NodeAgents: NodeAgents{Mode: NodeAgentsOff}})
	c.headFiles = rate.NewLimiter(rate.Inf, 1)
	list, err := c.LogFiles(t.Context(), ray.LogSelector{Workers: []string{workerB, workerD}})
	if want := "1:old/worker-B-ffffffff-101.out 1:worker-B-ffffffff-101.out.1 2:worker-D-02000000-103.out"; err != nil || listed(head, list) != want || len(list.Missing) > 0 {
		t.Fatalf("%s, %v, %v", listed(head, list), list.Missing, err)
	}
	part, err := c.LogFile(t.Context(), list.Files[0], 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer part.Body.Close()
	if got, err := io.ReadAll(part.Body); err != nil || string(got) != "second generation\n" || part.Size != -1 {
		t.Errorf("%q, %v, %+v", got, err, part.FileStat)
	}
	_, err = c.LogFileStat(t.Context(), list.Files[0])
	wantCode(t, err, 501)
	_, err = c.HeadFile(t.Context(), list.Files[0].NodeID, "absent", 3)
	wantCode(t, err, 404)
	_, err = c.HeadFile(t.Context(), list.Files[0].NodeID, "../x", 3)
	wantCode(t, err, 400)
	if head.Requests(raytest.EndpointLogStream) > 0 || head.Requests(raytest.EndpointAgentIndex) > 0 {
		t.Error("an agent or the stream was used")
	}
	second.Kill()
	list, err = c.LogFiles(t.Context(), ray.LogSelector{Nodes: []string{second.ID}})
	if err != nil || len(list.Files) > 0 || len(list.Missing) != 1 || ray.Code(list.Missing[0].Err) != 503 {
		t.Errorf("a dead node: %+v, %v", list, err)
	}
	list, err = c.LogFiles(t.Context(), ray.LogSelector{Jobs: []string{"other"}})
	if err != nil || len(list.Missing) != 1 || list.Missing[0].Name != "job-driver-other.log" {
		t.Errorf("a driver's log on a dead node: %+v, %v", list, err)
	}
}

// TestLogFiles_AgentDown: a node that neither its agent nor the head can list is
// reported, and the others are listed.
func TestLogFiles_AgentDown(t *testing.T) {
	head, _, second := logCluster(t)
	second.AgentDown()
	c := logClient(t, head, transport.Options{}, Options{})
	list, err := c.LogFiles(t.Context(), ray.LogSelector{Sources: []ray.LogSource{ray.LogDriver}})
	if err != nil || listed(head, list) != "1:job-driver-train-1.log" || len(list.Missing) != 1 || list.Missing[0].NodeID != second.ID {
		t.Fatalf("%s, %+v, %v", listed(head, list), list.Missing, err)
	}
	if text := list.Missing[0].Err.Error(); !strings.Contains(text, "connection refused") {
		t.Errorf("the reason: %s", text)
	}
}

// TestLogFiles_LongIndex: a directory whose index is too long is listed by the head, in
// parts, and then nothing is missing.
func TestLogFiles_LongIndex(t *testing.T) {
	head := raytest.New(t)
	node := head.Nodes()[0]
	c := logClient(t, head, transport.Options{}, Options{})
	c.headFiles = rate.NewLimiter(rate.Inf, 1)
	const many = 21_000 // of more than 500 bytes of index each
	for i := range many {
		node.WriteFile(fmt.Sprintf("%s-%06d.log", strings.Repeat("a", 240), i), "")
	}
	named := []string{"python-core-driver-0_1.log", "python-core-worker-" + workerA + "_100.log", "worker-" + workerA + "-ffffffff-100.out", "worker-" + workerD + "-ffffffff-100.out", "raylet.out", "pip.log", "x.log", "wait.log", ".hidden"}
	for _, name := range named {
		node.WriteFile(name, "")
	}
	list, err := c.LogFiles(t.Context(), ray.LogSelector{Sources: []ray.LogSource{ray.LogSystem, ray.LogWorker}})
	if err != nil || len(list.Missing) > 0 || len(list.Files) != many+len(named) {
		t.Fatalf("%d files, %v, %v", len(list.Files), list.Missing, err)
	}
	found := map[string]int{}
	for _, f := range list.Files {
		found[f.Name]++
	}
	for _, name := range named {
		if found[name] != 1 {
			t.Errorf("%s is listed %d times", name, found[name])
		}
	}
	head.Inject(raytest.Fault{Endpoint: raytest.EndpointLogList})
	list, err = c.LogFiles(t.Context(), ray.LogSelector{Sources: []ray.LogSource{ray.LogWorker}})
	if err != nil || len(list.Missing) != 1 || !strings.Contains(list.Missing[0].Err.Error(), "more than the ") {
		t.Errorf("without the head: %v, %v", list.Missing, err)
	}
}

func TestParseLogName(t *testing.T) {
	for name, want := range map[string]ray.LogName{
		"worker-" + workerA + "-02000000-7.out":        {Source: ray.LogWorker, Log: "worker-" + workerA + "-02000000-7.out", WorkerID: workerA, PID: 7, JobID: "02000000"},
		"old/worker-" + workerA + "-ffffffff-7.err.12": {Source: ray.LogWorker, Log: "worker-" + workerA + "-ffffffff-7.err", Generation: 12, WorkerID: workerA, PID: 7},
		"python-core-worker-" + workerA + "_7.log":     {Source: ray.LogSystem, Log: "python-core-worker-" + workerA + "_7.log", WorkerID: workerA, PID: 7},
		"raylet.out":                               {Source: ray.LogSystem, Log: "raylet.out"},
		"raylet.out.1":                             {Source: ray.LogSystem, Log: "raylet.out", Generation: 1},
		"raylet.1.out":                             {Source: ray.LogSystem, Log: "raylet.1.out"},
		"job-driver-a-b.log.2":                     {Source: ray.LogDriver, Log: "job-driver-a-b.log", Generation: 2, SubmissionID: "a-b"},
		"serve/proxy_127.0.0.1.log":                {Source: ray.LogServe, Log: "serve/proxy_127.0.0.1.log"},
		"events/event_GCS.log":                     {Source: ray.LogEvent, Log: "events/event_GCS.log"},
		"worker-x-y-z.out":                         {Source: ray.LogSystem, Log: "worker-x-y-z.out"},
		"io_worker-" + workerA + "-ffffffff-7.out": {Source: ray.LogSystem, Log: "io_worker-" + workerA + "-ffffffff-7.out"},
		"": {Source: ray.LogSystem},
	} {
		if got := ray.ParseLogName(name); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}
