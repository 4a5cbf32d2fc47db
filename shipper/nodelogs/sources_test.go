package nodelogs

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"raytap/ray"
	"raytap/shipper/tail"
)

// allSources are all sources that lie on nodes, with those files of system and Serve that are
// the default of the configuration.
func allSources() map[string]Files {
	return map[string]Files{
		SourceWorker: {}, SourceServe: {Include: []string{"controller_*", "proxy_*"}},
		SourceSystem: {Include: []string{"raylet.out", "gcs_server.out", "runtime_env_setup-*"}}, SourceEvent: {},
	}
}

// eventRecords are the options of records by default.
var eventRecords = tail.RecordOptions{Structured: true}

// startRaylet writes what a raylet logs first.
func (n *nodes) startRaylet(at *node) {
	n.write(at, "raylet.out", "Raylet of id, %s started.\n", at.NodeID)
}

// byMessage returns the lines of the sink by their messages, each of which comes once.
func (h *harness) byMessage() map[string]jsonRecord {
	h.t.Helper()
	out := map[string]jsonRecord{}
	for _, r := range h.records() {
		if _, twice := out[r.Message]; r.Event == "" && twice {
			h.t.Errorf("twice: %s", r.Message)
		}
		if r.Event == "" {
			out[r.Message] = r
		}
	}
	return out
}

const failure = `{"custom_fields":{"job_id":"02000000","node_id":"ab","worker_id":"cd"},"event_id":"5a67","host_name":"h","label":"RAY_WORKER_FAILURE",` +
	`"message":"A worker died.","pid":"14463","severity":"ERROR","source_type":"RAYLET","timestamp":1796087234}`

// The logs of Serve, of Ray's own processes, and its events are shipped with what their names
// and their lines say.
func TestSources_Keys(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.live(at, 1)
		n.write(at, fileName(1, job, "out"), ":job_id:%s\nof a worker\n", job)
		n.startRaylet(at)
		n.write(at, "raylet.out", ":task_name:no marker\n")
		n.write(at, "gcs_server.out", "of the gcs\n")
		n.write(at, "runtime_env_setup-"+job+".log", "of the set-up\n")
		n.write(at, "serve/controller_4711.log", "of the controller\n")
		n.write(at, "events/event_RAYLET.log", "%s\n", failure)
		for _, name := range []string{"dashboard_agent.log", "debug_state.txt", "serve/replica_shop_Model_ab12.log", "events/event_CORE_WORKER_7.log", "python-core-driver-1_2.log"} {
			n.write(at, name, "not to ship: %s\n", name)
		}
		h := start(t, n, dir, Options{Record: eventRecords, Sources: allSources()})
		h.cluster.Observe(testSession, submitted)
		pass(time.Minute)
		n.write(at, "serve/proxy_10.0.0.1.log", "of a proxy that started later\n")
		pass(time.Minute)
		h.stop()
		h.checkKeys()
		prefix := at.NodeID[:12] + "/"
		of := func(source, name string) jsonRecord {
			return jsonRecord{Session: testSession, Source: source, Log: prefix + name, NodeID: at.NodeID}
		}
		raylet, setup, controller, event := of("system", "raylet.out"), of("system", "runtime_env_setup-"+job+".log"), of("serve", "serve/controller_4711.log"), of("event", "events/event_RAYLET.log")
		raylet.Stream, controller.PID = "stdout", 4711
		setup.JobID, setup.SubmissionID, setup.JobName = job, "raysubmit_1", "train"
		event.NodeID, event.JobID, event.WorkerID, event.PID, event.Level, event.EventLabel, event.SourceType = "ab", job, "cd", 14463, "ERROR", "RAY_WORKER_FAILURE", "RAYLET"
		marker, gcs := raylet, of("system", "gcs_server.out")
		marker.Seq, gcs.Stream = 1, "stdout"
		got := h.byMessage()
		delete(got, "of a worker")
		for message, want := range map[string]jsonRecord{
			"Raylet of id, " + at.NodeID + " started.": raylet, ":task_name:no marker": marker, "of the gcs": gcs, "of the set-up": setup,
			"of the controller": controller, "A worker died.": event, "of a proxy that started later": of("serve", "serve/proxy_10.0.0.1.log"),
		} {
			want.Message = message
			if got[message] != want {
				t.Errorf("got  %+v\nwant %+v", got[message], want)
			}
			delete(got, message)
		}
		if len(got) > 0 {
			t.Errorf("shipped, too: %+v", got)
		}
		if files := h.cluster.Stats().Sources; files[SourceServe]["live"] != 0 {
			t.Errorf("files of a Cluster that has ended: %v", files)
		}
	})
}

// Rotations, restarts of raytap and events of which a part was written: each line once, and
// no gap.
func TestSources_RotationAndRestart(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.live(at, 1)
		n.startRaylet(at)
		o := Options{Record: eventRecords, Sources: allSources()}
		h := start(t, n, dir, o)
		h.cluster.Observe(testSession, submitted)
		logs := []string{"raylet.out", "serve/proxy_10.0.0.1.log", "serve/controller_1.log", "events/event_GCS.log"}
		written := 0
		for i := range 60 {
			for _, log := range logs {
				n.write(at, log, "line %d\n", written)
				written++
			}
			event := fmt.Sprintf(`{"event_id":"%d","message":"event %d"}`, i, i)
			n.write(at, "events/event_RAYLET.log", "%s", event[:len(event)/2])
			pass(3 * time.Second)
			if i%7 == 6 {
				n.rotate(at, logs[i%4], 5)
				n.rotate(at, "serve/proxy_10.0.0.1.log", 5)
			}
			if i%20 == 19 {
				h.stop()
				h = start(t, n, dir, o)
				h.cluster.Observe(testSession, submitted)
			}
			n.write(at, "events/event_RAYLET.log", "%s\n", event[len(event)/2:])
		}
		pass(2 * time.Minute)
		if got := h.cluster.Stats().Sources; got[SourceServe]["live"] != 2 || got[SourceSystem]["live"] != 1 || got[SourceEvent]["live"] != 2 {
			t.Errorf("files: %v", got)
		}
		h.stop()
		h.checkKeys()
		got := h.byMessage()
		for i := range written {
			if _, ok := got[fmt.Sprintf("line %d", i)]; !ok {
				t.Errorf("line %d of %d is missing", i, written)
			}
		}
		for i := range 60 {
			if r, ok := got[fmt.Sprintf("event %d", i)]; !ok || r.Source != SourceEvent {
				t.Errorf("event %d: %t %+v", i, ok, r)
				break
			}
		}
		if gaps := h.events("gap"); len(gaps) > 0 {
			t.Errorf("gaps: %+v", gaps)
		}
	})
}

// Files that are not selected take no place, and one that is not selected any more keeps its
// position.
func TestSources_Selection(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.live(at, 1)
		n.startRaylet(at)
		n.write(at, "gcs_server.out", "first\n")
		run := func(files map[string]Files, open int) {
			t.Helper()
			h := start(t, n, dir, Options{Record: eventRecords, Sources: files})
			h.cluster.Observe(testSession, submitted)
			pass(2 * time.Minute)
			if got := h.cluster.current.open; got != open {
				t.Errorf("%d files count as read, want %d", got, open)
			}
			h.stop()
		}
		run(map[string]Files{SourceSystem: {Include: []string{"gcs_server.*"}}}, 1)
		n.write(at, "gcs_server.out", "second\n")
		run(map[string]Files{SourceSystem: {Exclude: []string{"gcs_*", "raylet.*"}}, SourceEvent: {}}, 0)
		run(map[string]Files{SourceEvent: {}}, 0)
		h := start(t, n, dir, Options{Record: eventRecords, Sources: map[string]Files{SourceSystem: {Exclude: []string{"raylet.*"}}}})
		h.cluster.Observe(testSession, submitted)
		pass(2 * time.Minute)
		h.stop()
		h.checkKeys()
		if got := h.messages(); !slices.Equal(got, []string{"first", "second"}) {
			t.Errorf("shipped %q", got)
		}
	})
}

// At a node's address, another cluster's agent may answer, whose files have the same names.
// None of their lines are shipped, whether the node has workers or not.
func TestSources_AddressOfAnotherCluster(t *testing.T) {
	for _, workers := range [][]int{nil, {1}} {
		inBubble(t, func(t *testing.T, n *nodes, dir string) {
			at := n.add(nil)
			n.live(at, workers...)
			for _, i := range workers {
				n.write(at, fileName(i, job, "out"), ":job_id:%s\n", job)
			}
			n.startRaylet(at)
			n.write(at, "gcs_server.out", "own\n")
			o := Options{Record: eventRecords, Sources: map[string]Files{SourceSystem: {}, SourceServe: {}}}
			h := start(t, n, dir, o)
			h.cluster.Observe(testSession, submitted)
			pass(2 * time.Minute)
			own := at.files
			n.set(func() { at.files = map[string]*file{} })
			for _, name := range []string{"raylet.out", "gcs_server.out", "gcs_server.out.1", "monitor.log", "serve/proxy_10.0.0.1.log", fileName(7, job, "out")} {
				n.write(at, name, "another cluster's line, which is longer than all of the own ones together: %s %d\n", name, len(workers))
			}
			pass(10 * time.Minute)
			h.stop() // nothing is known by heart
			h = start(t, n, dir, o)
			h.cluster.Observe(testSession, submitted)
			pass(10 * time.Minute)
			n.set(func() { at.files = own })
			n.write(at, "gcs_server.out", "again\n")
			n.write(at, "monitor.log", "new\n")
			pass(5 * time.Minute)
			h.stop()
			h.checkKeys()
			got := h.messages()
			slices.Sort(got)
			if want := []string{"Raylet of id, " + at.NodeID + " started.", "again", "new", "own"}; !slices.Equal(got, want) {
				t.Errorf("%d workers: shipped %q", len(workers), got)
			}
			for _, r := range h.records() {
				if r.Event != "" {
					t.Errorf("%d workers: %+v", len(workers), r)
				}
			}
		})
	}
}

// What rotation has deleted is a gap, once it is certain that the agent is the node's own.
func TestSources_Lost(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.startRaylet(at)
		n.write(at, "gcs_server.out", "first\n")
		h := start(t, n, dir, Options{Record: eventRecords, Sources: map[string]Files{SourceSystem: {Include: []string{"gcs_*"}}}})
		h.cluster.Observe(testSession, submitted)
		pass(2 * time.Minute)
		for i := range 3 {
			n.rotate(at, "gcs_server.out", 1)
			n.write(at, "gcs_server.out", "generation %d\n", i)
		}
		pass(5 * time.Minute)
		h.stop()
		h.checkKeys()
		if got := h.messages(); !slices.Equal(got, []string{"first", "generation 1", "generation 2"}) {
			t.Errorf("shipped %q", got)
		}
		if gaps := h.events("gap"); len(gaps) != 1 || gaps[0].Seq != 1 || gaps[0].Source != SourceSystem {
			t.Errorf("gaps: %+v", gaps)
		}
	})
}

// Two raylets on a host share a directory: each line comes once, whether logs of workers are
// shipped or not.
func TestSources_SharedDirectory(t *testing.T) {
	for i, files := range []map[string]Files{allSources(), {SourceSystem: {}, SourceEvent: {}}, allSources(), {SourceSystem: {}, SourceEvent: {}}} {
		another := i >= 2 // each raylet has its own address
		inBubble(t, func(t *testing.T, n *nodes, dir string) {
			a := n.add(nil)
			b := n.add(a)
			if another {
				n.set(func() { b.IP = "10.0.0.3" })
			}
			n.startRaylet(a)
			n.write(a, "raylet.1.out", "Raylet of id, %s started.\n", b.NodeID)
			n.write(a, "gcs_server.out", "of the gcs\n")
			h := start(t, n, dir, Options{Record: eventRecords, Sources: files})
			h.cluster.Observe(testSession, submitted)
			pass(2 * time.Minute)
			n.live(a, 1)
			n.live(b, 2)
			n.write(a, fileName(1, job, "out"), ":job_id:%s\nof 1\n", job)
			n.write(a, fileName(2, job, "out"), ":job_id:%s\nof 2\n", job)
			n.write(a, "events/event_RAYLET.log", "%s\n", failure)
			pass(2 * time.Minute)
			h.stop()
			h.checkKeys()
			got := h.byMessage()
			if r := got["of the gcs"]; r.Source != SourceSystem || r.NodeID != "" && !another {
				t.Errorf("whose it is cannot be known: %+v", r)
			}
			if _, ok := got["A worker died."]; !ok {
				t.Errorf("shipped %v", got)
			}
		})
	}
}

// What the controller and the proxies log is read from serve/, not from .err, too; what they
// print stays.
func TestSources_ServeActors(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]Files
		want  []string
	}{
		"with serve":                 {allSources(), []string{"of a user", "printed", "proxied"}},
		"without":                    {map[string]Files{SourceWorker: {}}, []string{"of a user", "printed", "proxied"}},
		"with controllers of serve/": {map[string]Files{SourceWorker: {}, SourceServe: {Include: []string{"controller_*"}}}, []string{"of a user", "printed", "proxied"}},
	} {
		inBubble(t, func(t *testing.T, n *nodes, dir string) {
			at := n.add(nil)
			n.live(at, 1, 2)
			n.write(at, fileName(1, job, "out"), ":job_id:%s\n:actor_name:ProxyActor\nprinted\n", job)
			n.write(at, fileName(1, job, "err"), ":job_id:%s\n:actor_name:ProxyActor\nproxied\n", job)
			n.write(at, fileName(2, job, "err"), ":job_id:%s\n:actor_name:UserActor\nof a user\n", job)
			n.write(at, "serve/proxy_10.0.0.1.log", "proxied\n")
			h := start(t, n, dir, Options{Record: eventRecords, Sources: c.files})
			h.cluster.Observe(testSession, submitted)
			pass(2 * time.Minute)
			h.stop()
			h.checkKeys()
			got := h.messages()
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: shipped %q", name, got)
			}
		})
	}
}

// The log of a job's set-up ends with the job. One of a job that was over before is skipped.
func TestSources_Setup(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.startRaylet(at)
		n.write(at, "runtime_env_setup-01000000.log", "old\n")
		n.write(at, "runtime_env_setup-02000000.log", "running\n")
		list := func(status ray.JobStatus) []ray.Job {
			return []ray.Job{{JobID: "01000000", Status: ray.JobSucceeded, Type: ray.JobDriver}, {JobID: "02000000", Status: status, SubmissionID: "raysubmit_1", Type: ray.JobSubmission}}
		}
		o := Options{Record: eventRecords, Sources: map[string]Files{SourceSystem: {Include: []string{"runtime_env_setup-*"}}}}
		n.set(func() { n.down = true }) // until there is a job list
		h := start(t, n, dir, o)
		h.cluster.Observe(testSession, list(ray.JobRunning))
		n.set(func() { n.down = false })
		pass(2 * time.Minute)
		n.write(at, "runtime_env_setup-02000000.log", "last\n")
		h.cluster.Observe(testSession, list(ray.JobSucceeded))
		pass(20 * time.Minute)
		if got := h.cluster.Stats().Sources[SourceSystem]; got["done"] != 2 || got["live"]+got["ended"] != 0 {
			t.Errorf("files: %v", got)
		}
		h.stop()
		h = start(t, n, dir, o)
		h.cluster.Observe(testSession, list(ray.JobSucceeded))
		pass(20 * time.Minute)
		h.stop()
		h.checkKeys()
		if got := h.messages(); !slices.Equal(got, []string{"running", "last"}) {
			t.Errorf("shipped %q", got)
		}
		if ends := h.events("end"); len(ends) != 1 || ends[0].Lines != 2 || ends[0].SubmissionID != "raysubmit_1" {
			t.Errorf("ends: %+v", ends)
		}
	})
}

// An agent's log of the requests that raytap makes does not keep raytap busy.
func TestSources_OwnRequests(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.startRaylet(at)
		n.write(at, "dashboard_agent.log", "of a program\n")
		h := start(t, n, dir, Options{Record: eventRecords, Sources: map[string]Files{SourceSystem: {}}})
		h.cluster.Observe(testSession, submitted)
		logged := 0
		requests := func(d time.Duration) int {
			before := n.count("stat") + n.count("file")
			for range int(d / time.Second) {
				for seen := n.count("stat") + n.count("file"); logged < seen; logged++ {
					n.write(at, "dashboard_agent.log", "INFO web_log.py:233 -- 10.0.0.9 \"GET /logs/x HTTP/1.1\" 206 \"-\" \"raytap/1.0\"\n")
				}
				pass(time.Second)
			}
			return n.count("stat") + n.count("file") - before
		}
		requests(10 * time.Minute)
		if got := requests(10 * time.Minute); got > 120 {
			t.Errorf("%d requests in ten minutes for two files that are quiet", got)
		}
		n.write(at, "dashboard_agent.log", "of a program again\n")
		requests(2 * time.Minute)
		h.stop()
		h.checkKeys()
		got := h.byMessage()
		if r, ok := got["of a program again"]; !ok || r.Skipped == 0 || len(got) != 3 {
			t.Errorf("shipped %+v", got)
		}
	})
}

// When a node dies, or its session is over, its logs end, each once.
func TestSources_End(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		a, b := n.add(nil), n.add(nil)
		n.set(func() { b.IP = "10.0.0.2" })
		for _, at := range []*node{a, b} {
			n.live(at, len(at.NodeID))
			n.startRaylet(at)
		}
		n.set(func() { a.IP = "10.0.0.3" })
		n.write(b, "events/event_GCS.log", "%s\n", failure)
		h := start(t, n, dir, Options{Record: eventRecords, Sources: allSources()})
		h.cluster.Observe(testSession, submitted)
		pass(2 * time.Minute)
		for i := range 100 {
			n.write(b, "raylet.out", "line %d of b\n", i)
			pass(time.Second)
		}
		n.set(func() { b.State = ray.NodeDead })
		pass(2 * time.Minute)
		for i := range 100 {
			n.write(a, "raylet.out", "line %d of a\n", i)
			pass(time.Second)
		}
		h.cluster.Observe("session_2", nil)
		pass(time.Minute)
		h.stop()
		h.checkKeys()
		var got []string
		for _, r := range h.events("end") {
			if r.Complete == nil || *r.Complete {
				t.Errorf("the end of a log whose process may have logged more: %+v", r)
			}
			got = append(got, r.Source+" "+r.Log)
		}
		if want := []string{"system " + b.NodeID[:12] + "/raylet.out", "event " + b.NodeID[:12] + "/event", "system " + a.NodeID[:12] + "/raylet.out"}; !slices.Equal(got, want) {
			t.Errorf("ends: %q, want %q", got, want)
		}
	})
}

// A directory of which only other sources were read decides at the first listing with workers
// which of their logs are skipped.
func TestSources_WorkersLater(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.live(at, 1)
		n.startRaylet(at)
		n.write(at, fileName(1, job, "out"), ":job_id:%s\nalive\n", job)
		n.write(at, fileName(2, job, "out"), ":job_id:%s\nold\n", job)
		h := start(t, n, dir, Options{Record: eventRecords, Sources: map[string]Files{SourceSystem: {}}})
		h.cluster.Observe(testSession, submitted)
		pass(5 * time.Minute)
		h.stop()
		if got := h.messages(); len(got) != 1 {
			t.Errorf("shipped %q", got)
		}
		h = start(t, n, dir, Options{Record: eventRecords, Sources: allSources()})
		h.cluster.Observe(testSession, submitted)
		pass(5 * time.Minute)
		h.stop()
		h.checkKeys()
		if got := h.messages(); len(got) != 2 || got[1] != "alive" {
			t.Errorf("shipped %q", got)
		}
	})
}
