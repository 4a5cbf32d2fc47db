package collector

import (
	"errors"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/logthrottle"
	"raytap/ray"
)

// This file: what the log says of where the cluster status comes from.

// statusGrace is how long a head may be without a status before that is
// logged: autoscaler v1 writes its first one some seconds after the start.
const statusGrace = time.Minute

var errNoStatus = errors.New("no cluster status: Ray has written none, and there is no report of autoscaler v2 either")

// statusLog logs the version of the autoscaler once, and that there has been no
// status for a while. Safe for concurrent use.
type statusLog struct {
	missing *logthrottle.Condition
	state   *statusState
}

type statusState struct {
	mu      sync.Mutex
	since   time.Time // since when there has been no status; zero: there is one
	version string    // as it was logged
}

func newStatusLog(log logrus.FieldLogger) statusLog {
	return statusLog{missing: &logthrottle.Condition{Log: log}, state: &statusState{}}
}

// note takes a look at a status.
func (l statusLog) note(status ray.ClusterStatus, now time.Time) {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	if status.Usage == nil {
		if l.state.since.IsZero() {
			l.state.since = now
		}
		if now.Sub(l.state.since) >= statusGrace {
			l.missing.Failed("The resources of the cluster and what waits for them are not known", errNoStatus)
		}
		return
	}
	l.state.since = time.Time{}
	l.missing.Recovered("The resources of the cluster are known again")
	if status.Autoscaler == ray.AutoscalerV2 && l.state.version != status.Autoscaler {
		l.missing.Log.Info("The cluster has autoscaler v2: its resources and demand are read from its report in text, memory in use rounded to 0.01 of its unit")
	}
	l.state.version = status.Autoscaler
}
