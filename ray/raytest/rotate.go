package raytest

import "fmt"

// The ways in which a driver log can be rotated. Ray 2.60.0 rotates none; operators do, and
// so do the files of workers with RAY_ROTATION_MAX_BYTES. Older files are NAME.1 and so on,
// which only the node agent shows. keep is how many of them there are at most.

// RotateLog renames the log, and the job goes on in a new file.
func (j *Job) RotateLog(keep int) {
	j.head.mu.Lock()
	defer j.head.mu.Unlock()
	j.moveLog(keep)
	j.reopenLog()
}

// CopyTruncateLog copies the log and empties it in place, both at once: nothing is lost
// between the two.
func (j *Job) CopyTruncateLog(keep int) {
	j.head.mu.Lock()
	defer j.head.mu.Unlock()
	if j.file == nil || j.node.files[logName(j.ID)] != j.file {
		return
	}
	j.shiftLogs(keep)
	older := &file{data: j.file.data}
	older.touch()
	j.node.files[logName(j.ID)+".1"] = older
	j.earlier = append(j.earlier, j.file.data...)
	j.file.replace("")
}

// MoveLog renames the log under the job, which goes on writing to the renamed file until
// ReopenLog.
func (j *Job) MoveLog(keep int) {
	j.head.mu.Lock()
	defer j.head.mu.Unlock()
	j.moveLog(keep)
}

// ReopenLog makes the job go on in a new file after MoveLog.
func (j *Job) ReopenLog() {
	j.head.mu.Lock()
	defer j.head.mu.Unlock()
	j.reopenLog()
}

// Output returns all that the log ever had, without what TruncateLog and ReplaceLog removed
// from the current file.
func (j *Job) Output() []byte {
	j.head.mu.Lock()
	defer j.head.mu.Unlock()
	out := append([]byte(nil), j.earlier...)
	if j.file != nil {
		out = append(out, j.file.data...)
	}
	return out
}

func (j *Job) moveLog(keep int) {
	name := logName(j.ID)
	if j.file == nil || j.node.files[name] != j.file {
		return
	}
	j.shiftLogs(keep)
	j.node.files[name+".1"] = j.file
	delete(j.node.files, name)
}

func (j *Job) reopenLog() {
	if j.file == nil || j.node.files[logName(j.ID)] != nil {
		return
	}
	j.earlier = append(j.earlier, j.file.data...)
	j.file = &file{}
	j.file.touch()
	j.node.files[logName(j.ID)] = j.file
}

// shiftLogs renames NAME.1 to NAME.2 and so on.
func (j *Job) shiftLogs(keep int) {
	files := j.node.files
	for k := keep - 1; k >= 1; k-- {
		from, to := fmt.Sprintf("%s.%d", logName(j.ID), k), fmt.Sprintf("%s.%d", logName(j.ID), k+1)
		if f := files[from]; f != nil {
			files[to] = f
			delete(files, from)
		}
	}
}
