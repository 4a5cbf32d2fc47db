package parse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// Lines of driver logs of Ray 2.9.3, 2.40.0 and 2.60.0, and lines that only look like them.
func TestParseRelayed(t *testing.T) {
	const advice = " (Ray deduplicates logs by default. Set RAY_DEDUP_LOGS=0 to disable log deduplication, or see " +
		"https://docs.ray.io/en/master/ray-observability/user-guides/configure-logging.html#log-deduplication for more options.)"
	long := strings.Repeat("Model(layers=[1, 2])", 500)
	for line, want := range map[string]string{
		"\x1b[36m(f pid=16469)\x1b[0m step 1":                                       "f|16469||0|step 1",
		"\x1b[36m(f pid=12834, ip=127.0.0.3)\x1b[0m step 1":                         "f|12834|127.0.0.3|0|step 1",
		"(f pid=12834, ip=fd00::3) step 1":                                          "f|12834|fd00::3|0|step 1",
		"(R(rank=3) pid=7) x":                                                       "R(rank=3)|7||0|x",
		"(a pid=1) and (b pid=2) x":                                                 "a|1||0|and (b pid=2) x",
		"(pid=77) a worker without a name":                                          "|77||0|a worker without a name",
		"(Trainer with pid=3 in its text pid=77) x":                                 "Trainer with pid=3 in its text|77||0|x",
		"(" + long + " pid=77, ip=10.0.0.1) x":                                      long + "|77|10.0.0.1|0|x",
		"(train pid=None) x":                                                        "train|0||0|x",
		"\x1b[33m(raylet)\x1b[0m Warning: x":                                        "raylet|0||0|Warning: x",
		"(raylet, ip=10.0.0.1) x":                                                   "raylet|0|10.0.0.1|0|x",
		"\x1b[36m(autoscaler +1m2s)\x1b[0m Resized to 4 CPUs.":                      "autoscaler|0||0|Resized to 4 CPUs.",
		"(autoscaler +3h5s, ip=10.0.0.1) x":                                         "autoscaler|0|10.0.0.1|0|x",
		"\x1b[36m(pid=gcs_server, ip=10.0.0.1)\x1b[0m x":                            "gcs_server|0|10.0.0.1|0|x",
		"\x1b[36m(f pid=1)\x1b[0m same\x1b[32m [repeated 9x across cluster]\x1b[0m": "f|1||9|same\x1b[32m [repeated 9x across cluster]\x1b[0m",
		"\x1b[36m(f pid=1)\x1b[0m same\x1b[32m [repeated 183x across cluster]" + advice + "\x1b[0m": "f|1||183|same\x1b[32m [repeated 183x across cluster]" + advice + "\x1b[0m",
		"(f pid=1) same [repeated 2x across cluster]" + advice:                                      "f|1||2|same [repeated 2x across cluster]" + advice,
		"a job without prefixes\x1b[32m [repeated 3x across cluster]\x1b[0m":                        "|0||3|a job without prefixes\x1b[32m [repeated 3x across cluster]\x1b[0m",
		"(f pid=1) ":            "f|1||0|",
		"(f pid=1)":             "",
		"(f pid=) x":            "",
		"(f pid=x) y":           "",
		"(f pid=007x) y":        "",
		"(f pid=99999999999) y": "",
		"(pid=abc) y":           "",
		"f (pid=1) x":           "",
		"(fpid=1) x":            "",
		"(raylet is down) x":    "",
		"(autoscaler) x":        "",
		"(1, 2) a tuple":        "",
		"(" + strings.Repeat("x", 20<<10) + " pid=1) x": "",
		"[repeated 3x across cluster] in the text":      "",
		"x [repeated 3x across the cluster]":            "",
		"x [repeated x across cluster]":                 "",
		"plain":                                         "", "": "", "(": "", "\x1b": "", "\x1b[36m": "", "\x1b[36m(": "",
	} {
		r, ok := ParseRelayed([]byte(line))
		got := ""
		if ok {
			got = fmt.Sprintf("%s|%d|%s|%d|%s", r.Name, r.PID, r.NodeIP, r.Repeated, line[r.Text:])
		}
		if got != want {
			t.Errorf("%.300q\ngot  %.300q\nwant %.300q", line, got, want)
		}
	}
}

// Of the recorded driver logs, exactly the lines that Ray relayed are recognised.
func TestParseRelayed_Recorded(t *testing.T) {
	var files []struct{ File, Text string }
	if err := json.Unmarshal(recorded(t, "node_logs_lines.json"), &files); err != nil {
		t.Fatal(err)
	}
	relayed := 0
	for _, f := range files {
		driver := strings.Contains(f.File, "job-driver")
		for line := range strings.Lines(f.Text) {
			r, ok := ParseRelayed([]byte(strings.TrimSuffix(line, "\n")))
			if want := driver && strings.HasPrefix(line, "\x1b[3"); ok != want {
				t.Errorf("%s: %q: relayed %t, want %t", f.File, line, ok, want)
			}
			if ok {
				relayed++
				if (r.PID == 0) != (string(r.Name) == "raylet") || len(r.Name) == 0 || (r.Repeated > 0) != strings.Contains(line, "x across cluster]") {
					t.Errorf("%q: %+v", line, r)
				}
			}
		}
	}
	if relayed < 10 {
		t.Errorf("only %d relayed lines", relayed)
	}
}

// A prefix is exactly what Ray writes from its parts, so nothing of the line is taken for it.
func FuzzParseRelayed(f *testing.F) {
	for _, s := range []string{"\x1b[36m(f pid=16469)\x1b[0m x\x1b[32m [repeated 9x across cluster]\x1b[0m", "(raylet, ip=1.2.3.4) x", "(autoscaler +1m2s) x", "(a pid=1 pid=2) x", "(pid=pid=1) "} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, ok := ParseRelayed(line)
		if n := WorkerPrefixLen(line); n != r.Text {
			t.Fatalf("%q: the prefix has %d bytes, WorkerPrefixLen returns %d", line, r.Text, n)
		}
		switch {
		case !ok && (r.Text != 0 || r.Repeated != 0):
			t.Fatalf("%q: nothing found, and %+v", line, r)
		case r.Repeated > 0 && !bytes.Contains(line[r.Text:], fmt.Appendf(nil, "%dx across cluster]", r.Repeated)) && !bytes.Contains(line, []byte(" [repeated 0")):
			t.Fatalf("%q: repeated %d times", line, r.Repeated)
		case r.Text == 0:
			return
		}
		prefix := line[colourLen(line):r.Text]
		prefix = bytes.TrimSuffix(prefix, []byte(" "))
		end := bytes.LastIndexByte(prefix, ')')
		if end < 0 || colourLen(prefix[end+1:]) != len(prefix)-end-1 {
			t.Fatalf("%q ends with something else", prefix)
		}
		inner := string(prefix[1:end])
		if len(r.NodeIP) > 0 {
			inner = strings.TrimSuffix(inner, ", ip="+string(r.NodeIP))
		}
		inner = strings.TrimSuffix(inner, ", ip=")
		if r.PID > 0 {
			head, digits, found := cutLast(inner, "pid=")
			if !found || strings.TrimLeft(digits, "0") != fmt.Sprint(r.PID) || head != string(r.Name)+" " && (head != "" || len(r.Name) > 0) {
				t.Fatalf("%q: %+v", line, r)
			}
		} else if !strings.Contains(inner, string(r.Name)) {
			t.Fatalf("%q: %+v", line, r)
		}
	})
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
