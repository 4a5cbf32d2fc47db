package cli

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"raytap/ray"
	"raytap/ray/raytest"
)

// collected returns the files below a directory.
func collected(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(rel)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// untar returns the files of an archive.
func untar(t *testing.T, name string) map[string]string {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	zip, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(zip); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil || header.ModTime.Year() < 2020 {
			t.Fatalf("%s: %v, %v", header.Name, header.ModTime, err)
		}
		files[header.Name] = string(b)
	}
}

func TestLogs_Collect(t *testing.T) {
	l, node := newLogConsole(t)
	at := node.ID[:12]
	for _, to := range []string{"logs", "logs.tar.gz"} {
		path := filepath.Join(t.TempDir(), to)
		stderr, err := l.run(t.Context(), io.Discard, "logs", "collect", "--worker", "aa", "--to", path)
		if want := "raytap: 4 files, 18B, in " + path + "\n"; err != nil || stderr != want {
			t.Errorf("%s: %v, %q, want %q", to, err, stderr, want)
		}
		get := untar
		if to == "logs" {
			get = collected
		}
		prefix := at + "/worker-" + logWorker + "-ffffffff-7."
		want := map[string]string{prefix + "out": "three\nfour", prefix + "out.1": "two\n", prefix + "out.2": "one\n", prefix + "err": ""}
		if got := get(t, path); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %q, want %q", to, got, want)
		}
		if _, err := l.run(t.Context(), io.Discard, "logs", "collect", "--worker", "aa", "--to", path); err == nil {
			t.Errorf("%s was overwritten", to)
		}
		entries, err := os.ReadDir(filepath.Dir(path))
		if err != nil || len(entries) != 1 {
			t.Errorf("%s: left over %v, %v", to, entries, err)
		}
	}
	var usage *UsageError
	if _, err := l.run(t.Context(), io.Discard, "logs", "collect", "--to", filepath.Join(t.TempDir(), "x")); !errors.As(err, &usage) {
		t.Errorf("without a selection: %v", err)
	}
}

// TestLogs_CollectIncomplete: whatever fails, the rest is collected, and the command
// says what is missing.
func TestLogs_CollectIncomplete(t *testing.T) {
	for name, tt := range map[string]struct {
		fault   func(*raytest.Head, *raytest.Node)
		stderr  string
		content string // of raylet.out in an archive
	}{
		"a file that is gone": {func(h *raytest.Head, _ *raytest.Node) {
			h.Inject(raytest.Fault{Endpoint: raytest.EndpointNodeAgent, Job: "raylet.out", Action: raytest.Respond, Status: 404, Body: "404: Not Found"})
		}, "raytap:   raylet.out of node 000000000000: read log from node agent: 404", ""},
		"a response that ends early": {func(h *raytest.Head, _ *raytest.Node) {
			h.Inject(raytest.Fault{Endpoint: raytest.EndpointNodeAgent, Job: "raylet.out", Action: raytest.CutClose, AfterBytes: 5})
		}, "raytap:   raylet.out of node 000000000000: only 5B of it were read", "line\n" + strings.Repeat("\x00", 100)},
		"an agent that is unreachable": {func(h *raytest.Head, _ *raytest.Node) {
			second, err := h.AddNode("127.0.0.2")
			if err != nil {
				panic(err)
			}
			second.AgentDown()
		}, "raytap:   files of node 000000000000: list log files of node agent: 503 connection refused", strings.Repeat("line\n", 20) + "last\n"},
	} {
		t.Run(name, func(t *testing.T) {
			l, node := newLogConsole(t)
			tt.fault(l.head, node)
			for _, to := range []string{"logs", "logs.tar.gz"} {
				path := filepath.Join(t.TempDir(), to)
				stderr, err := l.run(t.Context(), io.Discard, "logs", "collect", "--source", "system,driver", "--to", path)
				if err == nil || ErrorMessage(err) != "" || !strings.Contains(stderr, tt.stderr) || !strings.Contains(stderr, "missing or incomplete: ") {
					t.Errorf("%s: %v, %s", to, err, stderr)
				}
				if to == "logs" {
					if got := collected(t, path); got[node.ID[:12]+"/job-driver-train-1.log"] != "step 1\nstep 2\n" {
						t.Errorf("%q", got)
					}
					continue
				}
				got := untar(t, path)
				if got[node.ID[:12]+"/raylet.out"] != tt.content || got[node.ID[:12]+"/job-driver-train-1.log"] != "step 1\nstep 2\n" {
					t.Errorf("%q", got)
				}
			}
		})
	}
}

// TestLogs_CollectFirstRotation: a log that was not rotated when it was listed.
func TestLogs_CollectFirstRotation(t *testing.T) {
	l, node := newLogConsole(t)
	to := filepath.Join(t.TempDir(), "logs")
	sel := &logSelection{files: []string{"raylet.out"}}
	err := collectLogs(t.Context(), hooked{l.client(), func(name string) {
		if _, rotated := node.File("raylet.out.1"); !rotated && name == "raylet.out" {
			node.RotateFile("raylet.out", 5)
			node.AppendFile("raylet.out", "new\n")
		}
	}}, sel, to, newScreen("").Console)
	files := collected(t, to)
	if at := node.ID[:12] + "/raylet.out"; err != nil || files[at] != "new\n" || len(files[at+".1"]) != 105 {
		t.Errorf("%v, %q", err, files)
	}
}

// hooked calls before with the name of each file that is read.
type hooked struct {
	nodeLogs
	before func(name string)
}

func (h hooked) LogFile(ctx context.Context, f ray.LogFile, from, to int64) (ray.FilePart, error) {
	h.before(f.Name)
	return h.nodeLogs.LogFile(ctx, f, from, to)
}

// TestLogs_CollectMoves: names that move between the list and the reads hide nothing.
func TestLogs_CollectMoves(t *testing.T) {
	name := "worker-" + logWorker + "-ffffffff-7.out"
	for what, tt := range map[string]struct {
		at   string // the read before which names move
		move func(*raytest.Node)
		want string // the contents, in the order of their names
		code bool   // something is missing
	}{
		"a rotation before the first read": {name, func(n *raytest.Node) { n.RotateFile(name, 5); n.AppendFile(name, "five\n") }, "five\n|three\nfour|two\n|one\n|", false},
		"a rotation between two reads":     {name + ".1", func(n *raytest.Node) { n.RotateFile(name, 5); n.AppendFile(name, "five\n") }, "three\nfour|two\n|one\n|", false},
		"a rotation before the last read":  {name + ".2", func(n *raytest.Node) { n.RotateFile(name, 5); n.AppendFile(name, "five\n") }, "three\nfour|two\n|one\n|", false},
		"a rotation that deletes":          {name + ".2", func(n *raytest.Node) { n.RotateFile(name, 2); n.AppendFile(name, "five\n") }, "three\nfour|two\n|", true},
		"the worker dies":                  {name, func(n *raytest.Node) { n.RenameFile(name, "old/"+name) }, "three\nfour|two\n|one\n|", false},
	} {
		t.Run(what, func(t *testing.T) {
			l, node := newLogConsole(t)
			once := false
			from := hooked{l.client(), func(read string) {
				if read == tt.at && !once {
					once = true
					tt.move(node)
				}
			}}
			to := filepath.Join(t.TempDir(), "logs")
			sel := &logSelection{files: []string{"*.out"}, s: ray.LogSelector{Workers: []string{"aa"}}}
			err := collectLogs(t.Context(), from, sel, to, newScreen("").Console)
			files, got := collected(t, to), ""
			for _, name := range slices.Sorted(maps.Keys(files)) {
				got += files[name] + "|"
			}
			if (err != nil) != tt.code || got != tt.want {
				t.Errorf("%v, %q, want %q", err, got, tt.want)
			}
		})
	}
}

// TestProgress: a terminal gets a line that is rewritten and then removed.
func TestProgress(t *testing.T) {
	l, _ := newLogConsole(t)
	l.width = 60
	stderr, err := l.run(t.Context(), io.Discard, "logs", "collect", "--source", "system,driver", "--to", filepath.Join(t.TempDir(), "x"))
	if err != nil || !strings.HasPrefix(stderr, "\r\x1b[K[....................] 0 of 2 files, 0B  job-driver-train-") || !strings.Contains(stderr, "\r\x1b[Kraytap: 2 files") {
		t.Errorf("%v, %q", err, stderr)
	}
	for _, line := range strings.Split(strings.TrimSuffix(stderr, "\n"), "\r\x1b[K") {
		if !strings.HasPrefix(line, "raytap:") && len([]rune(line)) >= 60 {
			t.Errorf("%q is too long", line)
		}
	}
}

func TestLocalNames(t *testing.T) {
	names := localNames{}
	var got []string
	for _, name := range []string{"raylet.out", "old/raylet.out", "../x", "..", "a/../../b", "/etc/passwd", "", "a\x00\n\u202eb", `a\b:c`, "RAYLET.out", strings.Repeat("é", 200)} {
		got = append(got, names.of("0123", name))
	}
	want := []string{"0123/raylet.out", "0123/old/raylet.out", "0123/___/x", "0123/___", "0123/a/___/___/b", "0123/_/etc/passwd", "0123/_", "0123/a___b", "0123/a_b_c", "0123/RAYLET.out~2", "0123/" + strings.Repeat("é", 100)}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for _, name := range got {
		if !filepath.IsLocal(name) {
			t.Errorf("%q leaves the directory", name)
		}
	}
}
