package shipper

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/shipper/tail"
	"raytap/shipper/writer"
)

func TestOutage_DashboardDown(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		r := newHarness(t, head, agents, fastOptions(protocol), writer.Options{})
		var jobs []*raytest.Job
		for i := range 3 {
			jobs = append(jobs, head.Submit(fmt.Sprintf("job-%d", i), raytest.JobOptions{}))
		}
		for round := range 3 {
			for _, j := range jobs {
				j.Printf("before outage %d\n", round)
			}
			r.until("the lines are shipped", func() bool {
				recs := r.records(jobs[0].ID)
				return len(recs) > 0 && strings.HasSuffix(recs[len(recs)-1].Message, fmt.Sprint("outage ", round))
			})
			if round == 2 {
				break
			}
			head.Down()
			<-time.After(100 * time.Millisecond) // many attempts
			if err := head.Up(); err != nil {
				t.Fatal(err)
			}
		}
		for _, j := range jobs {
			log := j.Log()
			j.End("SUCCEEDED", 0)
			r.waitEnd(j.ID)
			r.checkLines(j.ID, log)
		}
	})
}

// A stop, or a lost log, does not end an outage: nothing was read again.
func TestOutage_StopIsNotRecovery(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	r := newHarness(t, head, "on", fastOptions(tail.ProtocolAuto), writer.Options{})
	head.Submit("job-1", raytest.JobOptions{}).Print("a line\n")
	r.until("its first line is shipped", func() bool { return len(r.events("job-1", "")) == headLines+1 })
	head.Down()
	head.Nodes()[0].AgentDown()
	r.until("a read failed", func() bool { return strings.Contains(r.logText(), "Log read over node_agent failed") })
	r.stop()
	if strings.Contains(r.logText(), "reads recovered") {
		t.Error("the log reports a recovery")
	}
}
