package logthrottle

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
)

func TestCondition(t *testing.T) {
	refused, denied := errors.New("refused"), errors.New("denied")
	const second = time.Second
	type step struct {
		at  time.Duration
		err error // nil: recovered
	}
	every := func(d, until time.Duration, err error) (out []step) {
		for at := time.Duration(0); at <= until; at += d {
			out = append(out, step{at, err})
		}
		return out
	}
	for name, tt := range map[string]struct {
		steps []step
		want  []string
	}{
		"no failure": {[]step{{0, nil}, {second, nil}}, nil},
		"failure and recovery": {
			[]step{{0, refused}, {second, refused}, {3 * second, nil}, {4 * second, nil}},
			[]string{"down: refused", "up 2 3s"},
		},
		"lasting failure": {
			append(every(5*second, 11*time.Minute, refused), step{12 * time.Minute, nil}),
			[]string{"down: refused", "down: refused 61 5m0s", "down: refused 121 10m0s", "up 133 12m0s"},
		},
		"other cause": {
			[]step{{0, refused}, {second, denied}, {10 * second, denied}},
			[]string{"down: refused", "down: denied 3 10s"},
		},
		"comes and goes": {
			[]step{{0, refused}, {second, nil}, {2 * second, refused}, {3 * second, nil}, {4 * second, refused}, {11 * second, refused}, {12 * second, nil}},
			[]string{"down: refused", "up 1 1s", "down: refused 2 7s", "up 2 8s"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, hook := test.NewNullLogger()
				c := &Condition{Log: log}
				start := time.Now()
				for _, s := range tt.steps {
					time.Sleep(s.at - time.Since(start)) // the bubble's clock
					if s.err != nil {
						c.Failed("down", s.err)
					} else {
						c.Recovered("up")
					}
				}
				var got []string
				for _, e := range hook.AllEntries() {
					line := e.Message
					if cause, ok := e.Data["error"]; ok {
						line += fmt.Sprintf(": %v", cause)
					}
					if n, ok := e.Data["failures"]; ok {
						line += fmt.Sprintf(" %v %v", n, e.Data["for"])
					}
					want := logrus.WarnLevel
					if line[:2] == "up" {
						want = logrus.InfoLevel
					}
					if e.Level != want {
						t.Errorf("%q has level %s, want %s", line, e.Level, want)
					}
					got = append(got, line)
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("got %q\nwant %q", got, tt.want)
				}
			})
		})
	}
}
