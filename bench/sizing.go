package main

import (
	"compress/gzip"
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

	"raytap/ray/raytest"
)

// The sizing table is measured with raytap's defaults and a scrape every 15 s.
const (
	sizingSettle = 4 * time.Minute // longest wait until all existing lines are shipped
	sizingScrape = 15 * time.Second
	sizingFor    = 2 * sizingScrape
)

// sizes are the numbers of jobs to measure.
var sizes = []int{10, 100, 1000, 5000}

// runSizingHead serves a fake Ray with running jobs until its stdin ends. Unlike
// [head], it has all APIs that raytap uses, also those for metrics. It first prints its
// URL and that of its counters.
func runSizingHead(args []string) error {
	fs := flag.NewFlagSet("sizing-head", flag.ContinueOnError)
	jobs := fs.Int("jobs", 10, "")
	prints := fs.Bool("prints", false, "each job prints a line a second")
	if err := fs.Parse(args); err != nil {
		return err
	}
	h, err := raytest.Start(raytest.PollInterval(time.Second)) // as Ray's own tail
	if err != nil {
		return err
	}
	defer h.Close()
	all := make([]*raytest.Job, *jobs)
	for i := range all {
		all[i] = h.Submit(jobID(i), raytest.JobOptions{
			JobID: fmt.Sprintf("%08x", i+1), EmptyLog: true, Metadata: map[string]string{"job_name": fmt.Sprintf("train-%d", i)},
		})
		all[i].Print(strings.Repeat(sizingLine(0), silentLines))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var lines atomic.Int64
	lines.Store(int64(*jobs) * silentLines)
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { //nolint:errcheck // it ends with the process
		nodeAgent := h.Requests(raytest.EndpointNodeAgent)
		fmt.Fprintln(w, h.Requests("")-nodeAgent, nodeAgent, lines.Load())
	}))
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if *prints {
		go printSizing(ctx, all, &lines)
	}
	fmt.Println(h.URL(), "http://"+l.Addr().String())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// sizingLine returns the nth line of a job, as long as those of the corpus.
func sizingLine(n int) string {
	return fmt.Sprintf("%-*s\n", lineSize-1, fmt.Sprintf("2026-11-24 12:00:00,123 INFO train: step %d loss 2.3844", n))
}

// printSizing prints a line of each job every second. Every 50 ms it is the turn of
// another twentieth of the jobs.
func printSizing(ctx context.Context, jobs []*raytest.Job, lines *atomic.Int64) {
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
		for i := n % parts; i < len(jobs); i += parts {
			jobs[i].Print(text)
			lines.Add(1)
		}
	}
}

// sized is what raytap uses on a cluster of one size.
type sized struct {
	caughtUp             time.Duration // until all existing lines were written; 0: not in time
	cores                float64
	memory               int64   // peak resident memory in bytes
	dashboard, nodeAgent float64 // requests per second
	written              float64 // ratio of lines written to lines printed; 0: none were printed
	scrape               time.Duration
	size, compressed     int // bytes of a /metrics response
	files                int // open file descriptors
}

// size measures raytap with its default configuration.
func (b *bench) size(jobs int, prints bool, agents string) (sized, error) {
	dir, err := os.MkdirTemp(b.dir, "size-")
	if err != nil {
		return sized{}, err
	}
	defer os.RemoveAll(dir)
	head, err := serve(b.self, "sizing-head", "-jobs", strconv.Itoa(jobs), "-prints="+strconv.FormatBool(prints))
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
clusters: [{name: bench, url: %q, node_agents: {mode: %q}}]
sink: {file: {path: %q}}
web: {listen_addresses: [%q]}
log: {level: error}
`, url, agents, filepath.Join(dir, "raytap.jsonl"), listen), 0o600); err != nil {
		return sized{}, err
	}
	began := time.Now()
	p, err := launch(nil, b.raytap, "--config.file", file)
	if err != nil {
		return sized{}, err
	}
	defer p.stop()
	return watchSize(p, "http://"+listen+"/metrics", counters, jobs*silentLines, began)
}

// watchSize waits until raytap has written all existing lines, and measures from then
// on.
func watchSize(p *process, metrics, counters string, lines int, began time.Time) (sized, error) {
	var s sized
	written := func() float64 { return sample(fetch(metrics), "raytap_shipper_lines_total") }
	for time.Since(began) < sizingSettle && s.caughtUp == 0 {
		time.Sleep(500 * time.Millisecond)
		if written() >= float64(lines) {
			s.caughtUp = time.Since(began)
		}
	}
	time.Sleep(max(10*time.Second, 30*time.Second-time.Since(began))) // until silent jobs are polled less often
	count := func() (dashboard, nodeAgent, lines float64) {
		fmt.Sscan(fetch(counters), &dashboard, &nodeAgent, &lines) //nolint:errcheck // zeroes are fine
		return dashboard, nodeAgent, lines
	}
	cpu, from, before := p.cpu(), time.Now(), written()
	dashboard, nodeAgent, printed := count()
	for until := from.Add(sizingFor); time.Now().Before(until); {
		if err := s.scraped(metrics); err != nil {
			return s, err
		}
		for next := time.Now().Add(sizingScrape); time.Now().Before(next); time.Sleep(500 * time.Millisecond) {
			s.files = max(s.files, p.openFiles())
		}
	}
	seconds := time.Since(from).Seconds()
	s.cores = (p.cpu() - cpu).Seconds() / seconds
	dashboard2, nodeAgent2, printed2 := count()
	s.dashboard, s.nodeAgent = (dashboard2-dashboard)/seconds, (nodeAgent2-nodeAgent)/seconds
	if printed2 > printed {
		s.written = (written() - before) / (printed2 - printed)
	}
	s.memory = p.memory("VmHWM")
	return s, nil
}

// scraped scrapes /metrics, compressed as for Prometheus. The slowest scrape counts.
func (s *sized) scraped(url string) error {
	req, err := http.NewRequest(http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Encoding", "gzip")
	began := time.Now()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body := &counted{from: res.Body}
	z, err := gzip.NewReader(body)
	if err != nil {
		return fmt.Errorf("%s: %w", res.Status, err)
	}
	n, err := io.Copy(io.Discard, z)
	s.scrape, s.size, s.compressed = max(s.scrape, time.Since(began)), int(n), body.n
	return err
}

// counted counts the bytes read.
type counted struct {
	from io.Reader
	n    int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += n
	return n, err
}

// openFiles returns the number of open file descriptors.
func (p *process) openFiles() int {
	list, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	return len(list)
}

// sizing prints the tables of docs/sizing.md.
func (b *bench) sizing() error {
	for _, agents := range []string{"auto", "off"} {
		fmt.Printf("\n## Sizes, %s\n\n| jobs | | CPU, cores | memory | requests/s, dashboard | requests/s, node agents | caught up | lines kept up with | scrape | scrape size | file descriptors |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
			map[string]string{"auto": "with node agents", "off": "without node agents"}[agents])
		for _, prints := range []bool{false, true} {
			for _, jobs := range sizes {
				s, err := b.size(jobs, prints, agents)
				if err != nil {
					return err
				}
				s.print(jobs, prints)
			}
		}
	}
	return nil
}

func (s sized) print(jobs int, prints bool) {
	what, kept, caught := "silent", "", "not in "+sizingSettle.String()
	if s.caughtUp > 0 {
		caught = fmt.Sprintf("%.0f s", s.caughtUp.Seconds())
	}
	if prints {
		what, kept = "printing", fmt.Sprintf("%.0f %%", 100*s.written)
	}
	fmt.Printf("| %d | %s | %.3f | %s | %.1f | %.1f | %s | %s | %.0f ms | %.2f MB (%.0f kB) | %d |\n", jobs, what, s.cores, mib(s.memory),
		s.dashboard, s.nodeAgent, caught, kept, float64(s.scrape.Microseconds())/1e3, float64(s.size)/1e6, float64(s.compressed)/1e3, s.files)
}
