package raytest

import (
	"fmt"
	"time"
)

// JobOptions configure a submission; the zero value is a job that runs on the head's
// node and whose log has Ray's two header lines.
type JobOptions struct {
	Entrypoint string // "" = "python3 train.py"
	Metadata   map[string]string
	JobID      string    // of its driver; "" = it never called ray.init
	Node       *Node     // nil = the head's
	AgentURL   string    // "" = the real address of the node agent
	Pending    bool      // it waits for resources until Run is called
	EmptyLog   bool      // the log has no header lines
	Start      time.Time // zero = now
}

// Job is one submission. Its driver log is in memory, and append-only except for
// TruncateLog, ReplaceLog, RemoveLog and the ways to rotate it.
type Job struct {
	// ID is the submission id.
	ID string

	head *Head
	o    JobOptions

	// guarded by head.mu
	status      string
	message     string
	errType     string
	node        *Node // nil until it runs
	file        *file
	earlier     []byte // what rotated files of the log had, see Output
	start       time.Time
	end         time.Time
	exit        *int
	deleted     bool
	noStartTime bool
}

// Submit adds a submission. If the id exists, the old job is deleted first, as Ray
// requires; on the same node, the new job appends to the same log file.
func (h *Head) Submit(id string, o JobOptions) *Job {
	if o.Entrypoint == "" {
		o.Entrypoint = "python3 train.py"
	}
	if o.Start.IsZero() {
		o.Start = time.Now()
	}
	h.mu.Lock()
	if o.Node == nil {
		o.Node = h.nodes[0]
	}
	j := &Job{ID: id, head: h, o: o, start: o.Start, status: "PENDING",
		message: "Job has not started yet. It may be waiting for resources (CPUs, GPUs, memory, custom resources) to become available."}
	h.removeJob(id)
	h.jobs = append(h.jobs, j)
	h.mu.Unlock()
	if !o.Pending {
		j.Run()
	}
	return j
}

// Job returns a submission, or nil.
func (h *Head) Job(id string) *Job {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.job(id)
}

// job is Job under the lock; it matches submission ids and job ids.
func (h *Head) job(id string) *Job {
	for _, j := range h.jobs {
		if j.ID == id || (j.o.JobID == id && id != "") {
			return j
		}
	}
	return nil
}

func (h *Head) removeJob(id string) {
	for i, j := range h.jobs {
		if j.ID == id {
			j.deleted = true
			h.jobs = append(h.jobs[:i], h.jobs[i+1:]...)
			return
		}
	}
}

// Run starts a pending job on its node.
func (j *Job) Run() {
	j.head.mu.Lock()
	defer j.head.mu.Unlock()
	if j.node != nil {
		return
	}
	j.node = j.o.Node
	j.status, j.message = "RUNNING", "Job is currently running."
	name := logName(j.ID)
	if j.file = j.node.files[name]; j.file == nil {
		j.file = &file{}
		j.file.touch()
		j.node.files[name] = j.file
	}
	if !j.o.EmptyLog {
		j.file.write(fmt.Appendf(nil, "%s\tINFO job_manager.py:581 -- Runtime env is setting up.\nRunning entrypoint for job %s: %s\n",
			j.start.UTC().Format("2006-01-02 15:04:05,000"), j.ID, j.o.Entrypoint))
	}
}

// Write appends to the log. It never fails.
func (j *Job) Write(p []byte) (int, error) {
	j.head.mu.Lock()
	defer j.head.mu.Unlock()
	if j.file != nil {
		j.file.write(p)
	}
	return len(p), nil
}

// Print appends text to the log unchanged, without adding a newline.
func (j *Job) Print(text string) { _, _ = j.Write([]byte(text)) }

// Printf is Print with a format.
func (j *Job) Printf(format string, a ...any) { j.Print(fmt.Sprintf(format, a...)) }

// End ends the job: SUCCEEDED or FAILED with the driver's exit code, or STOPPED, for
// which Ray reports none.
func (j *Job) End(status string, exitCode int) { j.EndAt(time.Now(), status, exitCode) }

// EndAt is End with an end time.
func (j *Job) EndAt(end time.Time, status string, exitCode int) {
	j.head.mu.Lock()
	defer j.head.mu.Unlock()
	j.finish(end, status, exitCode)
}

func (j *Job) finish(end time.Time, status string, exitCode int) {
	j.status, j.end, j.exit = status, end, &exitCode
	switch status {
	case "SUCCEEDED":
		j.message = "Job finished successfully."
	case "STOPPED":
		j.message, j.exit = "Job was intentionally stopped.", nil
	case "FAILED":
		var last []byte
		if j.file != nil {
			last = j.file.data[tailOffset(j.file.data, 10):]
		}
		j.message = fmt.Sprintf("Job entrypoint command failed with exit code %d, last available logs (truncated to 20,000 chars):\n%.20000s", exitCode, last)
		j.errType = "JOB_ENTRYPOINT_COMMAND_ERROR"
	}
	if j.node == nil {
		j.exit = nil
	}
	if j.head.minor() < 53 {
		j.errType = ""
	}
}

// FailSetup fails a pending job as if its runtime_env could not be set up: it never has
// a node, and Ray's message is in a file with the log's name on the head (2.60.0: without
// a newline at its end).
func (j *Job) FailSetup(message string) {
	j.head.mu.Lock()
	defer j.head.mu.Unlock()
	if j.node != nil {
		return
	}
	j.appendHeadFile(message)
	j.status, j.end, j.message = "FAILED", time.Now(), message
	if j.head.minor() >= 60 {
		j.errType = "RUNTIME_ENV_SETUP_FAILURE"
	}
}

// AppendHeadLog appends to the file on the head in which Ray logs about a job that runs
// on another node.
func (j *Job) AppendHeadLog(message string) {
	j.head.mu.Lock()
	defer j.head.mu.Unlock()
	j.appendHeadFile(message)
}

func (j *Job) appendHeadFile(message string) {
	files := j.head.nodes[0].files
	f := files[logName(j.ID)]
	if f == nil {
		f = &file{}
		files[logName(j.ID)] = f
	}
	f.write(fmt.Appendf(nil, "%s\tINFO job_manager.py:581 -- Runtime env is setting up.\n%s",
		j.start.UTC().Format("2006-01-02 15:04:05,000"), message))
}

// Delete removes the job from the list. Its log file stays.
func (j *Job) Delete() {
	j.head.mu.Lock()
	defer j.head.mu.Unlock()
	j.head.removeJob(j.ID)
}

// TruncateLog empties the log in place, as "> file" does.
func (j *Job) TruncateLog() {
	j.head.mu.Lock()
	defer j.head.mu.Unlock()
	if j.file != nil {
		j.file.replace("")
	}
}

// ReplaceLog replaces the log file with another of this content. Open tails stay with
// the old file, which does not grow any more.
func (j *Job) ReplaceLog(content string) {
	j.head.mu.Lock()
	defer j.head.mu.Unlock()
	if j.node != nil {
		j.file = &file{}
		j.file.replace(content)
		j.node.files[logName(j.ID)] = j.file
	}
}

// RemoveLog deletes the log file. Later output of the job is lost; open tails stay with
// the removed file.
func (j *Job) RemoveLog() {
	j.head.mu.Lock()
	defer j.head.mu.Unlock()
	if j.node != nil {
		delete(j.node.files, logName(j.ID))
	}
}

// Log returns a copy of the log.
func (j *Job) Log() []byte {
	j.head.mu.Lock()
	defer j.head.mu.Unlock()
	if j.file == nil {
		return nil
	}
	return j.file.at(0, -1)
}

// Status returns the job's current status.
func (j *Job) Status() string {
	j.head.mu.Lock()
	defer j.head.mu.Unlock()
	return j.status
}

// OmitStartTime omits the job's start_time from responses while hidden is true.
func (j *Job) OmitStartTime(hidden bool) {
	j.head.mu.Lock()
	defer j.head.mu.Unlock()
	j.noStartTime = hidden
}

// StartTime returns Ray's start_time: when the job was submitted.
func (j *Job) StartTime() time.Time { return j.start }

func (j *Job) terminal() bool {
	return j.status == "SUCCEEDED" || j.status == "FAILED" || j.status == "STOPPED"
}

// jobObject is a row of the job list; all keys are always present.
type jobObject struct {
	Type         string            `json:"type"`
	JobID        *string           `json:"job_id"`
	SubmissionID *string           `json:"submission_id"`
	DriverInfo   *driverInfo       `json:"driver_info"`
	Status       string            `json:"status"`
	Entrypoint   string            `json:"entrypoint"`
	Message      *string           `json:"message"`
	ErrorType    *string           `json:"error_type"`
	StartTime    int64             `json:"start_time"`
	EndTime      *int64            `json:"end_time"`
	Metadata     map[string]string `json:"metadata"`
	RuntimeEnv   map[string]any    `json:"runtime_env"`
	AgentAddress *string           `json:"driver_agent_http_address"`
	NodeID       *string           `json:"driver_node_id"`
	ExitCode     *int              `json:"driver_exit_code"`
}

type driverInfo struct {
	ID  string `json:"id"`
	IP  string `json:"node_ip_address"`
	PID string `json:"pid"`
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (j *Job) object() jobObject {
	message := j.message
	o := jobObject{Type: "SUBMISSION", SubmissionID: &j.ID, JobID: orNull(j.o.JobID), Status: j.status,
		Entrypoint: j.o.Entrypoint, Message: &message, ErrorType: orNull(j.errType),
		StartTime: j.start.UnixMilli(), Metadata: j.o.Metadata, ExitCode: j.exit}
	if j.noStartTime {
		o.StartTime = 0
	}
	if !j.end.IsZero() {
		ms := j.end.UnixMilli()
		o.EndTime = &ms
	}
	if j.node != nil {
		o.NodeID, o.AgentAddress = &j.node.ID, &j.node.agentURL
		if j.o.AgentURL != "" {
			o.AgentAddress = &j.o.AgentURL
		}
		if o.JobID != nil {
			o.DriverInfo = &driverInfo{ID: j.o.JobID, IP: j.node.IP, PID: "4711"}
		}
	}
	return o
}

// AddDriverJob adds a job of type DRIVER: a script that only connected. It always ends
// as SUCCEEDED; end is zero while it runs.
func (h *Head) AddDriverJob(jobID, entrypoint string, start, end time.Time) {
	o := jobObject{Type: "DRIVER", JobID: &jobID, Status: "RUNNING", Entrypoint: entrypoint,
		StartTime: start.UnixMilli(), EndTime: new(int64), Metadata: map[string]string{}, RuntimeEnv: map[string]any{}}
	if !end.IsZero() {
		*o.EndTime, o.Status = end.UnixMilli(), "SUCCEEDED"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	o.DriverInfo = &driverInfo{ID: jobID, IP: h.nodes[0].IP, PID: "4712"}
	h.drivers = append(h.drivers, o)
}
