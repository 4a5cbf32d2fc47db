package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxMessage is the subject's max_message_size (bytes).
const maxMessage = 16 << 10

// key names a log's owner.
type key struct{ session, id string }

func (k key) String() string { return k.session + "/" + k.id }

// jobRun is one run of a submission, as the head knows it.
type jobRun struct {
	start   time.Time
	text    int // the text that it ends in
	content int // content bytes of that text at its end
	late    int // and with what its children printed after that; 0: they did not
	status  string
	exit    *int
	ended   bool
	seen    bool // the next run was submitted only once this one's end was written
}

// facts are what is known of one log: everything that was ever printed to it.
type facts struct {
	mu sync.Mutex
	// texts are the contents one after the other: more than one where the log
	// was replaced, truncated or went on on another node. Only the last one is
	// still there to be read.
	texts [][]byte
	runs  []jobRun
	// replaced: from one text to the next is a loss that raytap has to announce.
	replaced bool
	// lost: the rest may be out of reach, and then raytap has to say so: of a
	// session that is over, or of a job that is deleted under the websocket way.
	lost bool
	// ahead is how often its last records were made to say a time to come.
	ahead int
	// deleted: Ray may have told nobody how the job ended.
	deleted bool
}

// oracle knows every line that was ever printed.
type oracle struct {
	mu   sync.Mutex
	logs map[key]*facts
}

func newOracle() *oracle { return &oracle{logs: map[key]*facts{}} }

func (o *oracle) of(k key) *facts {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := o.logs[k]
	if f == nil {
		f = &facts{}
		o.logs[k] = f
	}
	return f
}

func (o *oracle) keys() []key {
	o.mu.Lock()
	defer o.mu.Unlock()
	keys := make([]key, 0, len(o.logs))
	for k := range o.logs {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int { return strings.Compare(a.String(), b.String()) })
	return keys
}

// verdict is what the oracle finds.
type verdict struct {
	lines, lost, doubled int
	problems             []string
}

func (v *verdict) add(format string, args ...any) {
	if len(v.problems) < 40 {
		v.problems = append(v.problems, fmt.Sprintf(format, args...))
	}
}

// judge holds all records against all that was printed.
func (o *oracle) judge(records []record) verdict {
	var v verdict
	streams := map[key][]record{}
	for _, r := range records {
		k := key{r.Session, r.SubmissionID}
		streams[k] = append(streams[k], r)
	}
	for _, k := range o.keys() {
		j := judge{v: &v, k: k, f: o.of(k)}
		j.stream(streams[k])
		delete(streams, k)
	}
	for k := range streams {
		v.add("%s: records of a job that never was", k)
	}
	return v
}

// judge is the judgement on one log.
type judge struct {
	v     *verdict
	k     key
	f     *facts
	ends  map[int][]int // by epoch: content offsets at which a run's end was read
	whole bool          // the last run's end was complete
}

func (j *judge) add(format string, args ...any) {
	j.v.add("%s: %s", j.k, fmt.Sprintf(format, args...))
}

func (j *judge) stream(recs []record) {
	if len(recs) == 0 {
		if !j.f.lost {
			j.add("nothing of it was shipped")
			j.v.lost += len(lines(j.f.texts[len(j.f.texts)-1], nil))
		}
		return
	}
	j.times(recs)
	j.runs(recs)
	// Epoch by epoch: each is the beginning of one text, and the last one all of it.
	at := -1
	for start := 0; start < len(recs); {
		end := start
		for end < len(recs) && recs[end].Epoch == recs[start].Epoch {
			end++
		}
		if end < len(recs) && recs[end].Epoch != recs[start].Epoch+1 {
			j.add("epoch %d follows epoch %d", recs[end].Epoch, recs[start].Epoch)
		}
		at = j.epoch(recs[start:end], at, end == len(recs))
		start = end
	}
}

// runs checks the events: one start and one end for each run, with right
// numbers, and a gap or an epoch only where there is a reason for it.
func (j *judge) runs(recs []record) {
	n, open := -1, false
	j.ends = map[int][]int{}
	var t tally
	for _, r := range recs {
		t.take(r)
		switch r.Event {
		case "":
			if !open {
				j.add("line %d of epoch %d stands outside of any run", r.Seq, r.Epoch)
				return
			}
		case "start":
			n++
			if open || n >= len(j.f.runs) {
				j.add("a start event too many, at epoch %d seq %d", r.Epoch, r.Seq)
				return
			}
			open = true
			t = tally{epoch: r.Epoch, base: r.Seq, next: r.Seq}
			if at, err := time.Parse(time.RFC3339Nano, r.StartTime); err != nil || !at.Equal(j.f.runs[n].start.Truncate(time.Millisecond)) {
				j.add("run %d started at %s, the start event says %q", n, j.f.runs[n].start, r.StartTime)
			}
		case "end":
			if !open {
				j.add("an end event too many, at epoch %d seq %d: %s", r.Epoch, r.Seq, r.Message)
				return
			}
			open = false
			j.end(r, n, t)
			j.whole = r.Complete != nil && *r.Complete
		case "reopened":
			if open || n < 0 || j.f.runs[n].late == 0 {
				j.add("a reopened event without a reason, at epoch %d seq %d", r.Epoch, r.Seq)
			}
			open, t.reopened = true, true
		case "clock": // times looks at it
		case "gap", "epoch":
			t.gap = t.gap || r.Event == "gap" && t.lines() > 0
			if !j.f.replaced && !j.f.lost {
				j.add("a %s event without a reason, at epoch %d seq %d: %s", r.Event, r.Epoch, r.Seq, r.Message)
			}
		default:
			j.add("an event %q at epoch %d seq %d", r.Event, r.Epoch, r.Seq)
		}
	}
	if open || n+1 != len(j.f.runs) && !j.f.lost {
		j.add("of %d runs, %d have a start event; the last end is there: %v", len(j.f.runs), n+1, !open)
	}
}

// tally counts the lines of a run over its epochs.
type tally struct {
	epoch, base, next int // the current epoch, and its part of the run: lines base to next-1
	before            int // lines of the run in earlier epochs
	gap, reopened     bool
}

func (t *tally) take(r record) {
	if r.Epoch != t.epoch {
		t.before += t.next - t.base
		t.epoch, t.base = r.Epoch, r.Seq
	}
	t.next = r.Seq
	if r.Event == "" {
		t.next++
	}
}

func (t *tally) lines() int { return t.before + t.next - t.base }

func (j *judge) end(r record, n int, t tally) {
	known := j.f.runs[n]
	if r.Complete == nil || r.Lines == nil || r.ContentBytes == nil {
		j.add("the end event of run %d lacks a key", n)
		return
	}
	if *r.Lines != t.lines() {
		j.add("the end event of run %d says %d lines, and %d were shipped", n, *r.Lines, t.lines())
	}
	if *r.Complete && t.gap {
		j.add("the end event of run %d says complete, and there was a gap", n)
	}
	if !*r.Complete && t.gap {
		j.ends[r.Epoch] = append(j.ends[r.Epoch], known.content)
		return
	}
	if !*r.Complete {
		replaced := n+1 < len(j.f.runs) && !known.seen
		if !j.f.lost && !replaced {
			j.add("run %d is given up: %s", n, r.Message)
		}
		return
	}
	exit := known.exit
	unknown := r.Status == "" && n+1 < len(j.f.runs) && !known.seen // another run had taken its id
	if !j.f.deleted && !unknown && (r.Status != known.status || (exit == nil) != (r.ExitCode == nil) || (exit != nil && *exit != *r.ExitCode)) {
		j.add("the end event of run %d says status %q, exit code %v; it was %q, %v", n, r.Status, deref(r.ExitCode), known.status, deref(exit))
	}
	want := known.content
	if t.reopened {
		want = known.late
	}
	j.ends[r.Epoch] = append(j.ends[r.Epoch], want)
	sure := !j.f.replaced
	if n > 0 && j.f.runs[n-1].text == known.text { // it goes on in the log of the run before
		sure = sure && j.whole
		want -= j.f.runs[n-1].content
	}
	if sure && *r.ContentBytes != want {
		j.add("the end event of run %d says %d content bytes, it printed %d", n, *r.ContentBytes, want)
	}
}

func deref(p *int) any {
	if p == nil {
		return "none"
	}
	return *p
}

// epoch checks the records of one epoch against the first text behind at that
// they fit, and gives that text's number.
func (j *judge) epoch(recs []record, at int, last bool) int {
	ends := j.ends[recs[0].Epoch] // content offsets at which a run's end was read: a line ends there
	var got []record
	whole := 0 // so many lines a complete end promised
	for _, r := range recs {
		switch {
		case r.Event == "":
			got = append(got, r)
		case r.Event == "end" && r.Complete != nil && *r.Complete && r.ContentBytes != nil:
			whole = r.Seq
		}
	}
	t := max(at, 0)
	best := -1
	var want []string
	for i := max(at+1, 0); i < len(j.f.texts) && len(got) > 0; i++ {
		w := lines(j.f.texts[i], ends)
		n := 0
		for _, r := range got {
			if r.Seq < len(w) && same(w[r.Seq], r) {
				n++
			}
		}
		if n > best {
			best, t, want = n, i, w
		}
	}
	if want == nil {
		want = lines(j.f.texts[t], ends)
	}
	if last {
		if len(got) > 0 && t != len(j.f.texts)-1 && !j.f.lost {
			j.add("the last epoch %d is that of an earlier content of the log", recs[0].Epoch)
		}
		if !j.f.lost {
			whole = len(want)
		}
	}
	j.bitmap(recs[0].Epoch, got, want, min(whole, len(want)))
	if len(got) == 0 && !last {
		return at
	}
	return t
}

// bitmap marks each line of an epoch, so that a doubled one cannot stand for one
// that is lost. The first whole ones have to be there.
func (j *judge) bitmap(epoch int, got []record, want []string, whole int) {
	seen := make([]bool, len(want))
	next, told := 0, 0
	for _, r := range got {
		j.v.lines++
		problem := ""
		switch {
		case r.Seq >= len(want):
			problem = "was never printed"
		case !same(want[r.Seq], r):
			problem = fmt.Sprintf("is not %.80q", want[r.Seq])
		case seen[r.Seq]:
			j.v.doubled++
			problem = "was shipped before"
		case r.Seq != next:
			problem = fmt.Sprintf("comes where %d was due", next)
		}
		if r.Seq < len(want) {
			seen[r.Seq] = true
		}
		next = r.Seq + 1
		if problem != "" && told < 5 {
			told++
			j.add("line %d of epoch %d %s: %.80q", r.Seq, epoch, problem, r.Message)
		}
	}
	lost := 0
	for _, ok := range seen[:whole] {
		if !ok {
			lost++
		}
	}
	if lost > 0 {
		j.v.lost += lost
		j.add("epoch %d: %d of %d lines are lost, the first is %d", epoch, lost, whole, slices.Index(seen, false))
	}
}

// lines cuts a log into lines, also where a run was read to its end: at content
// offsets.
func lines(log []byte, ends []int) []string {
	var out []string
	var line []byte
	content := 0
	flush := func() {
		if len(line) > 0 {
			out = append(out, string(line))
			line = line[:0]
		}
	}
	for _, c := range log {
		if c == '\n' || c == '\r' {
			flush()
			continue
		}
		if slices.Contains(ends, content) {
			flush()
		}
		line = append(line, c)
		content++
	}
	flush()
	return out
}

func contentLen(log []byte) int {
	n := 0
	for _, c := range log {
		if c != '\n' && c != '\r' {
			n++
		}
	}
	return n
}

// same reports whether a record is that of a line.
func same(line string, r record) bool {
	if r.skipped {
		return true
	}
	want := strings.ToValidUTF8(line, "\uFFFD")
	if len(line) > maxMessage {
		return r.Truncated && r.Bytes == len(line) && len(r.Message) > maxMessage-4 && strings.HasPrefix(want, r.Message)
	}
	// How many U+FFFD stand for a run of bad bytes is the encoder's business.
	return !r.Truncated && squeeze(want) == squeeze(r.Message)
}

var replacements = regexp.MustCompile("\uFFFD+")

func squeeze(s string) string { return replacements.ReplaceAllString(s, "\uFFFD") }
