package shipper

import (
	"raytap/ray"
	"raytap/shipper/record"
)

// newEncoder returns an encoder of a run's records.
func newEncoder(o *Options, session string, j ray.Job) *record.Encoder {
	metadata := map[string]string{}
	for _, key := range o.Metadata {
		if v, ok := j.Metadata[key]; ok {
			metadata[key] = v
		}
	}
	return record.NewEncoder(record.Options{
		Cluster: o.Cluster, Session: session, SubmissionID: j.SubmissionID, JobID: j.JobID, JobName: j.Name(),
		Labels: o.Labels, Metadata: metadata,
		LineTime: o.Shaping.LineTime, Location: o.Shaping.Location, StripANSI: o.Shaping.StripANSI,
	})
}
