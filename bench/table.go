package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// describe prints what was measured, and on what.
func (b *bench) describe() {
	model := "unknown"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := regexp.MustCompile(`model name\s*: (.*)`).FindSubmatch(info); m != nil {
			model = string(m[1])
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	fmt.Printf("%s, %d cores, Linux %s, %s\n", model, runtime.NumCPU(), strings.TrimSpace(string(kernel)), runtime.Version())
	for _, v := range []struct{ name, binary, flag string }{
		{"raytap", b.raytap, "--version"}, {"vlagent", b.vlagent, "-version"}, {"rsyslog", b.rsyslogd, "-v"},
	} {
		if v.binary != "" {
			out, _ := exec.Command(v.binary, v.flag).CombinedOutput()
			first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
			if v.name == "vlagent" { // its version is the module's
				out, _ = exec.Command("go", "version", "-m", v.binary).CombinedOutput()
				if m := regexp.MustCompile(`mod\s+\S+\s+(v\S+)`).FindSubmatch(out); m != nil {
					first = string(m[1])
				}
			}
			fmt.Printf("%s: %s\n", v.name, first)
		}
	}
	fmt.Printf("lines of %d bytes; %d runs of each, in turn, of which the least counts; one on the long log\n", lineSize, b.runs)
}

// table measures the rows in turn, several times, and prints the least of each
// as CPU-seconds for each unit.
func (b *bench) table(title string, units float64, rows []*row) error {
	for i := range b.runs {
		for _, r := range rows {
			c, err := r.measure()
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			if i == 0 || c.cpu < r.least.cpu {
				r.least.cpu = c.cpu
			}
			r.least.peak = max(r.least.peak, c.peak)
			fmt.Fprintf(os.Stderr, "%s: %.3f\n", r.name, c.cpu.Seconds()/units)
		}
	}
	of := func(name string) float64 {
		for _, r := range rows {
			if strings.HasPrefix(r.name, name) {
				return r.least.cpu.Seconds() / units
			}
		}
		return 0
	}
	fmt.Printf("\n## %s\n\n| | CPU-s | of the plain reader | of vlagent | peak memory |\n|---|---|---|---|---|\n", title)
	for _, r := range rows {
		peak := ""
		if r.least.peak > 0 {
			peak = mib(r.least.peak)
		}
		cpu := r.least.cpu.Seconds() / units
		plain := 0.0
		if r.against != "" {
			plain = of(r.against)
		}
		fmt.Printf("| %s | %.2f | %s | %s | %s |\n", r.name, cpu, ratio(cpu, plain, r.plain), ratio(cpu, of("vlagent"), r.vlagent), peak)
	}
	return nil
}

// ratio gives cpu in terms of another, with its bar if there is one.
func ratio(cpu, other, bar float64) string {
	switch {
	case other == 0:
		return ""
	case bar == 0:
		return fmt.Sprintf("%.2f", cpu/other)
	case cpu/other > bar:
		return fmt.Sprintf("**%.2f** (bar: %.2f)", cpu/other, bar)
	}
	return fmt.Sprintf("%.2f (bar: %.2f)", cpu/other, bar)
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// memories measures raytap on jobs that are silent.
func (b *bench) memories() error {
	const many, few = 2000, 10
	fmt.Printf("\n## Memory\n\n")
	least, err := b.resident(few, "auto", 20*time.Second)
	if err != nil {
		return err
	}
	fmt.Printf("- %d jobs at rest: %s (bar: 25.0 MiB)\n", few, mib(least))
	for _, agents := range []string{"auto", "off"} {
		most, err := b.resident(many, agents, time.Minute)
		if err != nil {
			return err
		}
		way := map[string]string{"auto": "by their node's agent", "off": "without node agents"}[agents]
		fmt.Printf("- %d silent jobs, %s: %s, %.1f KiB each (bar: 25.0 KiB)\n", many, way, mib(most), float64(most-least)/(many-few)/1024)
	}
	return nil
}
