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

// maxMemory limits raytap's memory: its budget for lines (shipper.memory, 64 MiB by
// default), the program itself, the job list, the tails, and garbage that is not
// collected yet, which is about as much as is in use.
const maxMemory = 200 // MiB

// maxPartialMemory is the limit if partial lines use all of the budget. Their buffers are
// reused; at most 176 MiB were measured, of which the program with the client of Kubernetes
// has 25.
const maxPartialMemory = 195 // MiB

const memoryConfig = `
clusters: [{name: memory, url: %q, node_agents: {mode: %q}}]
collector: {enabled: false}
shipper: {discovery: {interval: 500ms}, grace_period: 100ms, positions: {file: %q}}
sink: {%s}
`

// checkPeak checks the peak memory of raytap. limit is in MiB.
func checkPeak(t *testing.T, p *program.Process, limit int, what string) {
	t.Helper()
	n := memory(t, p, "VmHWM")
	t.Logf("%s: peak %d MiB, now %d MiB", what, n, memory(t, p, "VmRSS"))
	if n >= limit {
		t.Errorf("%s: peak memory %d MiB, want less than %d", what, n, limit)
	}
}

// toFile returns the sink configuration for a file in dir.
func toFile(dir string) string {
	return fmt.Sprintf("file: {path: %q}", filepath.Join(dir, "raytap.jsonl"))
}

// A line of 1 GiB without a newline is truncated, not kept in memory.
func TestMemory_LongLine(t *testing.T) {
	for _, agents := range []string{"on", "off"} {
		t.Run("agents "+agents, func(t *testing.T) {
			head, dir := raytest.New(t), t.TempDir()
			job := head.Submit("job-1", raytest.JobOptions{EmptyLog: true})
			part := []byte(strings.Repeat("x", 64<<20))
			for range 16 {
				_, _ = job.Write(part) // never fails
			}
			p, _ := raytap(t, nil, fmt.Sprintf(memoryConfig, head.URL(), agents, filepath.Join(dir, "positions.db"), toFile(dir)))
			file := filepath.Join(dir, "raytap.jsonl")
			written := func(event string) func() bool {
				return func() bool {
					b, err := os.ReadFile(file)
					return err == nil && strings.Contains(string(b), `"event":"`+event+`"`)
				}
			}
			// A job that ended before raytap discovers its cluster is not shipped.
			p.Until(time.Minute, "the start event is in the file", written("start"))
			job.End("SUCCEEDED", 0)
			p.Until(2*time.Minute, "the end event is in the file", written("end"))
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(b), `"truncated":true,"bytes":1073741824`) || len(b) > 1<<20 {
				t.Errorf("no truncated record of a line of 1 GiB, in %d bytes: %.300q", len(b), b)
			}
			checkPeak(t, p, maxMemory, "a line of 1 GiB, agents "+agents)
		})
	}
}

// Two thousand jobs are running; each has printed a line, and fifty print more.
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
	p, metrics := raytap(t, nil, fmt.Sprintf(memoryConfig, head.URL(), "on", filepath.Join(dir, "positions.db"), toFile(dir)))
	written := func(n int) func() bool {
		return func() bool { return sample(program.Get(metrics), "raytap_sink_records_total") >= float64(n) }
	}
	p.Until(2*time.Minute, "a start event and a line of each job are written", written(2*jobs))
	checkPeak(t, p, maxMemory, "2,000 jobs")
	text := strings.Repeat(strings.Repeat("x", 999)+"\n", 500)
	for range rounds {
		for _, job := range talking {
			job.Print(text)
		}
	}
	p.Until(2*time.Minute, "all lines are written", written(2*jobs+chatty*rounds*500))
	checkPeak(t, p, maxMemory, "2,000 jobs, 50 of which print 1 GB")
}

// The partial lines of all jobs need twice the budget: raytap drops some and reads them
// again, and ships each line in the end.
func TestMemory_PartialLines(t *testing.T) {
	head, dir := raytest.New(t), t.TempDir()
	const jobs, partial = 600, 240 << 10
	var all []*raytest.Job
	for i := range jobs {
		job := head.Submit(fmt.Sprintf("job-%03d", i), raytest.JobOptions{EmptyLog: true})
		job.Print(strings.Repeat("x", partial))
		all = append(all, job)
	}
	p, metrics := raytap(t, nil, fmt.Sprintf(memoryConfig, head.URL(), "on", filepath.Join(dir, "positions.db"), toFile(dir)))
	p.Until(time.Minute, "a partial line is dropped", func() bool { return sample(program.Get(metrics), "raytap_shipper_partial_lines_dropped_total") > 0 })
	for _, job := range all {
		job.Print("y\n")
		job.End("SUCCEEDED", 0)
	}
	p.Until(2*time.Minute, "each job's start, line and end are written", func() bool {
		return sample(program.Get(metrics), "raytap_sink_records_total") == 3*jobs
	})
	if n := sample(program.Get(metrics), "raytap_shipper_gaps_total"); n > 0 {
		t.Errorf("%.0f gaps", n)
	}
	checkPeak(t, p, maxPartialMemory, "600 partial lines of 240 KiB")
}

// If the reader of stdout does not read, raytap stops reading, and memory does not grow.
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
			p, metrics := raytap(t, w, fmt.Sprintf(memoryConfig, head.URL(), agents, filepath.Join(dir, "positions.db"), "stdout: {}"))
			// Wait until the metric has not changed for 15 polls.
			last, same := -1.0, 0
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			p.Until(time.Minute, "raytap stops reading", func() bool {
				<-tick.C
				body := program.Get(metrics)
				if n := sample(body, "raytap_shipper_read_bytes_total"); n != last || n == 0 {
					last, same = n, 0
					return false
				}
				same++
				return same >= 15
			})
			if last > 200<<20 {
				t.Errorf("%.0f bytes read, but none written", last)
			}
			t.Logf("%.0f MiB read", last/(1<<20))
			checkPeak(t, p, maxMemory, "the sink is blocked, agents "+agents)
		})
	}
}
