package leftout

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
)

func TestEachKindIsToldOnceAMinuteAndEveryRowCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, hook := test.NewNullLogger()
		l := Log{To: logger}
		for range 3 {
			l.Rows("jobs", 2)
			l.Rows("nodes", 0)
			l.Warn("another kind", logrus.Fields{"detail": "x"})
		}
		if told := hook.AllEntries(); len(told) != 2 || told[0].Data["list"] != "jobs" || told[0].Data["rows"] != 2 || told[1].Message != "another kind" {
			t.Errorf("it was told: %+v", told)
		}
		time.Sleep(every)
		l.Rows("nodes", 1)
		if told := hook.AllEntries(); len(told) != 3 || told[2].Data["list"] != "nodes" {
			t.Errorf("a minute later it was told: %+v", told)
		}
		if n := l.AllRows(); n != 7 {
			t.Errorf("%d rows are counted, want 7", n)
		}
	})
}

func TestRowsAreCountedWhereNobodyListens(t *testing.T) {
	var l Log
	l.Rows("jobs", 3)
	if n := l.AllRows(); n != 3 {
		t.Errorf("%d rows are counted, want 3", n)
	}
}
