package tail

import (
	"strings"
	"testing"

	"raytap/shipper/checkpoint"

	"raytap/lines"
	"raytap/ray"
)

func TestWhatIsDroppedIsNotCountedAsSkipped(t *testing.T) {
	p := &pipeline{log: &checkpoint.Log{State: checkpoint.State{Skipped: 2}}, skipped: 5} // three lines behind the position
	p.drop()
	if p.skipped != 2 {
		t.Errorf("%d lines skipped, and three of them are read again", p.skipped)
	}
}
func TestPipeline_Metadata(t *testing.T) {
	cl := testCluster(t, Options{Cluster: "prod", Record: RecordOptions{Metadata: []string{"owner", "absent"}}})
	j := newJob(cl, "session_1", ray.Job{SubmissionID: "raysubmit_1", Metadata: map[string]string{"owner": "a", "other": "b", "job_name": "train"}})
	p := &pipeline{cl: cl, job: j, log: &checkpoint.Log{}}
	p.setEncoder()
	got := string(p.enc.AppendLine(nil, 1e18, lines.Line{Text: []byte("x"), Size: 1}, 0))
	if !strings.Contains(got, `"job_name":"train"`) || !strings.HasSuffix(got, `,"metadata":{"owner":"a"}}`+"\n") {
		t.Errorf("got %s, want the configured metadata keys", got)
	}
}
