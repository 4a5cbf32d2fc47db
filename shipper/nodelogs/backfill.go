package nodelogs

import (
	"time"

	"raytap/shipper/nodelogs/names"
)

// backfill decides which files of a directory are skipped: those that existed when it was
// first seen and whose workers are not alive. It waits until a list of the workers is
// certain to have them. Its directory's lock guards it.
type backfill struct {
	since      time.Time // when the directory was first seen; zero: not yet
	candidates map[uint64]*listedLog
}

// decided reports whether all that the directory will show is shipped.
func (b *backfill) decided(d *directory) bool { return d.stored.Decided() }

// admits reports whether a log that is new to the directory is read now. It keeps those
// that the backfill may leave out.
func (b *backfill) admits(d *directory, hash uint64, log *listedLog) bool {
	if log.Kind != names.KindWorker || b.decided(d) {
		return true
	}
	if b.candidates == nil {
		b.candidates = map[uint64]*listedLog{}
	}
	first := d.count <= 1 // later ones did not exist when the directory was first seen
	if !first && b.candidates[hash] == nil {
		return true
	}
	b.candidates[hash] = log
	return false
}

// decideBackfill reads the candidates that are not skipped. The caller holds d.mu.
func (d *directory) decideBackfill(now time.Time) {
	b := &d.backfill
	if b.decided(d) || d.count == 0 || !d.s.c.hasSource(names.KindWorker) {
		return
	}
	if b.since.IsZero() {
		b.since = now
	}
	mode := d.s.c.opts.Backfill
	if !d.s.files.IsFirst(d.stored.ID()) {
		mode = BackfillAll // all of its files are newer
	}
	waited := now.Sub(b.since)
	certain := mode != BackfillRunning || waited >= decideAfter && d.s.knowsWorkers(d.nodes()) || waited >= decideBy
	var skipped []uint64
	for hash, log := range b.candidates {
		_, alive := d.s.liveWorker(log.ID)
		switch {
		case mode == BackfillAll, mode == BackfillRunning && alive:
			delete(b.candidates, hash)
			if e := d.add(hash, log.Name, log.Log(d.stored.ID()), now); e != nil {
				e.generations = uint8(min(log.generations, 255))
			}
		case certain:
			skipped = append(skipped, hash)
		}
	}
	if !certain {
		return
	}
	if len(skipped) > 0 {
		d.log.WithField("files", len(skipped)).Info("Logs of workers that had ended before are not shipped")
	}
	b.candidates = nil
	d.stored.Decide(skipped)
}

// nodes returns the nodes that serve the directory. The caller holds d.mu.
func (d *directory) nodes() []string {
	ids := make([]string, len(d.routes))
	for i, r := range d.routes {
		ids[i] = r.node
	}
	return ids
}
