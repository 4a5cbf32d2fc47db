package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// raytapRun is a running raytap and the head that it reads.
type raytapRun struct {
	*process
	head    *process
	metrics string // URL
}

// Destinations of raytap's records.
const (
	toNull = "null" // stdout, which is /dev/null
	toPipe = "pipe" // stdout, which is a pipe
	toFile = "file" // the file sink, with positions: exactly once
)

// setup configures a raytapRun.
type setup struct {
	head     []string // arguments of the head
	to       string
	protocol string // of the shipper
	agents   string // node_agents.mode
	dir      string // for its files
}

func (b *bench) config(s setup, head, listen string) (string, error) {
	sink, positions := "stdout: {}", filepath.Join(s.dir, "positions.db")
	if s.to == toFile {
		sink = "file: {path: " + filepath.Join(s.dir, "raytap.jsonl") + "}"
	}
	path := filepath.Join(s.dir, "raytap.yaml")
	return path, os.WriteFile(path, []byte(fmt.Sprintf(`
clusters: [{name: bench, url: %q, node_agents: {mode: %q}}]
collector: {enabled: false}
shipper: {protocol: %s, positions: {file: %s}}
sink: {%s}
web: {listen_addresses: [%q]}
log: {level: error}
`, head, s.agents, s.protocol, positions, sink, listen)), 0o600)
}

// start starts a head and raytap on it.
func (b *bench) start(s setup) (*raytapRun, error) {
	head, err := serve(b.self, append([]string{"head", "-log", b.corpus}, s.head...)...)
	if err != nil {
		return nil, err
	}
	return b.startOn(head, s)
}

func (b *bench) startOn(head *process, s setup) (*raytapRun, error) {
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	config, err := b.config(s, head.url, listen)
	if err != nil {
		return nil, err
	}
	var out *os.File
	if s.to == toPipe {
		var in *os.File
		if in, out, err = os.Pipe(); err != nil {
			return nil, err
		}
		defer out.Close()
		go drainPipe(in)
	}
	p, err := launch(out, b.raytap, "--config.file", config)
	return &raytapRun{process: p, head: head, metrics: "http://" + listen + "/metrics"}, err
}

func drainPipe(in *os.File) {
	defer in.Close()
	buf := make([]byte, 256<<10)
	for {
		if _, err := in.Read(buf); err != nil {
			return
		}
	}
}

// sent returns how many bytes of logs the head has sent over WebSockets and full
// reads, and by its node agent, and the number of requests to the node agent.
func (p *raytapRun) sent() (tails, nodeAgent, polls int64) {
	fmt.Sscan(fetch(p.head.url+"/bench/sent"), &tails, &nodeAgent, &polls) //nolint:errcheck // zeroes are fine
	return tails, nodeAgent, polls
}

// written waits until the head has sent all bytes and raytap has written all records.
// It scrapes raytap as little as possible, because a scrape costs CPU, too.
func (p *raytapRun) written(records, bytes int64) error {
	err := await("the head has sent everything", func() bool {
		tails, nodeAgent, _ := p.sent()
		return tails+nodeAgent >= bytes
	})
	if err != nil {
		return err
	}
	return await("raytap has written everything", func() bool {
		return sample(fetch(p.metrics), "raytap_sink_records_total") >= float64(records)
	})
}

func (p *raytapRun) stop() {
	p.process.stop()
	p.head.stop()
}

// replay measures raytap while it ships the whole corpus.
func (b *bench) replay(to, protocol string) (cost, error) {
	dir, err := os.MkdirTemp(b.dir, "replay-")
	if err != nil {
		return cost{}, err
	}
	defer os.RemoveAll(dir)
	p, err := b.start(setup{to: to, protocol: protocol, agents: "auto", dir: dir})
	if err != nil {
		return cost{}, err
	}
	defer p.stop()
	if err := p.written(int64(b.lines), int64(b.lines)*lineSize); err != nil {
		return cost{}, err
	}
	return cost{cpu: p.cpu(), peak: p.memory("VmHWM")}, nil
}

// follow measures raytap while it follows ten jobs.
func (b *bench) follow(protocol string) (cost, error) {
	dir, err := os.MkdirTemp(b.dir, "follow-")
	if err != nil {
		return cost{}, err
	}
	defer os.RemoveAll(dir)
	p, err := b.start(setup{head: followHead, to: toFile, protocol: protocol, agents: "auto", dir: dir})
	if err != nil {
		return cost{}, err
	}
	defer p.stop()
	return b.followed(p.process)
}

// resumed returns the bytes that a restart transfers on a log that was already read.
func (b *bench) resumed() (bytes int64, err error) {
	dir, err := os.MkdirTemp(b.dir, "resume-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	s := setup{to: toFile, protocol: "auto", agents: "auto", dir: dir}
	p, err := b.start(s)
	if err != nil {
		return 0, err
	}
	defer p.head.stop()
	if err := p.written(int64(b.lines), int64(b.lines)*lineSize); err != nil {
		return 0, err
	}
	p.process.stop()
	tails, nodeAgent, polls := p.sent()
	if p, err = b.startOn(p.head, s); err != nil {
		return 0, err
	}
	defer p.process.stop()
	err = await("raytap has resumed", func() bool {
		_, _, now := p.sent()
		return now >= polls+3
	})
	tails2, nodeAgent2, _ := p.sent()
	return tails2 + nodeAgent2 - tails - nodeAgent, err
}

// resident returns the resident memory of raytap on silent jobs after settle: the
// maximum over some seconds.
func (b *bench) resident(jobs int, agents string, settle time.Duration) (int64, error) {
	dir, err := os.MkdirTemp(b.dir, "silent-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	p, err := b.start(setup{head: strings.Fields(fmt.Sprintf("-mode silent -jobs %d", jobs)), to: toFile, protocol: "auto", agents: agents, dir: dir})
	if err != nil {
		return 0, err
	}
	defer p.stop()
	time.Sleep(settle)
	var most int64
	for range 50 {
		most = max(most, p.memory("VmRSS"))
		time.Sleep(100 * time.Millisecond)
	}
	return most, nil
}
