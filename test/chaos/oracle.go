package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxMessage is raytap's max_message_size in bytes.
const maxMessage = 16 << 10

// key identifies a log.
type key struct{ session, id string }

func (k key) String() string { return k.session + "/" + k.id }

// jobRun is one run of a submission on the head.
type jobRun struct {
	start   time.Time
	text    int // index of the text that it ends in
	content int // content bytes of that text at the run's end
	late    int // the same, with what its children printed after that; 0: they did not
	status  string
	exit    *int
	ended   bool
	seen    bool // the next run was submitted after this one's end event
}

// facts contains everything that was printed to one log.
type facts struct {
	mu sync.Mutex
	// texts are the contents in order: more than one if the log was replaced or
	// truncated, or continued on another node. Only the last one is still readable.
	texts [][]byte
	runs  []jobRun
	// replaced: a change of text loses lines, and raytap must report it.
	replaced bool
	// lost: the rest may be out of reach, and then raytap must report it: the session
	// ended, or the job was deleted and is read over WebSockets only.
	lost bool
	// ahead is how often the harness set the time of its last records to the future.
	ahead int
	// deleted: raytap may not have been able to read the job's final status.
	deleted bool
}

// oracle contains every line that was printed.
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

// result is what a round or the oracle found.
type result struct {
	lines, lost, duplicated int
	problems                []string
}

func (res *result) add(format string, args ...any) {
	if len(res.problems) < 40 {
		res.problems = append(res.problems, fmt.Sprintf(format, args...))
	}
}

// judge compares all records with everything that was printed.
func (o *oracle) judge(records []record) result {
	var res result
	byLog := map[key][]record{}
	for _, r := range records {
		k := key{r.Session, r.SubmissionID}
		byLog[k] = append(byLog[k], r)
	}
	for _, k := range o.keys() {
		c := checker{res: &res, k: k, f: o.of(k)}
		c.log(byLog[k])
		delete(byLog, k)
	}
	for k := range byLog {
		res.add("%s: records of a job that does not exist", k)
	}
	return res
}

// checker compares one log.
type checker struct {
	res      *result
	k        key
	f        *facts
	ends     map[int][]int // by epoch: content offsets at which the end of a run was read
	complete bool          // of the last end event
}

func (c *checker) add(format string, args ...any) {
	c.res.add("%s: %s", c.k, fmt.Sprintf(format, args...))
}

func (c *checker) log(recs []record) {
	if len(recs) == 0 {
		if !c.f.lost {
			c.add("no record was shipped")
			c.res.lost += len(lines(c.f.texts[len(c.f.texts)-1], nil))
		}
		return
	}
	c.times(recs)
	c.runs(recs)
	// Each epoch is the beginning of one text; the last epoch is the whole last text.
	at := -1
	for start := 0; start < len(recs); {
		end := start
		for end < len(recs) && recs[end].Epoch == recs[start].Epoch {
			end++
		}
		if end < len(recs) && recs[end].Epoch != recs[start].Epoch+1 {
			c.add("epoch %d follows epoch %d", recs[end].Epoch, recs[start].Epoch)
		}
		at = c.epoch(recs[start:end], at, end == len(recs))
		start = end
	}
}

// runs checks the events: one start and one end for each run, with the right
// numbers, and a gap or an epoch only for a reason.
func (c *checker) runs(recs []record) {
	n, open := -1, false
	c.ends = map[int][]int{}
	var t tally
	for _, r := range recs {
		t.add(r)
		switch r.Event {
		case "":
			if !open {
				c.add("line %d of epoch %d is outside of any run", r.Seq, r.Epoch)
				return
			}
		case "start":
			n++
			if open || n >= len(c.f.runs) {
				c.add("unexpected start event at epoch %d seq %d", r.Epoch, r.Seq)
				return
			}
			open = true
			t = tally{epoch: r.Epoch, base: r.Seq, next: r.Seq}
			if at, err := time.Parse(time.RFC3339Nano, r.StartTime); err != nil || !at.Equal(c.f.runs[n].start.Truncate(time.Millisecond)) {
				c.add("run %d started at %s, the start event has %q", n, c.f.runs[n].start, r.StartTime)
			}
		case "end":
			if !open {
				c.add("unexpected end event at epoch %d seq %d: %s", r.Epoch, r.Seq, r.Message)
				return
			}
			open = false
			c.end(r, n, t)
			c.complete = r.Complete != nil && *r.Complete
		case "reopened":
			if open || n < 0 || c.f.runs[n].late == 0 {
				c.add("reopened event without a reason at epoch %d seq %d", r.Epoch, r.Seq)
			}
			open, t.reopened = true, true
		case "clock": // checked by times
		case "gap", "epoch":
			t.gap = t.gap || r.Event == "gap" && t.lines() > 0
			if !c.f.replaced && !c.f.lost {
				c.add("%s event without a reason at epoch %d seq %d: %s", r.Event, r.Epoch, r.Seq, r.Message)
			}
		default:
			c.add("unknown event %q at epoch %d seq %d", r.Event, r.Epoch, r.Seq)
		}
	}
	if open || n+1 != len(c.f.runs) && !c.f.lost {
		c.add("%d of %d runs have a start event; the last one has an end event: %v", n+1, len(c.f.runs), !open)
	}
}

// tally counts the lines of a run across its epochs.
type tally struct {
	epoch, base, next int // the current epoch and its lines of the run: base to next-1
	before            int // lines of the run in earlier epochs
	gap, reopened     bool
}

func (t *tally) add(r record) {
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

func (c *checker) end(r record, n int, t tally) {
	known := c.f.runs[n]
	if r.Complete == nil || r.Lines == nil || r.ContentBytes == nil {
		c.add("the end event of run %d lacks a key: complete, lines or content_bytes", n)
		return
	}
	if *r.Lines != t.lines() {
		c.add("the end event of run %d has lines %d, but %d were shipped", n, *r.Lines, t.lines())
	}
	if *r.Complete && t.gap {
		c.add("the end event of run %d is complete despite a gap", n)
	}
	if !*r.Complete && t.gap {
		c.ends[r.Epoch] = append(c.ends[r.Epoch], known.content)
		return
	}
	if !*r.Complete {
		replaced := n+1 < len(c.f.runs) && !known.seen
		if !c.f.lost && !replaced {
			c.add("the end event of run %d is incomplete without a reason: %s", n, r.Message)
		}
		return
	}
	exit := known.exit
	unknown := r.Status == "" && n+1 < len(c.f.runs) && !known.seen // its ID had been submitted again
	if !c.f.deleted && !unknown && (r.Status != known.status || (exit == nil) != (r.ExitCode == nil) || (exit != nil && *exit != *r.ExitCode)) {
		c.add("the end event of run %d has status %q, exit code %v; want %q, %v", n, r.Status, deref(r.ExitCode), known.status, deref(exit))
	}
	want := known.content
	if t.reopened {
		want = known.late
	}
	c.ends[r.Epoch] = append(c.ends[r.Epoch], want)
	exact := !c.f.replaced
	if n > 0 && c.f.runs[n-1].text == known.text { // it appends to the log of the previous run
		exact = exact && c.complete
		want -= c.f.runs[n-1].content
	}
	if exact && *r.ContentBytes != want {
		c.add("the end event of run %d has content_bytes %d, but the run printed %d", n, *r.ContentBytes, want)
	}
}

func deref(p *int) any {
	if p == nil {
		return "none"
	}
	return *p
}

// epoch compares the records of one epoch with the text after index at that fits
// best. It returns the index of that text.
func (c *checker) epoch(recs []record, at int, last bool) int {
	ends := c.ends[recs[0].Epoch] // a line ends at each of these content offsets
	var got []record
	required := 0 // number of lines according to the last complete end event
	for _, r := range recs {
		switch {
		case r.Event == "":
			got = append(got, r)
		case r.Event == "end" && r.Complete != nil && *r.Complete && r.ContentBytes != nil:
			required = r.Seq
		}
	}
	t := max(at, 0)
	best := -1
	var want []string
	for i := max(at+1, 0); i < len(c.f.texts) && len(got) > 0; i++ {
		w := lines(c.f.texts[i], ends)
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
		want = lines(c.f.texts[t], ends)
	}
	if last {
		if len(got) > 0 && t != len(c.f.texts)-1 && !c.f.lost {
			c.add("the last epoch, %d, has an earlier content of the log", recs[0].Epoch)
		}
		if !c.f.lost {
			required = len(want)
		}
	}
	c.bitmap(recs[0].Epoch, got, want, min(required, len(want)))
	if len(got) == 0 && !last {
		return at
	}
	return t
}

// bitmap marks each line of an epoch, so that a duplicate cannot hide a lost line.
// The first required lines must be there.
func (c *checker) bitmap(epoch int, got []record, want []string, required int) {
	seen := make([]bool, len(want))
	next, reported := 0, 0
	for _, r := range got {
		c.res.lines++
		problem := ""
		switch {
		case r.Seq >= len(want):
			problem = "was never printed"
		case !same(want[r.Seq], r):
			problem = fmt.Sprintf("is not %.80q", want[r.Seq])
		case seen[r.Seq]:
			c.res.duplicated++
			problem = "is a duplicate"
		case r.Seq != next:
			problem = fmt.Sprintf("is out of order, expected line %d", next)
		}
		if r.Seq < len(want) {
			seen[r.Seq] = true
		}
		next = r.Seq + 1
		if problem != "" && reported < 5 {
			reported++
			c.add("line %d of epoch %d %s: %.80q", r.Seq, epoch, problem, r.Message)
		}
	}
	lost := 0
	for _, ok := range seen[:required] {
		if !ok {
			lost++
		}
	}
	if lost > 0 {
		c.res.lost += lost
		c.add("epoch %d: %d of %d lines are lost, the first is line %d", epoch, lost, required, slices.Index(seen, false))
	}
}

// lines splits a log into lines. A line also ends at each of the content offsets in
// ends, at which raytap read the end of a run.
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

// same reports whether a record contains a line.
func same(line string, r record) bool {
	if r.skipped {
		return true
	}
	want := strings.ToValidUTF8(line, "\uFFFD")
	if len(line) > maxMessage {
		return r.Truncated && r.Bytes == len(line) && len(r.Message) > maxMessage-4 && strings.HasPrefix(want, r.Message)
	}
	// The number of U+FFFD for a sequence of invalid bytes depends on the encoder.
	return !r.Truncated && squeeze(want) == squeeze(r.Message)
}

var replacements = regexp.MustCompile("\uFFFD+")

func squeeze(s string) string { return replacements.ReplaceAllString(s, "\uFFFD") }
