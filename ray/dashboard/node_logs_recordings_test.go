package dashboard

import (
	"html"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"raytap/ray"
)

// nodeLogsRecording is a recording of a real node agent or head (2.60.0).
func nodeLogsRecording(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "raytest", "testdata", "node_logs_"+name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestReadFileIndex_Recordings: every file of a real index is listed, and no directory.
func TestReadFileIndex_Recordings(t *testing.T) {
	text := regexp.MustCompile(`<li><a href="[^"]*">([^<]*)</a></li>`)
	for dir, base := range map[string]string{"root": "/logs/", "old": "/logs/old/", "serve": "/logs/serve/", "events": "/logs/events/"} {
		page := string(nodeLogsRecording(t, "index_"+dir+".html"))
		var want []string
		for _, m := range text.FindAllStringSubmatch(page, -1) {
			if name := html.UnescapeString(m[1]); !strings.HasSuffix(name, "/") {
				want = append(want, name)
			}
		}
		got, err := readFileIndex(strings.NewReader(page), base)
		if err != nil || got == nil || got.Truncated || !slices.Equal(got.Names, want) || len(want) == 0 {
			t.Fatalf("%s: %+v, %v, want %q", dir, got, err, want)
		}
		prefix := strings.TrimPrefix(base, "/logs/")
		for _, name := range got.Names {
			n := ray.ParseLogName(prefix + name)
			switch {
			case strings.HasPrefix(name, "worker-") && (n.Source != ray.LogWorker || len(n.WorkerID) != 56 || n.PID == 0),
				strings.HasPrefix(name, "job-driver-") && (n.Source != ray.LogDriver || n.SubmissionID == ""),
				dir == "serve" && n.Source != ray.LogServe, dir == "events" && n.Source != ray.LogEvent,
				strings.Contains(name, ".out.") && n.Generation == 0:
				t.Errorf("%s: %+v", name, n)
			}
		}
	}
}
