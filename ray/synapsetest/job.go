package synapsetest

import (
	"fmt"
	"sync"
	"time"
)

// JobOptions configure a job; the zero value runs on the agent's node.
type JobOptions struct {
	Entrypoint string // "" = "python3 train.py"
	Metadata   map[string]string
	JobID      string // of its driver
	Pending    bool   // it waits until Run is called
	Start      time.Time
	Format     MessageFormat
	// NoComplete ends the tails of an ended job without a complete event; StayOpen does
	// not end them at all.
	NoComplete, StayOpen bool
}

// Job is one job. Its log is in memory, and append-only except for TruncateLog.
type Job struct {
	// ID is the submission id.
	ID string

	o JobOptions

	mu         sync.Mutex
	status     string
	start      time.Time
	end        time.Time
	exit       *int
	format     MessageFormat
	log        []byte
	generation int // incremented by TruncateLog, which invalidates what was encoded before
	encoded    [2]encoded
}

// Submit adds a job, and replaces one with the same id.
func (a *Agent) Submit(id string, o JobOptions) *Job {
	if o.Entrypoint == "" {
		o.Entrypoint = "python3 train.py"
	}
	if o.Start.IsZero() {
		o.Start = time.Now()
	}
	j := &Job{ID: id, o: o, start: o.Start, status: "PENDING", format: o.Format}
	if !o.Pending {
		j.status = "RUNNING"
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(id)
	a.jobs = append(a.jobs, j)
	return j
}

// Job returns a job, or nil.
func (a *Agent) Job(id string) *Job {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, j := range a.jobs {
		if j.ID == id {
			return j
		}
	}
	return nil
}

// Delete removes a job from the list.
func (a *Agent) Delete(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(id)
}

func (a *Agent) remove(id string) {
	for i, j := range a.jobs {
		if j.ID == id {
			a.jobs = append(a.jobs[:i], a.jobs[i+1:]...)
			return
		}
	}
}

// Run starts a pending job.
func (j *Job) Run() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.status == "PENDING" {
		j.status = "RUNNING"
	}
}

// Write appends to the log. It never fails.
func (j *Job) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.log = append(j.log, p...)
	return len(p), nil
}

// Print appends text to the log unchanged, without adding a newline.
func (j *Job) Print(text string) { _, _ = j.Write([]byte(text)) }

// Printf is Print with a format.
func (j *Job) Printf(format string, a ...any) { j.Print(fmt.Sprintf(format, a...)) }

// End ends the job: SUCCEEDED or FAILED with the driver's exit code, or STOPPED, for
// which none is reported.
func (j *Job) End(status string, exitCode int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.finish(status, exitCode)
}

func (j *Job) finish(status string, exitCode int) {
	j.status, j.end, j.exit = status, time.Now(), nil
	if status != "STOPPED" {
		j.exit = &exitCode
	}
}

// TruncateLog empties the log. Open tails are cut.
func (j *Job) TruncateLog() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.log = nil
	j.encoded = [2]encoded{}
	j.generation++
}

// Log returns a copy of the log.
func (j *Job) Log() []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]byte(nil), j.log...)
}

// Status returns the job's current status.
func (j *Job) Status() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.status
}

func isTerminal(status string) bool {
	return status == "SUCCEEDED" || status == "FAILED" || status == "STOPPED"
}

// object returns a row of the job list, as in Ray's Jobs API.
func (j *Job) object() map[string]any {
	j.mu.Lock()
	defer j.mu.Unlock()
	o := map[string]any{
		"type": "SUBMISSION", "submission_id": j.ID, "job_id": nil, "driver_info": nil, "status": j.status,
		"entrypoint": j.o.Entrypoint, "message": "Job is " + j.status + ".", "error_type": nil,
		"start_time": j.start.UnixMilli(), "end_time": nil, "metadata": j.o.Metadata,
		"runtime_env":               map[string]any{"env_vars": map[string]string{"SECRET": "not to be shown"}},
		"driver_agent_http_address": "http://10.0.0.10:52365", "driver_node_id": nodeID, "driver_exit_code": j.exit,
	}
	if j.o.JobID != "" {
		o["job_id"] = j.o.JobID
	}
	if !j.end.IsZero() {
		o["end_time"] = j.end.UnixMilli()
	}
	if j.status == "PENDING" {
		o["driver_node_id"], o["driver_agent_http_address"] = nil, nil
	}
	return o
}
