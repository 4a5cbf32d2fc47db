//go:build e2e && linux

package followers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/test/program"
)

// What raytap may take beside its budget for lines (shipper.memory, 64 MiB by
// default): the program itself, the job list, the tails, and what the garbage
// collector has not come to yet, which is about as much again as is in use.
const bound = 200 // MiB

// halvesBound is bound where all of the budget is in half lines, whose buffers are
// used again: 164 MiB at the most was seen.
const halvesBound = 180 // MiB

const memoryConfig = `
clusters: [{name: memory, url: %q, node_agents: {mode: %q}}]
collector: {enabled: false}
shipper: {discovery: {interval: 500ms}, grace_period: 100ms, positions: {file: %q}}
sink: {%s}
`

// peak checks the most memory that raytap ever had.
func peak(t *testing.T, p *program.Process, what string) {
	t.Helper()
	peakUnder(t, p, bound, what)
}

func peakUnder(t *testing.T, p *program.Process, bound int, what string) {
	t.Helper()
	n := memory(t, p, "VmHWM")
	t.Logf("%s: at most %d MiB, now %d MiB", what, n, memory(t, p, "VmRSS"))
	if n >= bound {
		t.Errorf("%s: raytap had %d MiB, which must stay under %d", what, n, bound)
	}
}

// toFile is the sink of a configuration, in a folder of its own.
func toFile(dir string) string {
	return fmt.Sprintf("file: {path: %q}", filepath.Join(dir, "raytap.jsonl"))
}

// One line of 1 GiB without a newline is cut, not held.
func TestMemory_LongLine(t *testing.T) {
	for _, agents := range []string{"on", "off"} {
		t.Run("agents "+agents, func(t *testing.T) {
			head, dir := raytest.New(t), t.TempDir()
			job := head.Submit("job-1", raytest.JobOptions{EmptyLog: true})
			part := []byte(strings.Repeat("x", 64<<20))
			for range 16 {
				_, _ = job.Write(part) // it never fails
			}
			p, _ := raytap(t, nil, fmt.Sprintf(memoryConfig, head.URL(), agents, filepath.Join(dir, "positions.db"), toFile(dir)))
			file := filepath.Join(dir, "raytap.jsonl")
			written := func(event string) func() bool {
				return func() bool {
					b, err := os.ReadFile(file)
					return err == nil && strings.Contains(string(b), `"event":"`+event+`"`)
				}
			}
			// A job that has ended before raytap first sees its cluster is not shipped.
			p.Until(time.Minute, "the job's start is in the file", written("start"))
			job.End("SUCCEEDED", 0)
			p.Until(2*time.Minute, "the job's end is in the file", written("end"))
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(b), `"truncated":true,"bytes":1073741824`) || len(b) > 1<<20 {
				t.Errorf("there is no record of a line of 1 GiB that was cut, in %d bytes: %.300q", len(b), b)
			}
			peak(t, p, "a line of 1 GiB, agents "+agents)
		})
	}
}

// Two thousand jobs run at once; each has printed a line, and fifty print more.
func TestMemory_ManyJobs(t *testing.T) {
	head, dir := raytest.New(t, raytest.PollInterval(200*time.Millisecond)), t.TempDir()
	const jobs, chatty, rounds = 2000, 50, 40
	var talking []*raytest.Job
	for i := range jobs {
		job := head.Submit(fmt.Sprintf("job-%04d", i), raytest.JobOptions{EmptyLog: true})
		job.Print("hello\n")
		if i%(jobs/chatty) == 0 {
			talking = append(talking, job)
		}
	}
	p, page := raytap(t, nil, fmt.Sprintf(memoryConfig, head.URL(), "on", filepath.Join(dir, "positions.db"), toFile(dir)))
	written := func(n int) func() bool {
		return func() bool { return sample(program.Get(page), "raytap_sink_records_total") >= float64(n) }
	}
	p.Until(2*time.Minute, "a start event and a line of each job are written", written(2*jobs))
	peak(t, p, "2,000 jobs")
	text := strings.Repeat(strings.Repeat("x", 999)+"\n", 500)
	for range rounds {
		for _, job := range talking {
			job.Print(text)
		}
	}
	p.Until(2*time.Minute, "all of a gigabyte is written", written(2*jobs+chatty*rounds*500))
	peak(t, p, "2,000 jobs, 50 of which print 1 GB")
}

// Half lines that are together twice the budget: some are let go and read again,
// and each line comes out in the end.
func TestMemory_PartialLines(t *testing.T) {
	head, dir := raytest.New(t), t.TempDir()
	const jobs, half = 600, 240 << 10
	var all []*raytest.Job
	for i := range jobs {
		job := head.Submit(fmt.Sprintf("job-%03d", i), raytest.JobOptions{EmptyLog: true})
		job.Print(strings.Repeat("x", half))
		all = append(all, job)
	}
	p, page := raytap(t, nil, fmt.Sprintf(memoryConfig, head.URL(), "on", filepath.Join(dir, "positions.db"), toFile(dir)))
	p.Until(time.Minute, "the budget is spent", func() bool { return sample(program.Get(page), "raytap_shipper_partial_lines_dropped_total") > 0 })
	for _, job := range all {
		job.Print("y\n")
		job.End("SUCCEEDED", 0)
	}
	p.Until(2*time.Minute, "each job's start, line and end are written", func() bool {
		return sample(program.Get(page), "raytap_sink_records_total") == 3*jobs
	})
	if n := sample(program.Get(page), "raytap_shipper_gaps_total"); n > 0 {
		t.Errorf("%.0f gaps", n)
	}
	peakUnder(t, p, halvesBound, "600 half lines of 240 KiB")
}

// A reader of stdout that does not read holds everything up, and no memory grows.
func TestMemory_SinkBlocked(t *testing.T) {
	for _, agents := range []string{"on", "off"} {
		t.Run("agents "+agents, func(t *testing.T) {
			head, dir := raytest.New(t), t.TempDir()
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			defer w.Close()
			text := strings.Repeat(strings.Repeat("x", 999)+"\n", 20000)
			for i := range 20 {
				head.Submit(fmt.Sprintf("job-%d", i), raytest.JobOptions{}).Print(text)
			}
			p, page := raytap(t, w, fmt.Sprintf(memoryConfig, head.URL(), agents, filepath.Join(dir, "positions.db"), "stdout: {}"))
			// It has come to rest once several looks find nothing new read.
			last, same := -1.0, 0
			look := time.NewTicker(200 * time.Millisecond)
			defer look.Stop()
			p.Until(time.Minute, "nothing more is read", func() bool {
				<-look.C
				body := program.Get(page)
				if n := sample(body, "raytap_shipper_read_bytes_total"); n != last || n == 0 {
					last, same = n, 0
					return false
				}
				same++
				return same >= 15
			})
			if last > 200<<20 {
				t.Errorf("%.0f bytes were read of which nothing was taken", last)
			}
			t.Logf("%.0f MiB were read", last/(1<<20))
			peak(t, p, "the sink stands still, agents "+agents)
		})
	}
}
