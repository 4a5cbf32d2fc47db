package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"syscall"

	"github.com/sirupsen/logrus"

	"raytap/config"
	"raytap/daemon"
)

// runProfiled runs raytap with a CPU profile. The arguments are --config.file and a
// configuration; BENCH_PROFILE is the path of the profile.
func runProfiled(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: profile --config.file FILE")
	}
	f, err := os.Create(os.Getenv("BENCH_PROFILE"))
	if err != nil {
		return err
	}
	defer f.Close()
	cfg, err := config.Load(args[1], os.LookupEnv)
	if err != nil {
		return err
	}
	d, err := daemon.New(cfg, daemon.Options{Stdout: os.Stdout, Log: logrus.New()})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return d.Run(ctx)
}

// profile writes a CPU profile of raytap in each mode.
func (b *bench) profile(to string) error {
	// A profile contains the path of its binary: profile a copy outside this directory.
	program, err := os.ReadFile(b.self)
	if err != nil {
		return err
	}
	copied, script := filepath.Join(b.dir, "profiled"), filepath.Join(b.dir, "raytap")
	if err := os.WriteFile(copied, program, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexec '"+copied+"' profile \"$@\"\n"), 0o700); err != nil {
		return err
	}
	b.raytap = script
	var parts []string
	for name, work := range map[string]func() error{
		"replay": func() error { _, err := b.replay(toFile, "websocket"); return err },
		"range":  func() error { _, err := b.replay(toFile, "http"); return err },
		"follow": func() error { _, err := b.follow("websocket"); return err },
	} {
		part := filepath.Join(b.dir, name+".pprof")
		if err := os.Setenv("BENCH_PROFILE", part); err != nil {
			return err
		}
		if err := work(); err != nil {
			return err
		}
		parts = append(parts, part)
	}
	merge := exec.Command("go", append([]string{"tool", "pprof", "-proto", "-output", to}, parts...)...)
	merge.Stderr = os.Stderr
	return merge.Run()
}
