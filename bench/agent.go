package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"raytap/ray"
	"raytap/ray/synapse"
	"raytap/ray/synapsetest"
	"raytap/ray/transport"
)

// This file: the WebSocket tail of a Synapse agent, by raytap's library and by
// the client that agents publish.

// agentLines bounds the log: the published client takes its time.
const agentLines = 300_000

// agentBar is what a line may cost at most of what it costs the published client.
const agentBar = 0.1

// runAgent serves a log as a fake agent until its stdin ends.
func runAgent(args []string) error {
	fs := flag.NewFlagSet("agent", flag.ContinueOnError)
	path := fs.String("log", "", "")
	lines := fs.Int("lines", 0, "of the log")
	if err := fs.Parse(args); err != nil {
		return err
	}
	log, err := os.ReadFile(*path)
	if err != nil {
		return err
	}
	a, err := synapsetest.Start()
	if err != nil {
		return err
	}
	defer a.Close()
	job := a.Submit(jobID(0), synapsetest.JobOptions{})
	if _, err := job.Write(log[:*lines*lineSize]); err != nil {
		return err
	}
	job.End("SUCCEEDED", 0)
	fmt.Println(a.URL())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// runAgentTail reads a tail to its end by the library and prints the CPU-seconds
// that this took and how many lines came.
func runAgentTail(args []string) error {
	fs := flag.NewFlagSet("agent-tail", flag.ContinueOnError)
	url := fs.String("url", "", "the agent")
	if err := fs.Parse(args); err != nil {
		return err
	}
	t, err := synapse.NewTransport(transport.Options{URL: *url}, synapse.Credentials{})
	if err != nil {
		return err
	}
	c, err := synapse.New(t, synapse.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	o := ray.DefaultTailOptions()
	o.Protocol, o.Limits = ray.TailWebSocket, ray.StreamLimits{MaxMessageSize: 10 << 10}
	before, n := ownCPU(), 0
	for line, err := range c.Tail(context.Background(), jobID(0), o) {
		if err != nil {
			return err
		}
		if len(line.Text) > 0 {
			n++
		}
	}
	fmt.Println((ownCPU() - before).Seconds(), n)
	return nil
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// publishedTail does the same with the published client, which prints the same.
const publishedTail = `
import sys, time
from synapse_sdk.clients.agent import AgentClient
client = AgentClient(sys.argv[1], "token")
client.stream_limits.max_messages = 1 << 40
before, n = time.process_time(), 0
for line in client.tail_job_logs(sys.argv[2], protocol="websocket"):
    n += 1
print(time.process_time() - before, n)
`

// agentTails measures both tails on the same agent, in turn, and prints the cost
// of a line.
func (b *bench) agentTails() error {
	lines := min(b.lines, agentLines)
	python, err := filepath.Abs(b.python)
	if err != nil {
		return err
	}
	server, err := serve(b.self, "agent", "-log", b.corpus, "-lines", strconv.Itoa(lines))
	if err != nil {
		return err
	}
	defer server.stop()
	least := map[string]float64{}
	for range b.runs {
		for name, cmd := range map[string]*exec.Cmd{
			"raytap":    exec.Command(b.self, "agent-tail", "-url", server.url),
			"published": exec.Command(python, "-c", publishedTail, server.url, jobID(0)),
		} {
			cpu, err := tailCost(cmd, lines)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if was, ok := least[name]; !ok || cpu < was {
				least[name] = cpu
			}
			fmt.Fprintf(os.Stderr, "%s: %.3f\n", name, cpu)
		}
	}
	million := 1e6 / float64(lines)
	fmt.Printf("\n## The WebSocket tail of a Synapse agent, CPU for a million lines of 200 bytes, a message each\n\n| | CPU-s | of the published client |\n|---|---|---|\n")
	fmt.Printf("| the published client | %.2f | 1.00 |\n", least["published"]*million)
	fmt.Printf("| raytap's library, Tail | %.2f | %s |\n", least["raytap"]*million, ratio(least["raytap"], least["published"], agentBar))
	return nil
}

// tailCost runs one that prints its CPU-seconds and its lines.
func tailCost(cmd *exec.Cmd, lines int) (float64, error) {
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(out))
	if len(fields) != 2 || fields[1] != strconv.Itoa(lines) {
		return 0, fmt.Errorf("it read %q of %d lines", fields, lines)
	}
	return strconv.ParseFloat(fields[0], 64)
}
