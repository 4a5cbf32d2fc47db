package writer

import (
	"time"

	"raytap/shipper/slots"
)

// slotsOf gives the slots of a Ray session, which all who read it share,
// whatever they call the cluster.
func (o *Writer) Slots(session string, max int) *slots.Slots {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.slots[session]
	if s == nil {
		for name, old := range o.slots {
			if old.Count() == 0 {
				delete(o.slots, name)
			}
		}
		s = slots.New(max, o.Positions.Slots(session), func(held map[string]int) { o.Positions.SetSlots(session, held) })
		o.slots[session] = s
	}
	return s
}

// watchPositions has the output report a positions file that others removed,
// replaced or damaged, and that was written again from memory.
func (o *Writer) reportRecreated() {
	p := o.Positions
	p.OnRecreated(func(file string, why error) {
		o.Opts.Metrics.Recreated.Inc()
		o.Opts.Log.WithField("file", file).Errorf("The positions file was not as raytap had left it (%v), and was written again from memory; nothing is lost. "+
			"Find out what removes or changes it: where that comes before a restart, lines are shipped twice or not at all", why)
	})
}

// Configure tells the names of the clusters that are configured from now on.
// What is remembered of others is kept for the retention, and may be taken over
// by a new name for the same Ray.
func (o *Writer) Configure(names []string) { o.Positions.Configure(names, time.Now()) }
