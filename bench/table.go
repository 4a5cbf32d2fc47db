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

// describe prints the machine and the versions of the measured programs.
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
			if v.name == "vlagent" { // it reports no version; use that of its module
				out, _ = exec.Command("go", "version", "-m", v.binary).CombinedOutput()
				if m := regexp.MustCompile(`mod\s+\S+\s+(v\S+)`).FindSubmatch(out); m != nil {
					first = string(m[1])
				}
			}
			fmt.Printf("%s: %s\n", v.name, first)
		}
	}
	fmt.Printf("lines of %d bytes; runs of each measurement, in turn: %d, the lowest counts; on the long log: 1\n", lineSize, b.runs)
}

// table measures the rows in turn, several times, and prints the lowest result of each
// in CPU-seconds per unit.
func (b *bench) table(title string, units float64, rows []*row) error {
	for i := range b.runs {
		for _, r := range rows {
			c, err := r.measure()
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			if i == 0 || c.cpu < r.lowest.cpu {
				r.lowest.cpu = c.cpu
			}
			r.lowest.peak = max(r.lowest.peak, c.peak)
			fmt.Fprintf(os.Stderr, "%s: %.3f\n", r.name, c.cpu.Seconds()/units)
		}
	}
	of := func(name string) float64 {
		for _, r := range rows {
			if strings.HasPrefix(r.name, name) {
				return r.lowest.cpu.Seconds() / units
			}
		}
		return 0
	}
	fmt.Printf("\n## %s\n\n| | CPU-s | ratio to the plain reader | ratio to vlagent | peak memory |\n|---|---|---|---|---|\n", title)
	for _, r := range rows {
		peak := ""
		if r.lowest.peak > 0 {
			peak = mib(r.lowest.peak)
		}
		cpu := r.lowest.cpu.Seconds() / units
		plain := 0.0
		if r.against != "" {
			plain = of(r.against)
		}
		fmt.Printf("| %s | %.2f | %s | %s | %s |\n", r.name, cpu, ratio(cpu, plain, r.plain), ratio(cpu, of("vlagent"), r.vlagent), peak)
	}
	return nil
}

// ratio returns cpu divided by other, with the target if there is one.
func ratio(cpu, other, target float64) string {
	switch {
	case other == 0:
		return ""
	case target == 0:
		return fmt.Sprintf("%.2f", cpu/other)
	case cpu/other > target:
		return fmt.Sprintf("**%.2f** (target: %.2f)", cpu/other, target)
	}
	return fmt.Sprintf("%.2f (target: %.2f)", cpu/other, target)
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// memories measures the memory of raytap on silent jobs.
func (b *bench) memories() error {
	const many, few = 2000, 10
	fmt.Printf("\n## Memory\n\n")
	base, err := b.resident(few, "auto", 20*time.Second)
	if err != nil {
		return err
	}
	fmt.Printf("- %d silent jobs: %s (target: 25.0 MiB)\n", few, mib(base))
	for _, agents := range []string{"auto", "off"} {
		most, err := b.resident(many, agents, time.Minute)
		if err != nil {
			return err
		}
		transport := map[string]string{"auto": "with node agents", "off": "without node agents"}[agents]
		fmt.Printf("- %d silent jobs, %s: %s, %.1f KiB each (target: 25.0 KiB)\n", many, transport, mib(most), float64(most-base)/(many-few)/1024)
	}
	return nil
}
