package main

import (
	"os"
	"strings"
	"testing"

	"raytap/ray/raytest"
)

// No command ends well whose answer was not written.
func TestAnAnswerThatIsNotWrittenIsAnError(t *testing.T) {
	head := raytest.New(t)
	head.Submit("j", raytest.JobOptions{}).Print("a line\n")
	good := write(t, "clusters: [{url: 'http://127.0.0.1:1'}]\n")
	url := " --url=" + head.URL()
	for _, args := range []string{
		"--help", "jobs list --help", "help jobs", "--version", "version", "completion bash", "completion zsh", "completion fish",
		"config check " + good, "config show", "config show --config.file " + good,
		"jobs list" + url, "jobs list -o json" + url, "jobs list -o yaml" + url, "jobs get j" + url, "jobs logs j" + url, "jobs tail j" + url,
		"jobs tail -f j" + url, "nodes list" + url, "gpus -o json" + url, "health" + url,
	} {
		t.Run(args[:min(len(args), 24)], func(t *testing.T) {
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Skip("no /dev/full here: ", err)
			}
			defer full.Close()
			p := command(t, nil, strings.Fields(args)...)
			p.cmd.Stdout = full
			p.start()
			if code := p.code(); code != 1 || !strings.HasPrefix(p.stderr.String(), "raytap: write ") || strings.Count(p.stderr.String(), "\n") != 1 {
				t.Errorf("full: exit code %d, stderr %q", code, p.stderr.String())
			}
			// As before head(1) that has seen enough: quiet, and no success.
			reader, writer, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			reader.Close()
			defer writer.Close()
			p = command(t, nil, strings.Fields(args)...)
			p.cmd.Stdout = writer
			p.start()
			if code := p.code(); code == 0 || p.stderr.String() != "" {
				t.Errorf("without a reader: exit code %d, stderr %q", code, p.stderr.String())
			}
		})
	}
}
