package names

import (
	"strings"
	"testing"
)

var id = strings.Repeat("0123456789abcdef", 4)[:idLength]

func TestParseWorker(t *testing.T) {
	for name, want := range map[string]Worker{
		"worker-" + id + "-02000000-4711.out":    {ID: id, JobID: "02000000", PID: 4711, Stream: Stdout, Name: "worker-" + id + "-02000000-4711.out"},
		"worker-" + id + "-ffffffff-1.err":       {ID: id, PID: 1, Stream: Stderr, Name: "worker-" + id + "-ffffffff-1.err"},
		"worker-" + id + "-ffffffff-1.err.12":    {ID: id, PID: 1, Stream: Stderr, Generation: 12, Name: "worker-" + id + "-ffffffff-1.err"},
		"worker-" + id + "-02000000-4711.out.0":  {},
		"worker-" + id + "-02000000-4711.out.01": {},
		"worker-" + id + "-02000000-4711.out.gz": {},
		"worker-" + id + "-02000000-4711.log":    {},
		"worker-" + id + "-02000000-.out":        {},
		"worker-" + id + "-02000000-+1.out":      {},
		"worker-" + id + "-0200000G-1.out":       {},
		"worker-" + id + "-02000000-1":           {},
		"worker-" + id[1:] + "-02000000-1.out":   {},
		"io_worker-" + id + "-02000000-1.out":    {},
		"python-core-worker-" + id + "_1.log":    {},
		"raylet.out":                             {}, "": {}, "worker-": {},
	} {
		got, ok := ParseWorker(name)
		if ok != (want.ID != "") || ok && got != want {
			t.Errorf("%s: got %+v, %t", name, got, ok)
		}
		if !ok {
			continue
		}
		if base := WorkerName(got.ID, got.JobID, got.PID, got.Stream); base != got.Name {
			t.Errorf("%s: its log is %s", name, base)
		}
	}
}

// Both streams of a worker are known by its id alone.
func TestWorker_Log(t *testing.T) {
	w, _ := ParseWorker("worker-" + id + "-02000000-4711.err.3")
	if got, want := w.Log(), "worker-"+id+".err"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestParseCoreWorker(t *testing.T) {
	for name, pid := range map[string]int{
		"python-core-worker-" + id + "_4711.log":   4711,
		"python-core-worker-" + id + "_4711.log.1": 0,
		"python-core-worker-" + id + "-4711.log":   0,
		"python-core-worker-" + id + "_.log":       0,
		"worker-" + id + "-02000000-1.out":         0,
	} {
		gotID, gotPID, ok := ParseCoreWorker(name)
		if ok != (pid > 0) || ok && (gotID != id || gotPID != pid) {
			t.Errorf("%s: got %s, %d, %t", name, gotID, gotPID, ok)
		}
	}
}

func TestParseMarker(t *testing.T) {
	for line, want := range map[string]struct {
		Marker
		value string
	}{
		":job_id:02000000":     {JobMarker, "02000000"},
		":actor_name:Counter":  {ActorMarker, "Counter"},
		":task_name:f":         {TaskMarker, "f"},
		":task_name:":          {TaskMarker, ""},
		":task_name:a:b c":     {TaskMarker, "a:b c"},
		"abc:task_name:f":      {},
		" :task_name:f":        {},
		":task_name f":         {},
		":info_message:so":     {},
		"":                     {},
		":":                    {},
		":JOB_ID:02000000":     {},
		"\x1b[36m:job_id:0200": {},
	} {
		if m, value := ParseMarker([]byte(line)); m != want.Marker || value != want.value {
			t.Errorf("%q: got %d %q", line, m, value)
		}
	}
}

func TestServeReplica(t *testing.T) {
	for actor, want := range map[string][2]string{
		"ServeReplica:shop:Model": {"shop", "Model"}, "ServeReplica:a:b:c": {"a", "b:c"}, "ServeReplica:shop": {}, "Counter": {},
	} {
		application, deployment, ok := ServeReplica(actor)
		if ok != (want[1] != "") || ok && [2]string{application, deployment} != want {
			t.Errorf("%s: got %s, %s, %t", actor, application, deployment, ok)
		}
	}
}

func FuzzParseWorker(f *testing.F) {
	f.Add("worker-" + id + "-02000000-4711.out.3")
	f.Fuzz(func(t *testing.T, name string) {
		w, ok := ParseWorker(name)
		if !ok {
			return
		}
		if again, ok := ParseWorker(w.Name); !ok || again.Log() != w.Log() || strings.ContainsAny(name, "/\\ \n") {
			t.Errorf("%q is the log %q", name, w.Name)
		}
	})
}
