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

// This file compares the WebSocket tail of a Synapse agent in raytap's library and in
// the published Python client.

// synapseLines is the maximum length of the log, because the published client is slow.
const synapseLines = 300_000

// synapseTarget is the maximum cost of a line relative to the published client.
const synapseTarget = 0.1

// runSynapse serves a log as a fake Synapse agent until its stdin ends.
func runSynapse(args []string) error {
	fs := flag.NewFlagSet("synapse", flag.ContinueOnError)
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

// runSynapseTail reads a tail to its end with the library, and prints the CPU-seconds and
// the number of lines.
func runSynapseTail(args []string) error {
	fs := flag.NewFlagSet("synapse-tail", flag.ContinueOnError)
	url := fs.String("url", "", "URL of the agent")
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

// publishedTail does the same with the published client.
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

// synapseTails measures both tails on the same agent, in turn, and prints the cost per
// million lines.
func (b *bench) synapseTails() error {
	lines := min(b.lines, synapseLines)
	python, err := filepath.Abs(b.python)
	if err != nil {
		return err
	}
	server, err := serve(b.self, "synapse", "-log", b.corpus, "-lines", strconv.Itoa(lines))
	if err != nil {
		return err
	}
	defer server.stop()
	lowest := map[string]float64{}
	for range b.runs {
		for name, cmd := range map[string]*exec.Cmd{
			"raytap":    exec.Command(b.self, "synapse-tail", "-url", server.url),
			"published": exec.Command(python, "-c", publishedTail, server.url, jobID(0)),
		} {
			cpu, err := tailCost(cmd, lines)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if was, ok := lowest[name]; !ok || cpu < was {
				lowest[name] = cpu
			}
			fmt.Fprintf(os.Stderr, "%s: %.3f\n", name, cpu)
		}
	}
	million := 1e6 / float64(lines)
	fmt.Printf("\n## WebSocket tail of a Synapse agent, CPU per million lines of 200 bytes, one message per line\n\n| | CPU-s | ratio to the published client |\n|---|---|---|\n")
	fmt.Printf("| published client | %.2f | 1.00 |\n", lowest["published"]*million)
	fmt.Printf("| raytap's library, Tail | %.2f | %s |\n", lowest["raytap"]*million, ratio(lowest["raytap"], lowest["published"], synapseTarget))
	return nil
}

// tailCost runs a command that prints its CPU-seconds and its number of lines. It
// returns the CPU-seconds.
func tailCost(cmd *exec.Cmd, lines int) (float64, error) {
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(out))
	if len(fields) != 2 || fields[1] != strconv.Itoa(lines) {
		return 0, fmt.Errorf("printed %q, want CPU-seconds and %d lines", fields, lines)
	}
	return strconv.ParseFloat(fields[0], 64)
}
