package names

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	worker := "worker-" + id + "-02000000-4711.err.3"
	for name, want := range map[string]File{
		worker:                                {Worker: Worker{Name: strings.TrimSuffix(worker, ".3"), ID: id, JobID: "02000000", PID: 4711, Stream: Stderr, Generation: 3}},
		"raylet.out":                          {Kind: KindSystem, Worker: Worker{Name: "raylet.out", Stream: Stdout}},
		"raylet.out.12":                       {Kind: KindSystem, Worker: Worker{Name: "raylet.out", Stream: Stdout, Generation: 12}},
		"raylet.1.out":                        {Kind: KindSystem, Worker: Worker{Name: "raylet.1.out", Stream: Stdout}}, // of a second raylet
		"raylet.1.out.2":                      {Kind: KindSystem, Worker: Worker{Name: "raylet.1.out", Stream: Stdout, Generation: 2}},
		"gcs_server.err":                      {Kind: KindSystem, Worker: Worker{Name: "gcs_server.err", Stream: Stderr}},
		"monitor.log.5":                       {Kind: KindSystem, Worker: Worker{Name: "monitor.log", Generation: 5}},
		"runtime_env_setup-03000000.log":      {Kind: KindSystem, Worker: Worker{Name: "runtime_env_setup-03000000.log", JobID: "03000000"}},
		"runtime_env_setup-ray_client.log":    {Kind: KindSystem, Worker: Worker{Name: "runtime_env_setup-ray_client.log"}},
		"serve/controller_13815.log.1":        {Kind: KindServe, Worker: Worker{Name: "serve/controller_13815.log", PID: 13815, Generation: 1}},
		"serve/controller_build_a_b_14.log":   {Kind: KindServe, Worker: Worker{Name: "serve/controller_build_a_b_14.log", PID: 14}, Application: "a_b"},
		"serve/proxy_10.0.0.10.log":           {Kind: KindServe, Worker: Worker{Name: "serve/proxy_10.0.0.10.log"}},
		"serve/proxy_10.0.0.10.log.2":         {Kind: KindServe, Worker: Worker{Name: "serve/proxy_10.0.0.10.log", Generation: 2}},
		"serve/replica_shop_Hello_b87g.log":   {Kind: KindServe, Worker: Worker{Name: "serve/replica_shop_Hello_b87g.log"}, Application: "shop", Deployment: "Hello", Replica: "b87g"},
		"serve/replica_shop_a_Hello_b87g.log": {Kind: KindServe, Worker: Worker{Name: "serve/replica_shop_a_Hello_b87g.log"}, Replica: "b87g"},
		"events/event_RAYLET.log":             {Kind: KindEvent, Worker: Worker{Name: "events/event_RAYLET.log"}},
		"events/event_GCS.log.1":              {Kind: KindEvent, Worker: Worker{Name: "events/event_GCS.log", Generation: 1}},
		"events/event_CORE_WORKER_29287.log":  {},
		"events/event_.log":                   {},
		"job-driver-job-1.log":                {},
		"python-core-driver-" + id + "_1.log": {},
		"python-core-worker-" + id + "_1.log": {},
		"worker-x.out":                        {}, "io_worker-" + id + "-02000000-1.out": {},
		"debug_state.txt": {}, "export_events/event_TASK.log": {}, "old/raylet.out": {}, "serve/a/b.log": {}, "serve/.log": {}, "serve/": {},
		"raylet.out.01": {}, "raylet.out.0": {}, "raylet.out.gz": {}, "raylet": {}, "": {}, ".log": {}, "profiles": {}, "../raylet.out": {},
	} {
		got, ok := Parse(name)
		if ok != (want.Name != "") || got != want {
			t.Errorf("%s: got %+v, %t", name, got, ok)
		}
	}
}

// Logs of workers are named without their directory, others with it.
func TestFile_Log(t *testing.T) {
	node := strings.Repeat("ab", 28)
	for name, want := range map[string]string{
		"worker-" + id + "-02000000-4711.out": "worker-" + id + ".out",
		"raylet.out.1":                        "abababababab/raylet.out",
		"serve/proxy_10.0.0.10.log":           "abababababab/serve/proxy_10.0.0.10.log",
	} {
		f, _ := Parse(name)
		if got := f.Log(node); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

// An agent's line about a request of raytap is known by the client's name.
func TestFile_IsOwnRequest(t *testing.T) {
	agent, _ := Parse("dashboard_agent.log")
	raylet, _ := Parse("raylet.out")
	own := `2026-12-01 01:00:00,000	INFO web_log.py:233 -- 10.0.0.1 [01/Dec/2026:01:00:00 +0000] "GET /logs/raylet.out HTTP/1.1" 206 512 "-" "raytap/1.2.0"`
	if !agent.IsOwnRequest([]byte(own)) || raylet.IsOwnRequest([]byte(own)) {
		t.Error("the request is raytap's, in the agent's log only")
	}
	if agent.IsOwnRequest([]byte(strings.Replace(own, "raytap/1.2.0", "curl/8", 1))) {
		t.Error("the request is curl's")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("serve/replica_shop_Hello_b87g.log.3")
	f.Fuzz(func(t *testing.T, name string) {
		file, ok := Parse(name)
		if !ok {
			return
		}
		if again, ok := Parse(file.Name); !ok || again.Name != file.Name || again.Generation != 0 || strings.Count(name, "/") > 1 || strings.HasPrefix(name, ".") {
			t.Errorf("%q is the log %q", name, file.Name)
		}
	})
}
