//go:build e2e && linux

package test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"raytap/test/realray"
)

// raytap ships what a job's children print after its end, and what Ray writes to the log
// of a job that never ran.
func TestShipper_LinesAfterEnd(t *testing.T) {
	t.Parallel()
	head := sharedHead(t)
	d := startDaemon(t, head, settings{})
	ctx := within(t, 3*time.Minute)
	metadata := map[string]string{"test": t.Name()}
	late, err := head.Submit(ctx, realray.Submission{Entrypoint: "bash -c '(sleep 12; echo late) & echo early'", Metadata: metadata})
	if err != nil {
		t.Fatal(err)
	}
	var res struct {
		ID string `json:"submission_id"`
	}
	err = head.Do(ctx, http.MethodPost, "/api/jobs/", map[string]any{
		"entrypoint": "echo never", "metadata": metadata,
		"runtime_env": map[string]any{"working_dir": "gcs://_ray_pkg_0123456789abcdef.zip"},
	}, &res)
	if err != nil {
		t.Fatal(err)
	}
	never := res.ID
	eventually(t, 2*time.Minute, "both logs have their last end event", func() error {
		got, _ := d.shipped(t)
		if a, b := events(got[late]), events(got[never]); a != "start end reopened end" || b != "start end" {
			return fmt.Errorf("events %q and %q", a, b)
		}
		return nil
	})
	got, _ := d.shipped(t)
	if text := texts(got[late]); !strings.HasSuffix(text, "\nearly\nlate\n") {
		t.Errorf("lines of the job with a child:\n%s", text)
	}
	text, end := texts(got[never]), got[never][len(got[never])-1]
	if !strings.Contains(text, "Failed to download runtime_env file package") || end.Status != "FAILED" || !*end.Complete ||
		*end.Lines != strings.Count(text, "\n") || end.ErrorType != "RUNTIME_ENV_SETUP_FAILURE" ||
		!strings.Contains(end.StatusMessage, "Failed to download") {
		t.Errorf("end event %+v; lines of the job that never ran:\n%s", end, text)
	}
}

func events(records []record) string {
	var all []string
	for _, r := range records {
		if r.Event != "" {
			all = append(all, r.Event)
		}
	}
	return strings.Join(all, " ")
}

// texts returns the lines among the records, Ray's headers first.
func texts(records []record) string {
	var b strings.Builder
	for _, r := range headersFirst(slices.DeleteFunc(slices.Clone(records), func(r record) bool { return r.Event != "" })) {
		b.WriteString(*r.Message + "\n")
	}
	return b.String()
}
