package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// pilot is a raytap at work on a head.
type pilot struct {
	*process
	head *process
	page string
}

// Where raytap's lines go.
const (
	toNull = "null" // stdout, which is /dev/null
	toPipe = "pipe" // stdout, which is a pipe
	toFile = "file" // the file sink, with positions: exactly once
)

// setup says what raytap is to do.
type setup struct {
	head     []string // arguments of the head
	to       string
	protocol string // of the shipper
	agents   string // node_agents.mode
	dir      string // for its files; it is kept where it is named
}

func (b *bench) config(s setup, head, page string) (string, error) {
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
`, head, s.agents, s.protocol, positions, sink, page)), 0o600)
}

// start starts a head and raytap on it.
func (b *bench) start(s setup) (*pilot, error) {
	head, err := serve(b.self, append([]string{"head", "-log", b.corpus}, s.head...)...)
	if err != nil {
		return nil, err
	}
	return b.startOn(head, s)
}

func (b *bench) startOn(head *process, s setup) (*pilot, error) {
	page, err := freeAddress()
	if err != nil {
		return nil, err
	}
	config, err := b.config(s, head.url, page)
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
	return &pilot{process: p, head: head, page: "http://" + page + "/metrics"}, err
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

// sent tells how many bytes of logs the head has sent by WebSockets and whole
// reads, and by its agent, and how often its agent was asked.
func (p *pilot) sent() (tails, agent, polls int64) {
	fmt.Sscan(fetch(p.head.url+"/bench/sent"), &tails, &agent, &polls) //nolint:errcheck // zeroes are fine
	return tails, agent, polls
}

// written waits until so many records are written. It looks at raytap's page as
// seldom as it can: that costs CPU, too.
func (p *pilot) written(records, bytes int64) error {
	err := await("the head has sent it all", func() bool {
		tails, agent, _ := p.sent()
		return tails+agent >= bytes
	})
	if err != nil {
		return err
	}
	return await("raytap has written it all", func() bool {
		return sample(fetch(p.page), "raytap_sink_records_total") >= float64(records)
	})
}

func (p *pilot) stop() {
	p.process.stop()
	p.head.stop()
}

// replay measures how raytap ships the whole corpus.
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

// follow measures how raytap follows ten jobs, for the time of b.followed.
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

// resumed gives the bytes that a restart on a log that was read moves.
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
	tails, agent, polls := p.sent()
	if p, err = b.startOn(p.head, s); err != nil {
		return 0, err
	}
	defer p.process.stop()
	err = await("raytap has resumed", func() bool {
		_, _, now := p.sent()
		return now >= polls+3
	})
	tails2, agent2, _ := p.sent()
	return tails2 + agent2 - tails - agent, err
}

// resident gives the memory of raytap on silent jobs, once it does not change
// much any more: the largest figure of some seconds.
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
