package parse

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestLevel(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		// Python's logging and what is built on it.
		{"WARNING:root:low on disk", "WARNING"},
		{"ERROR:my.module:failed", "ERROR"},
		{"INFO:     Started server process [77]", "INFO"},
		{"2026-11-24 12:00:00,123 - INFO - started", "INFO"},
		{"2026-11-24 12:00:00,123 - my.module - WARNING - low", "WARNING"},
		{"2026-11-24 12:00:00,123 [ERROR] my.module: failed", "ERROR"},
		{"2026-11-24 12:00:00,123 DEBUG my.module failed", "DEBUG"},
		{"2026-11-24 12:00:00.123 77 INFO my.module [-] x", "INFO"},
		{"2026-11-24T12:00:00.123Z INFO x", "INFO"},
		{"2026-11-24T12:00:00+00:00 CRITICAL x", "CRITICAL"},
		{"12:00:00 ERROR x", "ERROR"},
		{"[12:00:00] INFO     x", "INFO"},
		{"2026-11-24 12:00:00.123 | INFO     | mod:func:12 - x", "INFO"},
		{"2026-11-24 12:00:00.123 | WARNING | mod:func:12 - x", "WARNING"},
		{"[INFO] x", "INFO"},
		{"[ WARN ] x", "WARNING"},
		{"[2026-11-24 12:00:00,123][root][INFO] - x", "INFO"},
		{"[ERROR/MainProcess] x", "ERROR"},
		{"[INFO|trainer.py:402] 2026-11-24 12:00:00,123 >> x", ""},
		{"train.py:12: ERROR: x", "ERROR"},
		{"2026-11-24 12:00:00 [main] INFO com.example.Main - x", "INFO"},
		{"FATAL: x", "CRITICAL"},
		{"TRACE x", "DEBUG"},
		{"NOTICE: x", "INFO"},
		{"  ERROR x", "ERROR"},
		{"ERROR", "ERROR"},
		{"INFO 11-24 12:00:00 [core.py:58] x", "INFO"},

		// Ray.
		{"2026-11-24 15:08:53,123\tINFO job_manager.py:581 -- Runtime env is setting up.", "INFO"},
		{"2026-11-24 15:08:53,123\tWARNING worker.py:1842 -- x", "WARNING"},
		{"INFO 2026-11-24 15:08:53,123 controller 77 -- x", "INFO"},
		{"[2026-11-24 12:00:00,123 I 77 77] core_worker.cc:1: x", "INFO"},
		{"[2026-11-24 12:00:00,123 E 7011 7025] (raylet) x.cc:1: x", "ERROR"},
		{"[2026-11-24 12:00:00,123 C 7011 7025] x.cc:1: x", "CRITICAL"},
		{"(train pid=77) WARNING:root:x", "WARNING"},
		{"(R(rank=3) pid=77) WARNING:root:x", "WARNING"},
		{"(Model(" + strings.Repeat("x", 1000) + ") pid=77) WARNING:root:x", "WARNING"},
		{"\x1b[36m(train pid=77, ip=10.0.0.10)\x1b[0m 2026-11-24 12:00:00,123\tERROR x.py:1 -- x", "ERROR"},
		{"(raylet) [2026-11-24 12:00:00,123 W 77 77] x.cc:1: x", "WARNING"},
		{"(RayTrainWorker pid=77) [rank0]:[W1124 12:00:00.1 socket.cpp:1] x", "WARNING"},

		// Letters, and colours.
		{"I1124 12:00:00.000000   77 x.cc:1] x", "INFO"},
		{"E20261124 12:00:00.000000 77 x.cc:1] x", "ERROR"},
		{"F1124 12:00:00.000 x", "CRITICAL"},
		{"[I 2026-11-24 12:00:00,123] A new study created", "INFO"},
		{"[W 241124 12:00:00 web:1] 404", "WARNING"},
		{"\x1b[32mINFO\x1b[0m:     Started server process", "INFO"},
		{"2026-11-24 12:00:00.123 | \x1b[31m\x1b[1mERROR   \x1b[0m | mod - x", "ERROR"},
		{"[\x1b[33mWARN\x1b[0m] x", "WARNING"},

		// logfmt and JSON.
		{`level=info msg="x"`, "INFO"},
		{`time="2026-11-24T12:00:00Z" level=warning msg=x`, "WARNING"},
		{`ts=2026-11-24T12:00:00Z caller=main.go:1 level="error" msg=x`, "ERROR"},
		{`t=1 lvl=dbug msg=x`, ""},
		{`ts=1 lvl=warn msg=x`, "WARNING"},
		{`{"level":"info","msg":"x"}`, "INFO"},
		{`{"asctime":"2026-11-24 12:00:00,123","levelname":"ERROR","message":"x"}`, "ERROR"},
		{`{"severity": "WARNING", "message": "x"}`, "WARNING"},
		{`{"@timestamp":"x","log.level": "debug"}`, "DEBUG"},
		{`{"ts":1,"lvl":"err"}`, "ERROR"},
		{`{"message":"` + strings.Repeat("x", 300) + `","level":"fatal"}`, "CRITICAL"},
		{`{"message":"a \"level\":\"error\" b","x":1}`, ""},
		{`{"sort":"level","order":"error"}`, ""},
		{`{"level":30,"msg":"x"}`, ""},
		{`{"level":"informal"}`, ""},

		// Prose, data and code.
		{"", ""},
		{"x", ""},
		{"the ERROR budget is spent", ""},
		{"we found 5 ERROR lines", ""},
		{"5 ERROR lines", ""},
		{"Set the level to DEBUG to see more", ""},
		{"Result: ERROR in 5 of 7", ""},
		{"set level=debug to see more", ""},
		{"ERROR_CODE=5", ""},
		{"DEBUG=1 python train.py", ""},
		{"DEBUGGING x", ""},
		{"MY_INFO x", ""},
		{"INFOrmation", ""},
		{"BASEINFO: x", ""},
		{"info: x", ""},
		{"Error: x", ""},
		{"ValueError: invalid literal", ""},
		{"Traceback (most recent call last):", ""},
		{`  File "train.py", line 5, in <module>`, ""},
		{"a-INFO-b", ""},
		{"state - ERROR -> restart", ""},
		{"results[3] ERROR budget", ""},
		{"I1124 was the flight", ""},
		{"E1124", ""},
		{"[I think] so", ""},
		{"I 2026-11-24 was there", ""},
		{"  5%|#         | 5/100 [00:01<00:19,  4.9it/s]", ""},
		{strings.Repeat(" ", 5*textWindow) + "ERROR: x", ""},
		{strings.Repeat("()", 4*textWindow) + "ERROR: x", ""},
		{strings.Repeat("x ", textWindow/2) + "[ERROR] too late", ""},
	} {
		if got := Level([]byte(c.line)); got != c.want {
			t.Errorf("Level(%q) = %q, want %q", c.line, got, c.want)
		}
	}
}

func TestLevel_Allocations(t *testing.T) {
	lines := levelBenchmarks()
	if n := testing.AllocsPerRun(100, func() {
		for _, line := range lines {
			Level(line)
		}
	}); n != 0 {
		t.Errorf("Level allocates %v times, want 0", n)
	}
}

// Level returns one of five levels or none, and bytes after its window do not change
// the result.
func FuzzLevel(f *testing.F) {
	for _, line := range levelBenchmarks() {
		f.Add(line)
	}
	f.Add([]byte("\x1b[36m(f pid=1)\x1b[0m [rank0]:[W1124 12:00:00.1 x] "))
	f.Add([]byte(`{"level"`))
	f.Add([]byte(`a=b level=`))
	f.Add([]byte("[2026-11-24 12:00:00,123 I 7"))
	f.Fuzz(func(t *testing.T, line []byte) {
		before := bytes.Clone(line)
		got := Level(line)
		if !slices.Contains([]string{"", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}, got) {
			t.Errorf("Level(%q) = %q", line, got)
		}
		if !bytes.Equal(line, before) {
			t.Errorf("Level changed its argument %q to %q", before, line)
		}
		if long := append(bytes.Clone(line), strings.Repeat("z", 2*jsonWindow)...); len(line) > jsonWindow+textWindow {
			if again := Level(long); len(skipPrefix(line)) > jsonWindow && again != got {
				t.Errorf("Level(%q) = %q, but %q after bytes were appended", line, got, again)
			}
		}
	})
}

func levelBenchmarks() map[string][]byte {
	return map[string][]byte{
		"plain":    []byte(strings.Repeat("step 17 of 100, loss 0.1234 and lr 0.00001 on worker seven; ", 4)[:200]),
		"caps":     []byte(strings.Repeat("GPU MEMORY USED 17 GiB OF 80 GiB BY NCCL AND CUDA GRAPHS; ", 4)[:200]),
		"ray":      []byte("2026-11-24 15:08:53,123\tINFO job_manager.py:581 -- " + strings.Repeat("x", 150)),
		"prefixed": []byte("\x1b[36m(train pid=77, ip=10.0.0.10)\x1b[0m " + strings.Repeat("step 17 of 100; ", 10)),
		"logfmt":   []byte(`time="2026-11-24T12:00:00Z" level=info msg="` + strings.Repeat("x", 150) + `"`),
		"json":     []byte(`{"asctime":"2026-11-24 12:00:00,123","levelname":"INFO","message":"` + strings.Repeat("x", 130) + `"}`),
	}
}

func BenchmarkLevel(b *testing.B) {
	for name, line := range levelBenchmarks() {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Level(line)
			}
		})
	}
}
