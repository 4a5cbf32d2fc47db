//go:build linux

// The demo starts its own Ray head on loopback, submits some jobs, and runs raytap on it
// until Ctrl-C, or for -seconds. Then it stops everything that it started; it does not
// touch any other Ray.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"raytap/test/realray"
)

func main() {
	realray.Main()
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

type options struct {
	ray, raytap, scripts string
	seconds              int
}

func run(args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.ray, "ray", ".tools/ray/bin/ray", "the ray command to start the head with")
	flags.StringVar(&o.raytap, "raytap", "bin/raytap", "the raytap to run")
	flags.StringVar(&o.scripts, "scripts", "deploy/demo", "directory of the jobs' scripts")
	flags.IntVar(&o.seconds, "seconds", 0, "seconds for which raytap runs; 0: until Ctrl-C")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	d := demo{options: o, out: &lockedWriter{w: stdout}, err: stderr}
	err := d.run(ctx)
	switch {
	case ctx.Err() != nil:
		return 0 // Ctrl-C is how a demo ends
	case err != nil:
		fmt.Fprintln(stderr, "demo:", err)
		return 1
	}
	return 0
}

type demo struct {
	options
	out, err io.Writer
	head     *realray.Head
	page     string // raytap's base URL
	shipped  shipped
}

// say prints what the demo does, distinct from raytap's output.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "\n==> "+format+"\n", args...)
}

func (d *demo) run(ctx context.Context) (err error) {
	for _, p := range []*string{&d.ray, &d.raytap, &d.scripts} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
		if _, err := os.Stat(*p); err != nil {
			return fmt.Errorf("%w (run make demo)", err)
		}
	}
	d.say("starting a Ray head on loopback (some seconds)")
	starting, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	d.head, err = realray.Start(starting, realray.Options{Ray: d.ray, Env: []string{"PYTHONPATH=" + d.scripts}})
	if err != nil {
		return err
	}
	defer func() {
		d.say("stopping the head")
		err = errors.Join(err, d.head.Stop())
		d.say("stopped")
	}()
	serve, err := d.work(starting)
	if err != nil {
		return err
	}
	return d.watch(ctx, serve)
}

// work submits jobs and deploys a Serve application, whose URL it returns.
func (d *demo) work(ctx context.Context) (string, error) {
	d.say("deploying a Serve application and submitting six jobs")
	ports, err := realray.FreePorts(1)
	if err != nil {
		return "", err
	}
	if err := d.head.DeployServe(ctx, ports[0], "greeter", "greeter:app"); err != nil {
		return "", err
	}
	for _, job := range []struct {
		script string
		cpus   float64
	}{
		{"chatty", 0}, {"failing", 0}, {"progress", 0}, {"tasks", 0}, {"actors", 0},
		{"chatty", 1000}, // more CPUs than the head has: it waits
	} {
		name := job.script
		if job.cpus > 0 {
			name = "waiting"
		}
		id, err := d.head.Submit(ctx, realray.Submission{
			Entrypoint: "exec python3 " + quote(filepath.Join(d.scripts, job.script+".py")),
			Metadata:   map[string]string{"job_name": name},
			CPUs:       job.cpus,
		})
		if err != nil {
			return "", err
		}
		fmt.Fprintf(d.out, "    %-8s  %s\n", name, id)
	}
	return fmt.Sprintf("http://127.0.0.1:%d/", ports[0]), nil
}

// quote quotes a word for the shell.
func quote(s string) string {
	quoted := []byte{'\''}
	for i := range len(s) {
		if s[i] == '\'' {
			quoted = append(quoted, `'\'`...)
		}
		quoted = append(quoted, s[i])
	}
	return string(append(quoted, '\''))
}

// watch runs raytap until ctx ends, the time is over, or raytap or the head dies.
func (d *demo) watch(ctx context.Context, serve string) error {
	listen, err := listenAddress()
	if err != nil {
		return err
	}
	d.page = "http://" + listen
	file := filepath.Join(d.head.Dir, "raytap.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, configuration, d.head.URL, listen), 0o600); err != nil {
		return err
	}
	d.say("raytap ships the logs of jobs, workers and replicas; its records follow.\n" + d.whereToLook(serve))

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(<-chan time.Time)
	if d.seconds > 0 {
		over = time.After(time.Duration(d.seconds) * time.Second)
	}
	tap := exec.Command(d.raytap, "--config.file="+file)
	tap.Env = append(realray.CleanEnv(), "XDG_STATE_HOME="+d.head.Dir)
	tap.Stdout, tap.Stderr = &lineWriter{w: d.out, shipped: &d.shipped}, d.err
	// In its own process group, so that Ctrl-C reaches it once, from here.
	tap.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := tap.Start(); err != nil {
		return fmt.Errorf("start raytap: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- tap.Wait() }()
	var parts sync.WaitGroup
	defer parts.Wait()
	headGone := make(chan error, 1)
	parts.Go(func() { headGone <- d.watchHead(ctx) })
	parts.Go(func() { d.showMetrics(ctx, serve) })
	parts.Go(func() { visit(ctx, serve) })
	defer cancel()

	select {
	case err := <-ended:
		return fmt.Errorf("raytap exited: %w", errOr(err, "exit code 0"))
	case err := <-headGone:
		if err != nil {
			return errors.Join(err, stopTap(tap, ended))
		}
	case <-ctx.Done():
	case <-over:
	}
	d.say("stopping raytap")
	err = stopTap(tap, ended)
	d.say("shipped %s", &d.shipped)
	return err
}

// configuration is raytap's, with the URL of the head and the address to listen on.
const configuration = `
clusters: [{name: default, url: %q}]
shipper: {sources: [driver, worker]}
web: {listen_addresses: [%q]}
`

func errOr(err error, otherwise string) error {
	if err == nil {
		return errors.New(otherwise)
	}
	return err
}

func stopTap(tap *exec.Cmd, ended <-chan error) error {
	_ = tap.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("raytap did not stop cleanly: %w", err)
		}
		return nil
	case <-time.After(15 * time.Second):
		return errors.Join(errors.New("raytap did not stop within 15 s"), tap.Process.Kill())
	}
}

// watchHead returns an error once the head has not answered for a while, nil
// when ctx ends.
func (d *demo) watchHead(ctx context.Context) error {
	const patience = 5
	for failed := 0; failed < patience; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(3 * time.Second):
		}
		one, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, _, err := d.head.Version(one)
		cancel()
		if err == nil {
			failed = 0
			continue
		}
		failed++
	}
	return errors.New("the Ray head does not answer any more")
}
