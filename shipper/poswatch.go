package shipper

import "time"

// watchPositions has the output report a positions file that others removed,
// replaced or damaged, and that was written again from memory.
func (o *Output) watchPositions() {
	p := o.positions
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recreated = func(file string, why error) {
		o.opts.Metrics.Recreated.Inc()
		o.opts.Log.WithField("file", file).Errorf("The positions file was not as raytap had left it (%v), and was written again from memory; nothing is lost. "+
			"Find out what removes or changes it: where that comes before a restart, lines are shipped twice or not at all", why)
	}
}

// Configure tells the names of the clusters that are configured from now on.
// What is remembered of others is kept for the retention, and may be taken over
// by a new name for the same Ray.
func (o *Output) Configure(names []string) { o.positions.configure(names, time.Now()) }
