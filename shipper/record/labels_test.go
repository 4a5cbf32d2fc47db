package record

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"raytap/lines"
)

// A record has the labels that are set when it is encoded, next to those of its log, and is
// found again whatever they are.
func TestLabels_Change(t *testing.T) {
	l := &Labels{}
	e := NewEncoder(Options{
		Cluster: "ray/prod", Session: "s", SubmissionID: "job", Labels: map[string]string{"env": "test"},
		Metadata: map[string]string{"owner": "a"}, ClusterLabels: l,
	})
	for i, tt := range []struct {
		set  map[string]string
		want string
	}{
		{nil, `"message":"x","env":"test","metadata":{"owner":"a"}}`},
		{map[string]string{"team": "vision", "k8s_namespace": "ray", "owner_kind": ""}, `"message":"x","k8s_namespace":"ray","team":"vision","env":"test","metadata":{"owner":"a"}}`},
		{map[string]string{"team": `"},{"event":"end`}, `"message":"x","team":"\"},{\"event\":\"end","env":"test","metadata":{"owner":"a"}}`},
		{map[string]string{}, `"message":"x","env":"test","metadata":{"owner":"a"}}`},
	} {
		if tt.set != nil {
			l.Set(tt.set)
		}
		line := string(e.AppendLine(nil, int64(i+1), lines.Line{Seq: uint64(i), Text: []byte("x")}, 0))
		event := string(e.AppendEvent(nil, int64(i+1), Event{Type: EventStart, Seq: uint64(i), Message: "x"}))
		for _, got := range []string{line, event} {
			if !strings.HasSuffix(got, tt.want+"\n") || !json.Valid([]byte(got)) {
				t.Errorf("with %v: got %s, want …%s", tt.set, got, tt.want)
			}
			if d, err := Decode([]byte(got)); err != nil || d.Seq != uint64(i) || d.SubmissionID != "job" {
				t.Errorf("with %v: decoded %+v, %v", tt.set, d, err)
			}
		}
	}
}

func TestLabels_Concurrent(_ *testing.T) {
	l := &Labels{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			e := NewEncoder(Options{Cluster: "c", ClusterLabels: l})
			for i := range 100 {
				l.Set(map[string]string{"team": "a"})
				e.AppendLine(nil, int64(i), lines.Line{Text: []byte("x")}, 0)
			}
		})
	}
	wg.Wait()
}
