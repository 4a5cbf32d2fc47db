package collector

import (
	"errors"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/logthrottle"
	"raytap/ray"
)

// This file: log messages about the source of the cluster status.

// statusGrace is how long a status may be missing before that is logged: autoscaler v1
// writes its first one some seconds after the head's start.
const statusGrace = time.Minute

var errNoStatus = errors.New("no cluster status: neither autoscaler v1 nor v2 reports one")

// statusLog logs autoscaler v2 once, and a status that has been missing for a while. It is
// safe for concurrent use.
type statusLog struct {
	missing *logthrottle.Condition
	state   *statusState
}

type statusState struct {
	mu      sync.Mutex
	since   time.Time // when the status was first missing; zero if there is one
	version string    // of the last status
}

func newStatusLog(log logrus.FieldLogger) statusLog {
	return statusLog{missing: &logthrottle.Condition{Log: log}, state: &statusState{}}
}

// observe logs what has changed with this status.
func (l statusLog) observe(status ray.ClusterStatus, now time.Time) {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	if status.Usage == nil {
		if l.state.since.IsZero() {
			l.state.since = now
		}
		if now.Sub(l.state.since) >= statusGrace {
			l.missing.Failed("Cluster status missing, resources and pending demand are not known", errNoStatus)
		}
		return
	}
	l.state.since = time.Time{}
	l.missing.Recovered("Cluster status recovered")
	if status.Autoscaler == ray.AutoscalerV2 && l.state.version != status.Autoscaler {
		l.missing.Log.Info("Autoscaler v2 detected, its text report rounds memory in use to 0.01 of its unit")
	}
	l.state.version = status.Autoscaler
}
