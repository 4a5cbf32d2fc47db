// Command bench measures what raytap costs, beside a plain reader of the same
// stream, beside vlagent and rsyslog on the same lines, and beside the client that
// Synapse agents publish, and prints tables.
// See docs/performance.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) > 0 {
		switch args[0] { // the processes of a measurement
		case "head":
			return runHead(args[1:])
		case "sizing-head":
			return runSizingHead(args[1:])
		case "plain":
			return runPlain(args[1:])
		case "null":
			return runNull()
		case "agent":
			return runAgent(args[1:])
		case "agent-tail":
			return runAgentTail(args[1:])
		case "profile":
			return runProfiled(args[1:])
		}
	}
	b := &bench{}
	flag.StringVar(&b.raytap, "raytap", "bin/raytap", "the binary to measure")
	flag.StringVar(&b.vlagent, "vlagent", ".tools/bin/vlagent", "left out if it is not there")
	flag.StringVar(&b.rsyslogd, "rsyslogd", ".tools/bin/rsyslogd", "left out if it is not there")
	flag.StringVar(&b.python, "python", ".tools/synapse/bin/python", "that has the client which Synapse agents publish; agent is left out if it is not there")
	flag.IntVar(&b.lines, "lines", 1_000_000, "of the log on which costs are judged")
	flag.IntVar(&b.longLines, "long-lines", 5_368_710, "of the long log, which is read for its peak of memory: the default makes 1 GiB")
	flag.IntVar(&b.runs, "runs", 3, "of each measurement of CPU on the shorter log; the least counts")
	only := flag.String("only", "cost,long,follow,memory,resume,agent", "which parts; sizing, the table of docs/sizing.md, is one more")
	dir := flag.String("dir", os.TempDir(), "for the log and what is written (some GB)")
	profile := flag.String("profile", "", "instead: write a CPU profile of a replay, a Range read and a follow here, for default.pgo")
	flag.Parse()
	var err error
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(*dir, "raytap-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if *profile != "" {
		long, err := b.on(b.longLines)
		if err != nil {
			return err
		}
		return long.profile(*profile)
	}
	if b, err = b.on(b.lines); err != nil {
		return err
	}
	for _, p := range []*string{&b.raytap, &b.vlagent, &b.rsyslogd} {
		*p, err = exec.LookPath(*p)
		if err == nil {
			*p, err = filepath.Abs(*p)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench: left out:", err)
			*p = ""
		}
	}
	if b.raytap == "" {
		return fmt.Errorf("there is no raytap to measure: build it first")
	}
	return b.all(*only)
}
