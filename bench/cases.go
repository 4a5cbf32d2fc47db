package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// bench is one run of the benchmark.
type bench struct {
	self, raytap, vlagent, rsyslogd string // binaries; "" if not available
	python                          string // with the published client of Synapse agents
	dir, corpus                     string
	lines                           int // of the corpus
	longLines                       int // of the corpus of the parts long and resume
	runs                            int
}

// on returns the benchmark on a log of the given length.
func (b *bench) on(lines int) (*bench, error) {
	other := *b
	var err error
	other.lines = lines
	other.corpus, err = makeCorpus(b.dir, lines)
	return &other, err
}

// long returns the benchmark on the long log, with one run of each measurement.
func (b *bench) long() (*bench, error) {
	other, err := b.on(b.longLines)
	other.runs = 1
	return other, err
}

// cost is what a process has used.
type cost struct {
	cpu  time.Duration
	peak int64 // resident memory in bytes
}

// The follow part: each job prints its lines of a second at once.
const (
	followJobs = 10
	followRate = 1000 // lines per second and job
	followFor  = 20 * time.Second
)

var followHead = strings.Fields(fmt.Sprintf("-mode follow -jobs %d -rate %d", followJobs, followRate))

// followed returns what a process uses while it follows.
func (b *bench) followed(p *process) (cost, error) {
	time.Sleep(5 * time.Second) // until it has discovered the jobs
	before := p.cpu()
	time.Sleep(followFor)
	return cost{cpu: p.cpu() - before, peak: p.memory("VmHWM")}, nil
}

// plain measures the baseline on the whole corpus.
func (b *bench) plain(to string) (cost, error) {
	out := filepath.Join(b.dir, "plain.jsonl")
	if to == toNull {
		out = os.DevNull
	} else {
		defer os.Remove(out)
	}
	head, err := serve(b.self, "head", "-log", b.corpus)
	if err != nil {
		return cost{}, err
	}
	defer head.stop()
	p, err := launch(nil, b.self, "plain", "-url", head.url, "-lines", strconv.Itoa(b.lines), "-out", out)
	if err != nil {
		return cost{}, err
	}
	if err := p.cmd.Wait(); err != nil {
		return cost{}, fmt.Errorf("plain reader: %w", err)
	}
	s := p.cmd.ProcessState
	return cost{cpu: s.UserTime() + s.SystemTime()}, nil
}

func (b *bench) plainFollow() (cost, error) {
	out := filepath.Join(b.dir, "plain.jsonl")
	defer os.Remove(out)
	head, err := serve(b.self, append([]string{"head", "-log", b.corpus}, followHead...)...)
	if err != nil {
		return cost{}, err
	}
	defer head.stop()
	p, err := launch(nil, b.self, "plain", "-url", head.url, "-jobs", strconv.Itoa(followJobs), "-out", out)
	if err != nil {
		return cost{}, err
	}
	defer p.stop()
	return b.followed(p)
}

// row is one row of a cost table.
type row struct {
	name    string
	measure func() (cost, error)
	against string  // name of the baseline row
	plain   float64 // target: maximum ratio to the baseline; 0: none
	vlagent float64 // target: maximum ratio to vlagent; 0: none
	lowest  cost
}

func (b *bench) costRows() []*row {
	rows := []*row{
		{name: "plain reader to /dev/null", measure: func() (cost, error) { return b.plain(toNull) }, vlagent: 0.3},
		{name: "plain reader to a file", measure: func() (cost, error) { return b.plain(toFile) }},
		{name: "raytap, WebSocket to stdout (/dev/null)", measure: func() (cost, error) { return b.replay(toNull, "websocket") },
			against: "plain reader to /dev/null", plain: 1.6, vlagent: 0.45},
		{name: "raytap, WebSocket to stdout (a pipe)", measure: func() (cost, error) { return b.replay(toPipe, "websocket") }},
		{name: "raytap, WebSocket to its file, exactly once", measure: func() (cost, error) { return b.replay(toFile, "websocket") },
			against: "plain reader to a file", plain: 1.6, vlagent: 0.75},
		{name: "raytap, node agent to its file, exactly once", measure: func() (cost, error) { return b.replay(toFile, "http") },
			against: "plain reader to a file", plain: 1.6, vlagent: 0.75},
	}
	if b.vlagent != "" {
		rows = append(rows, &row{name: "vlagent, file to HTTP, discarded there", measure: b.measureVlagent})
	}
	if b.rsyslogd != "" {
		rows = append(rows, &row{name: "rsyslog, file to a file of JSON", measure: b.measureRsyslog})
	}
	return rows
}

// withoutTargets removes the targets, which apply to another length of the log.
func withoutTargets(rows []*row) []*row {
	for _, r := range rows {
		r.plain, r.vlagent = 0, 0
	}
	return rows
}

func (b *bench) followRows() []*row {
	return []*row{
		{name: "plain reader, WebSockets to a file", measure: b.plainFollow},
		{name: "raytap, WebSockets to its file, exactly once", measure: func() (cost, error) { return b.follow("websocket") },
			against: "plain reader, WebSockets to a file", plain: 1.5},
		{name: "raytap, node agent to its file, exactly once", measure: func() (cost, error) { return b.follow("http") },
			against: "plain reader, WebSockets to a file", plain: 1.5},
	}
}

// longCosts measures the costs on the long log, for the peak of memory.
func (b *bench) longCosts() error {
	long, err := b.long()
	if err != nil {
		return err
	}
	rows := withoutTargets(long.costRows())
	title := fmt.Sprintf("CPU per million lines, on a log of %d lines (%s)", long.lines, mib(int64(long.lines)*lineSize))
	if err := long.table(title, float64(long.lines)/1e6, rows); err != nil {
		return err
	}
	var peak int64
	for _, r := range rows {
		if strings.HasPrefix(r.name, "raytap") {
			peak = max(peak, r.lowest.peak)
		}
	}
	fmt.Printf("\nPeak memory of raytap: %s (target: 40.0 MiB)\n", mib(peak))
	return nil
}

// resume measures how many bytes a restart on the long log reads.
func (b *bench) resume() error {
	long, err := b.long()
	if err != nil {
		return err
	}
	n, err := long.resumed()
	if err != nil {
		return err
	}
	fmt.Printf("\n## Resume\n\nA restart on a log of %s that was already read transferred %s (target: 1.0 MiB).\n", mib(int64(long.lines)*lineSize), mib(n))
	return nil
}

// all measures the named parts and prints the results.
func (b *bench) all(parts string) error {
	b.describe()
	for part := range strings.SplitSeq(parts, ",") {
		var err error
		switch part {
		case "cost":
			err = b.table(fmt.Sprintf("CPU per million lines, on a log of %d lines", b.lines), float64(b.lines)/1e6, b.costRows())
		case "long":
			err = b.longCosts()
		case "follow":
			err = b.table(fmt.Sprintf("CPU per million lines, following %d jobs at %d lines a second each", followJobs, followRate),
				followJobs*followRate*followFor.Seconds()/1e6, b.followRows())
		case "memory":
			err = b.memories()
		case "resume":
			err = b.resume()
		case "sizing":
			err = b.sizing()
		case "workers":
			err = b.workers()
		case "synapse":
			if _, err = os.Stat(b.python); err != nil {
				fmt.Fprintln(os.Stderr, "bench: synapse is skipped:", err)
				err = nil
				continue
			}
			err = b.synapseTails()
		default:
			err = fmt.Errorf("unknown part %q", part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
