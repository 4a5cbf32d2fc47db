package shipper

import (
	"context"
	"time"

	"raytap/ray"
	"raytap/shipper/metrics"
	"raytap/shipper/nodelogs"
	"raytap/shipper/tail"
	"raytap/shipper/writer"
)

// EndDeleted writes what is lost of a cluster that was deleted while no raytap watched it: the
// ends of all logs that were not read to theirs. It does nothing if there are none. It
// returns when the writer has the records, or when ctx ends. A second call would write again what
// the writer has not accepted yet.
func EndDeleted(ctx context.Context, out *writer.Writer, o Options) {
	o = o.withDefaults()
	unfinished := out.Positions.Unfinished(o.ID)
	if len(unfinished)+len(out.Positions.FileSessions(o.ID)) == 0 {
		return
	}
	run, end, ok := out.BeginRun(ctx)
	if !ok {
		return
	}
	defer end()
	leave := out.Metrics().Join(o.Cluster, metrics.LabelValues{}, func(time.Time) metrics.ClusterStats { return metrics.ClusterStats{} })
	defer leave()
	cl := tail.NewCluster(nil, nil, nil, nil, out, o.Options)
	for _, k := range unfinished {
		log := out.Positions.Log(k, ray.Job{})
		tail.New(cl, out.Slots(k.Session, o.MaxTails), k.Session, log.Run, log).Close(run, tail.ErrDeletedAway)
		out.Positions.MarkUnlisted(k, time.Now())
	}
	nodelogs.New(nil, out, o.nodeLogs()).EndSaved(run, tail.ErrDeletedAway)
	if len(unfinished) > 0 && run.Err() == nil {
		o.Log.WithField("logs", len(unfinished)).Warn("The cluster was deleted while raytap was away, the rest of its logs is lost")
	}
}
