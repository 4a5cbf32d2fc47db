package shipper

import (
	"testing"

	"raytap/ray"
)

// Names are not paths: * in a pattern also matches /, so that exclude
// excludes what it names.
func TestSelector_MatchesSlash(t *testing.T) {
	job := ray.Job{SubmissionID: "team/1", Metadata: map[string]string{"job_name": "secret-team/llm-7b", "path": "s3://bucket/key"}}
	for name, row := range map[string]struct {
		o    Options
		want bool
	}{
		"excluded by name":                   {Options{Exclude: []Selector{{JobName: "secret-*"}}}, false},
		"excluded by metadata":               {Options{Exclude: []Selector{{Metadata: map[string]string{"path": "s3://*"}}}}, false},
		"included by *":                      {Options{Include: []Selector{{JobName: "*"}}}, true},
		"included by submission id":          {Options{Include: []Selector{{SubmissionID: "team*"}}}, true},
		"not included by a part of the name": {Options{Include: []Selector{{JobName: "secret-team"}}}, false},
	} {
		if got := row.o.selects(job); got != row.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
