package shipper

import (
	"strings"
	"testing"

	"raytap/lines"
	"raytap/ray"
)

func TestNewEncoder_Metadata(t *testing.T) {
	o := Options{Cluster: "prod", Metadata: []string{"owner", "absent"}}
	e := newEncoder(&o, "session_1", ray.Job{SubmissionID: "raysubmit_1", Metadata: map[string]string{"owner": "a", "other": "b", "job_name": "train"}})
	got := string(e.AppendLine(nil, 1e18, lines.Line{Text: []byte("x"), Size: 1}, 0))
	if !strings.Contains(got, `"job_name":"train"`) || !strings.HasSuffix(got, `,"metadata":{"owner":"a"}}`+"\n") {
		t.Errorf("got %s, want the configured metadata keys", got)
	}
}
