package shipper

import (
	"strings"
	"testing"

	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/ray/raytest"
	"raytap/shipper/record"
)

// A window that ends within a line has one line end less than the requested number of
// lines. It is still not the whole log.
func TestTransport_WindowEndsWithinLine(t *testing.T) {
	head := raytest.New(t)
	r := newHarness(t, head, "off", fastOptions(tail.ProtocolHTTP), writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{})
	for i := range smallLog / 100 {
		job.Printf("%d %s\n", i, strings.Repeat("x", 110))
	}
	r.until("the log is larger than one that is read again", func() bool {
		recs := r.records("job-1")
		return len(recs) > smallLog/100
	})
	for i := range 3 {
		reads := head.Requests(raytest.EndpointLogFile)
		job.Printf("the end of a line\nand a partial line %d ", i)
		r.until("the partial line was read", func() bool { return head.Requests(raytest.EndpointLogFile) > reads })
	}
	log := job.Log()
	job.End("SUCCEEDED", 0)
	r.waitEnd("job-1")
	r.checkLines("job-1", log)
	if n := len(r.events("job-1", record.EventGap)); n > 0 {
		t.Errorf("%d gap events", n)
	}
}
