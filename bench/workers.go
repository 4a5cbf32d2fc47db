package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"raytap/ray"
	"raytap/ray/raytest"
)

// workerCase is one row of the table of workers.
type workerCase struct {
	workers int // that are alive, on one node; each has two files
	prints  bool
	nodes   int // that many nodes have as many workers each
	old     int // files of workers that ended before raytap was started; they are only listed
}

var workerCases = []workerCase{
	{workers: 10, nodes: 1}, {workers: 100, nodes: 1}, {workers: 1000, nodes: 1},
	{workers: 10, nodes: 1, prints: true}, {workers: 100, nodes: 1, prints: true}, {workers: 1000, nodes: 1, prints: true},
	{workers: 5000, nodes: 2}, // 20,000 files
	{workers: 100, nodes: 1, old: 49_800},
}

func (c workerCase) lines() int { return c.workers * c.nodes * silentLines }

// runWorkersHead serves a fake Ray whose nodes have logs of workers, until its stdin ends.
func runWorkersHead(args []string) error {
	fs := flag.NewFlagSet("workers-head", flag.ContinueOnError)
	var c workerCase
	fs.IntVar(&c.workers, "workers", 10, "")
	fs.IntVar(&c.nodes, "nodes", 1, "")
	fs.IntVar(&c.old, "old", 0, "")
	fs.BoolVar(&c.prints, "prints", false, "each worker prints a line a second")
	if err := fs.Parse(args); err != nil {
		return err
	}
	h, err := raytest.Start()
	if err != nil {
		return err
	}
	defer h.Close()
	for i := range c.nodes - 1 {
		if _, err := h.AddNode(fmt.Sprintf("127.0.0.%d", i+2)); err != nil {
			return err
		}
	}
	for i, n := range h.Nodes() {
		fillNode(n, i, c)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var lines atomic.Int64
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { //nolint:errcheck // it ends with the process
		agents := h.Requests(raytest.EndpointNodeAgent) + h.Requests(raytest.EndpointAgentStat) + h.Requests(raytest.EndpointAgentIndex)
		fmt.Fprintln(w, h.Requests("")-agents, agents, lines.Load())
	}))
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if c.prints {
		go printWorkers(ctx, h.Nodes(), c, &lines)
	}
	fmt.Println(h.URL(), "http://"+l.Addr().String())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// workerLog returns the name of a log of worker i of a node.
func workerLog(node, i int, stream string) string {
	return fmt.Sprintf("worker-%028x%028x-01000000-%d.%s", node+1, i+1, i+100, stream)
}

// fillNode writes the logs of a node's workers.
func fillNode(n *raytest.Node, node int, c workerCase) {
	text := strings.Repeat(sizingLine(0), silentLines)
	live := make([]ray.Worker, c.workers)
	for i := range c.workers + c.old/2 {
		n.WriteFile(workerLog(node, i, "out"), ":job_id:01000000\n"+text)
		n.WriteFile(workerLog(node, i, "err"), ":job_id:01000000\n")
		if i < c.workers {
			live[i] = ray.Worker{ID: fmt.Sprintf("%028x%028x", node+1, i+1), PID: i + 100, JobID: "01000000"}
		}
	}
	n.SetWorkers(live...)
}

// printWorkers prints a line of each worker every second. Every 50 ms it is the turn of
// another twentieth of the workers.
func printWorkers(ctx context.Context, nodes []*raytest.Node, c workerCase, lines *atomic.Int64) {
	const parts = 20
	tick := time.NewTicker(time.Second / parts)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		text := sizingLine(n)
		for node := range nodes {
			for i := n % parts; i < c.workers; i += parts {
				nodes[node].AppendFile(workerLog(node, i, "out"), text)
				lines.Add(1)
			}
		}
	}
}

// sizeWorkers measures raytap, with logs of workers, on a fake cluster.
func (b *bench) sizeWorkers(c workerCase) (sized, error) {
	dir, err := os.MkdirTemp(b.dir, "workers-")
	if err != nil {
		return sized{}, err
	}
	defer os.RemoveAll(dir)
	head, err := serve(b.self, "workers-head", "-workers", strconv.Itoa(c.workers), "-nodes", strconv.Itoa(c.nodes),
		"-old", strconv.Itoa(c.old), "-prints="+strconv.FormatBool(c.prints))
	if err != nil {
		return sized{}, err
	}
	defer head.stop()
	url, counters, _ := strings.Cut(head.url, " ")
	listen, err := freeAddress()
	if err != nil {
		return sized{}, err
	}
	file := filepath.Join(dir, "raytap.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, `
clusters: [{name: bench, url: %q}]
shipper: {sources: [driver, worker]}
sink: {file: {path: %q}}
web: {listen_addresses: [%q]}
log: {level: error}
`, url, filepath.Join(dir, "raytap.jsonl"), listen), 0o600); err != nil {
		return sized{}, err
	}
	began := time.Now()
	p, err := launch(nil, b.raytap, "--config.file", file)
	if err != nil {
		return sized{}, err
	}
	defer p.stop()
	return watchSize(p, "http://"+listen+"/metrics", counters, c.lines(), began)
}

// workers prints the table of workers of docs/sizing.md.
func (b *bench) workers() error {
	fmt.Print("\n## Workers\n\n| workers | files | | CPU, cores | memory | requests/s, node agents | caught up | lines written of those printed |\n|---|---|---|---|---|---|---|---|\n")
	for _, c := range workerCases {
		s, err := b.sizeWorkers(c)
		if err != nil {
			return err
		}
		what, kept, caught := "quiet", "", "not in "+sizingSettle.String()
		if s.caughtUp > 0 {
			caught = fmt.Sprintf("%.0f s", s.caughtUp.Seconds())
		}
		if c.prints {
			what, kept = "printing", fmt.Sprintf("%.0f %%", 100*s.written)
		}
		fmt.Printf("| %d | %d | %s | %.3f | %s | %.1f | %s | %s |\n", c.workers*c.nodes, 2*c.workers*c.nodes+c.old, what, s.cores, mib(s.memory), s.nodeAgent, caught, kept)
	}
	return nil
}
