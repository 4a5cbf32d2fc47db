package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// bench is what one run of the benchmark knows.
type bench struct {
	self, raytap, vlagent, rsyslogd string // binaries; "" where there is none
	python                          string // of the published client of agents
	dir, corpus                     string
	lines                           int // of the corpus
	longLines                       int // of the corpus of the long parts
	runs                            int
}

// on gives the benchmark on a log of so many lines.
func (b *bench) on(lines int) (*bench, error) {
	other := *b
	var err error
	other.lines = lines
	other.corpus, err = makeCorpus(b.dir, lines)
	return &other, err
}

// long gives the benchmark on the long log, with one run of each measurement.
func (b *bench) long() (*bench, error) {
	other, err := b.on(b.longLines)
	other.runs = 1
	return other, err
}

// cost is what a process has taken.
type cost struct {
	cpu  time.Duration
	peak int64 // of resident memory, in bytes
}

// How the ten jobs are followed: a second's lines come once a second.
const (
	followJobs = 10
	followRate = 1000 // lines a second of each
	followFor  = 20 * time.Second
)

var followHead = strings.Fields(fmt.Sprintf("-mode follow -jobs %d -rate %d", followJobs, followRate))

// followed gives what a process takes while it follows.
func (b *bench) followed(p *process) (cost, error) {
	time.Sleep(5 * time.Second) // it has found its jobs
	before := p.cpu()
	time.Sleep(followFor)
	return cost{cpu: p.cpu() - before, peak: p.memory("VmHWM")}, nil
}

// plain measures the yardstick on the whole corpus.
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

// row is one line of the table of costs.
type row struct {
	name    string
	measure func() (cost, error)
	against string  // the row of the yardstick for it
	plain   float64 // the bar: at most so many times the yardstick; 0: none
	vlagent float64 // and so many times vlagent
	least   cost
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
		rows = append(rows, &row{name: "vlagent, file to HTTP, thrown away there", measure: b.measureVlagent})
	}
	if b.rsyslogd != "" {
		rows = append(rows, &row{name: "rsyslog, file to a file of JSON", measure: b.measureRsyslog})
	}
	return rows
}

// unjudged takes the bars off: they are for another length of the log.
func unjudged(rows []*row) []*row {
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
	rows := unjudged(long.costRows())
	title := fmt.Sprintf("CPU for a million lines, on a log of %d (%s)", long.lines, mib(int64(long.lines)*lineSize))
	if err := long.table(title, float64(long.lines)/1e6, rows); err != nil {
		return err
	}
	var peak int64
	for _, r := range rows {
		if strings.HasPrefix(r.name, "raytap") {
			peak = max(peak, r.least.peak)
		}
	}
	fmt.Printf("\nPeak memory of raytap: %s (bar: 40.0 MiB)\n", mib(peak))
	return nil
}

// resume measures what a restart on the long log moves.
func (b *bench) resume() error {
	long, err := b.long()
	if err != nil {
		return err
	}
	n, err := long.resumed()
	if err != nil {
		return err
	}
	fmt.Printf("\n## Resume\n\nA restart on a log of %s that was read moved %s (bar: 1.0 MiB).\n", mib(int64(long.lines)*lineSize), mib(n))
	return nil
}

// all measures the parts that are named, and prints.
func (b *bench) all(parts string) error {
	b.describe()
	for part := range strings.SplitSeq(parts, ",") {
		var err error
		switch part {
		case "cost":
			err = b.table(fmt.Sprintf("CPU for a million lines, on a log of %d", b.lines), float64(b.lines)/1e6, b.costRows())
		case "long":
			err = b.longCosts()
		case "follow":
			err = b.table(fmt.Sprintf("CPU while following %d jobs at %d lines a second each, for a million lines", followJobs, followRate),
				followJobs*followRate*followFor.Seconds()/1e6, b.followRows())
		case "memory":
			err = b.memories()
		case "resume":
			err = b.resume()
		case "sizing":
			err = b.sizing()
		case "agent":
			if _, err = os.Stat(b.python); err != nil {
				fmt.Fprintln(os.Stderr, "bench: agent is left out:", err)
				err = nil
				continue
			}
			err = b.agentTails()
		default:
			err = fmt.Errorf("there is no part %q", part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
