package aggregate

import (
	"strings"
	"testing"

	"raytap/lines/linestest"
)

const plainTrace = "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    f()\n    ~^^\nValueError: no"

func TestAggregator_Tracebacks(t *testing.T) {
	group := "  + Exception Group Traceback (most recent call last):\n  |   File \"a.py\", line 1, in <module>\n  |     raise\n  | ExceptionGroup: two (2 sub-exceptions)\n" +
		"  +-+---------------- 1 ----------------\n    | ValueError: 1\n    +---------------- 2 ----------------\n    | TypeError: 2\n    +------------------------------------"
	chain := plainTrace + "\n\nDuring handling of the above exception, another exception occurred:\n\n" + plainTrace
	cause := plainTrace + "\n\nThe above exception was the direct cause of the following exception:\n\n" + group
	task := "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    ray.get(x)\n" +
		"ray.exceptions.RayTaskError(ValueError): \x1b[36mray::f()\x1b[39m (pid=7, ip=10.0.0.1)\n  File \"a.py\", line 2, in f\n    raise\nValueError: no"
	coloured := "Traceback (most recent call last):\n  File \x1b[35m\"a.py\"\x1b[0m, line 1\n\x1b[1;35mValueError\x1b[0m: \x1b[35mno\x1b[0m"
	worker := "(f pid=7) " + strings.ReplaceAll(plainTrace, "\n", "\n(f pid=7) ")
	tinted := "\x1b[36m(f pid=7, ip=10.0.0.1)\x1b[0m " + strings.ReplaceAll(plainTrace, "\n", "\n\x1b[36m(f pid=7, ip=10.0.0.1)\x1b[0m ")
	for name, text := range map[string]string{
		"traceback": plainTrace, "group": group, "chain": chain, "chain that ends in a group": cause, "task": task,
		"colours": coloured, "worker": worker, "worker, colours": tinted, "actor whose text has parentheses": strings.ReplaceAll(worker, "(f pid", "(R(rank=3) pid"),
		"logger's line with its traceback": "2026-11-24 12:00:00,123 ERROR train: it failed\n" + plainTrace,
		"name without text":                "Traceback (most recent call last):\n  File \"a.py\", line 1\nKeyboardInterrupt",
		"class in a function":              "Traceback (most recent call last):\n  File \"a.py\", line 1\n__main__.f.<locals>.Bad: x",
		"indented lines":                   "a table:\n  one 1\n\ttwo 2",
	} {
		t.Run(name, func(t *testing.T) {
			recs := aggregateAll(t, Options{Multiline: true}, 256<<10, "before\n"+text+"\nstep 5 done\n", 0)
			if len(recs) != 3 || recs[1].text != text || recs[1].lines != len(linestest.Lines([]byte(text))) {
				t.Errorf("records %q", texts(recs))
			}
		})
	}
}

func TestAggregator_OtherLines(t *testing.T) {
	for name, text := range map[string]string{
		"lines":                            "one\ntwo",
		"traceback after an INFO line":     "INFO fine\nTraceback (most recent call last):",
		"text in a traceback":              "Traceback (most recent call last):\nstep 5 done",
		"indented progress bar":            "epoch 1\n  0%|          | 0/10",
		"line after a CR":                  "epoch 1\n\r  working",
		"line of another worker":           "(f pid=7) one\n(f pid=8)   two",
		"indented line after an empty one": "one\n\n  two",
		"separator without a traceback":    "one\nDuring handling of the above exception, another exception occurred:",
	} {
		t.Run(name, func(t *testing.T) {
			if recs := aggregateAll(t, Options{Multiline: true}, 256<<10, text, 0); len(recs) != 2 {
				t.Errorf("records %q", texts(recs))
			}
		})
	}
}
