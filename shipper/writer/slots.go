package writer

import (
	"time"

	"github.com/sirupsen/logrus"

	"raytap/shipper/slots"
)

// Slots returns the stream slots of a Ray session. All clusters that are configured for
// the session share them.
func (w *Writer) Slots(session string, max int) *slots.Slots {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.slots[session]
	if s == nil {
		for name, old := range w.slots {
			if old.Count() == 0 {
				delete(w.slots, name)
			}
		}
		s = slots.New(max, w.Positions.Slots(session), func(held map[string]int) { w.Positions.SetSlots(session, held) })
		w.slots[session] = s
	}
	return s
}

// reportRecreated makes the writer count and log when the positions file was written again
// from memory.
func (w *Writer) reportRecreated() {
	w.Positions.OnRecreated(func(file string, why error) {
		w.opts.Metrics.Recreated.Inc()
		w.opts.Log.WithFields(logrus.Fields{
			"file": file, "reason": why.Error(),
			"hint": "find out what removes or changes it: if that happens before a restart, lines are shipped twice or not at all",
		}).Error("Positions file was changed by another program, and was written again from memory (no data lost)")
	})
}

// Configure sets the ids of the clusters that are watched; see checkpoint.Store.
func (w *Writer) Configure(ids []string) { w.Positions.Configure(ids, time.Now()) }

// Expire removes old positions, and counts them.
func (w *Writer) Expire(now time.Time) {
	if n := w.Positions.Expire(now); n > 0 {
		w.opts.Metrics.Expired.Add(float64(n))
	}
}
