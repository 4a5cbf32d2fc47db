//go:build e2e && linux

// Package test runs the real raytap on a real Ray and compares its output with what the
// jobs printed.
//
// Most tests share one head; each test has its own raytap and its own jobs. No process is
// left, also after a panic or Ctrl-C: see test/realray.
package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"raytap/test/program"
	"raytap/test/realray"
)

func TestMain(m *testing.M) {
	realray.Main()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	code := program.Main(m)
	if shared.head != nil {
		if err := shared.head.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the head:", err)
			return 1
		}
	}
	return code
}

var shared struct {
	once sync.Once
	head *realray.Head
	err  error
}

// sharedHead returns the head that the tests share. The first call starts it.
func sharedHead(t *testing.T) *realray.Head {
	t.Helper()
	shared.once.Do(func() {
		start := time.Now()
		shared.head, shared.err = startHead(realray.Options{CPUs: 8})
		t.Logf("Ray head started in %.1f s", time.Since(start).Seconds())
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			shared.head.WriteLogs(t.Output())
		}
	})
	return shared.head
}

// ownHead starts a head for one test alone.
func ownHead(t *testing.T, o realray.Options) *realray.Head {
	t.Helper()
	head, err := startHead(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			head.WriteLogs(t.Output())
		}
		if err := head.Stop(); err != nil {
			t.Error(err)
		}
	})
	return head
}

// starting is held while a head starts: on two cores, the parts of several that start at once
// give up waiting for each other (Ray 2.60.0).
var starting sync.Mutex

func startHead(o realray.Options) (*realray.Head, error) {
	scripts, err := filepath.Abs("../deploy/demo")
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(o.Env, func(v string) bool { return strings.HasPrefix(v, "PYTHONPATH=") }) {
		o.Env = append(o.Env, "PYTHONPATH="+scripts)
	}
	if o.Ray, err = program.Find("ray/bin/ray"); err != nil {
		return nil, err
	}
	starting.Lock()
	defer starting.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return realray.Start(ctx, o)
}

// within returns a context with a timeout, which ends with the test.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

var (
	eventually = program.Eventually
	poll       = program.Poll
)
