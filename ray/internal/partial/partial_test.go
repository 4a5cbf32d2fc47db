package partial

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
)

func TestReporter(t *testing.T) {
	t.Run("logs each kind once a minute", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			logger, hook := test.NewNullLogger()
			r := Reporter{Logger: logger}
			for range 3 {
				r.AddRows("jobs", 2)
				r.AddRows("nodes", 0)
				r.Warn("another kind", logrus.Fields{"detail": "x"})
			}
			if logged := hook.AllEntries(); len(logged) != 2 || logged[0].Data["list"] != "jobs" || logged[0].Data["rows"] != 2 || logged[1].Message != "another kind" {
				t.Errorf("logged: %+v", logged)
			}
			time.Sleep(interval)
			r.AddRows("nodes", 1)
			if logged := hook.AllEntries(); len(logged) != 3 || logged[2].Data["list"] != "nodes" {
				t.Errorf("logged a minute later: %+v", logged)
			}
			if n := r.TotalRows(); n != 7 {
				t.Errorf("counted %d rows, want 7", n)
			}
		})
	})
	t.Run("counts without a logger", func(t *testing.T) {
		var r Reporter
		r.AddRows("jobs", 3)
		r.AddFields("jobs", 2)
		if rows, fields := r.TotalRows(), r.TotalFields(); rows != 3 || fields != 2 {
			t.Errorf("counted %d rows and %d fields, want 3 and 2", rows, fields)
		}
	})
}
