package raytest

import (
	"bytes"
	"time"
)

// file is a file in a node's log directory. An open tail keeps its file when another
// file gets the same name. Guarded by Head.mu.
type file struct {
	data     []byte
	modified time.Time
}

// write appends to the file.
func (f *file) write(p []byte) {
	f.data = append(f.data, p...)
	f.touch()
}

// replace replaces the content in place. What was read before does not change.
func (f *file) replace(content string) {
	f.data = []byte(content)
	f.touch()
}

// touch sets the time of the last write, which is later than that of the one before.
func (f *file) touch() {
	now := time.Now()
	if !now.After(f.modified) {
		now = f.modified.Add(time.Nanosecond)
	}
	f.modified = now
}

// at returns a copy of up to max bytes from off on; all if max < 0.
func (f *file) at(off int64, max int) []byte {
	if off >= int64(len(f.data)) {
		return nil
	}
	b := f.data[off:]
	if max >= 0 && len(b) > max {
		b = b[:max]
	}
	return bytes.Clone(b)
}

// tailOffset returns the offset of the last n lines of data, as Ray counts them: only \n
// ends a line, and an unterminated last line counts.
func tailOffset(data []byte, n int) int {
	if len(data) == 0 || data[len(data)-1] != '\n' {
		n--
	}
	end := len(data)
	for ; n >= 0; n-- {
		i := bytes.LastIndexByte(data[:end], '\n')
		if i < 0 {
			return 0
		}
		end = i
	}
	return end + 1
}

func logName(submissionID string) string { return "job-driver-" + submissionID + ".log" }
