// Command bench measures the CPU and memory that raytap uses and prints tables. It
// compares raytap with a plain reader of the same stream, with vlagent and rsyslog on
// the same lines, and with the published Python client of Synapse agents.
// See docs/performance.md.
package main

import (
	"errors"
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
		switch args[0] { // subprocesses of a measurement
		case "head":
			return runHead(args[1:])
		case "sizing-head":
			return runSizingHead(args[1:])
		case "workers-head":
			return runWorkersHead(args[1:])
		case "plain":
			return runPlain(args[1:])
		case "null":
			return runNull()
		case "synapse":
			return runSynapse(args[1:])
		case "synapse-tail":
			return runSynapseTail(args[1:])
		case "profile":
			return runProfiled(args[1:])
		}
	}
	b := &bench{}
	flag.StringVar(&b.raytap, "raytap", "bin/raytap", "raytap binary to measure")
	flag.StringVar(&b.vlagent, "vlagent", ".tools/bin/vlagent", "vlagent binary; skipped if it does not exist")
	flag.StringVar(&b.rsyslogd, "rsyslogd", ".tools/bin/rsyslogd", "rsyslogd binary; skipped if it does not exist")
	flag.StringVar(&b.python, "python", ".tools/synapse/bin/python", "Python with the published client of Synapse agents; the synapse part is skipped if it does not exist")
	flag.IntVar(&b.lines, "lines", 1_000_000, "lines of the log of the cost part")
	flag.IntVar(&b.longLines, "long-lines", 5_368_710, "lines of the long log, which shows the peak memory; the default is 1 GiB")
	flag.IntVar(&b.runs, "runs", 3, "runs of each CPU measurement on the shorter log; the lowest result counts")
	only := flag.String("only", "cost,long,follow,memory,resume,synapse", "parts to run, comma-separated; also available: sizing and workers, the tables in docs/sizing.md")
	dir := flag.String("dir", os.TempDir(), "directory for logs and output (some GB)")
	profile := flag.String("profile", "", "write a CPU profile of a replay, a Range read and a follow to this file instead (for default.pgo)")
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
			fmt.Fprintln(os.Stderr, "bench: skipped:", err)
			*p = ""
		}
	}
	if b.raytap == "" {
		return errors.New("no raytap to measure: run `make build` first")
	}
	return b.all(*only)
}
