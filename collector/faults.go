package collector

import (
	"net/http"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/ray"
)

// faultInterval is how often a failure that lasts is logged again.
const faultInterval = time.Minute

// faults logs the failures of one thing: the first one, then one a minute with
// their number, then one line when it is over. Safe for concurrent use.
type faults struct {
	mu     sync.Mutex
	count  int // failures since it last went well
	logged time.Time
}

// note logs err under bad, or good once where err is nil and was not before.
func (f *faults) note(log logrus.FieldLogger, bad, good string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		if f.count > 0 {
			log.WithField("failures", f.count).Info(good)
		}
		f.count = 0
		return
	}
	f.count++
	if now := time.Now(); f.count == 1 || now.Sub(f.logged) >= faultInterval {
		f.logged = now
		log.WithField("failures", f.count).WithError(err).Warn(bad)
	}
}

// cancelled reports whether err says no more than that the scraper went away.
func cancelled(err error) bool { return err != nil && ray.Code(err) == 0 }

// unsupported reports whether the cluster's version cannot do what was asked.
func unsupported(err error) bool { return ray.Code(err) == http.StatusNotImplemented }
