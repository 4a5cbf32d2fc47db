package daemon

import (
	"context"
	"maps"
	"slices"
	"strings"

	"raytap/config"
	"raytap/discovery/kuberay"
	"raytap/shipper"
	"raytap/shipper/record"
)

// RayClusters that were deleted while raytap was away have positions, and nothing else. They
// are distinguished from those that are not found yet: nothing counts as deleted before the first
// complete list of its namespace.

// configurePositions sets which positions are kept: those of the clusters of the last plan, and
// of RayClusters that exist or may exist. It returns the others that Kubernetes says were
// deleted, and that do not run: their names by uid.
func (d *Daemon) configurePositions() (deleted map[string]string) {
	ids := slices.Clone(d.planned)
	deleted = map[string]string{}
	for uid, name := range d.storage.positions.UIDs() {
		switch d.existence(uid, name) {
		case kuberay.NotListed, kuberay.Exists:
			ids = append(ids, uid)
		case kuberay.Deleted:
			deleted[uid] = name
		}
	}
	for _, c := range d.clusters.alive() {
		delete(deleted, c.spec.id())
	}
	for _, id := range d.planned {
		delete(deleted, id)
	}
	d.output.Configure(ids)
	return deleted
}

// existence returns whether a RayCluster exists.
func (d *Daemon) existence(uid, name string) kuberay.Existence {
	if d.rayClusters == nil {
		return kuberay.NotWatched
	}
	namespace, _, _ := strings.Cut(name, "/")
	return d.rayClusters.Existence(namespace, uid)
}

// endDeleted writes what is lost of RayClusters that were deleted while raytap was away, one
// after the other, in a goroutine of its own.
func (d *Daemon) endDeleted(ctx context.Context, deleted map[string]string) {
	if d.ending != nil {
		select {
		case <-d.ending.ended:
		default:
			return // the next call does the rest
		}
	}
	unfinished := d.storage.positions.UnfinishedClusters()
	// What was written may not be accepted yet. If a rollback takes it back, the next start
	// writes it again.
	maps.DeleteFunc(d.endsWritten, func(uid string, _ bool) bool { return !unfinished[uid] })
	var left []shipper.Options
	for uid, name := range deleted {
		if unfinished[uid] && !d.endsWritten[uid] {
			left = append(left, d.optionsOfDeleted(uid, name))
			d.endsWritten[uid] = true
		}
	}
	if d.ending = nil; len(left) == 0 || !d.cfg.Shipper.Enabled {
		return
	}
	d.ending = start(ctx, func(ctx context.Context) error {
		for _, o := range left {
			shipper.EndDeleted(ctx, d.output, o)
		}
		return nil
	})
}

// optionsOfDeleted returns the options of the records of a RayCluster of which only the name is
// known.
func (d *Daemon) optionsOfDeleted(uid, name string) shipper.Options {
	s := spec{cluster: config.Cluster{Name: name, API: config.APIRay}, shipper: d.current.Shipper, uid: uid}
	o := d.shipperOptions(s, d.o.Log.WithField("ray_cluster", name))
	namespace, _, _ := strings.Cut(name, "/")
	labels := &record.Labels{}
	labels.Set(map[string]string{"k8s_namespace": namespace})
	o.Record.ClusterLabels = labels
	return o
}
