package commands

import (
	"os"
	"strings"
	"testing"

	"raytap/ray/raytest"
	"raytap/test/program"
)

// A command that cannot write its output exits with 1.
func TestCommand_OutputNotWritten(t *testing.T) {
	head := raytest.New(t)
	head.Submit("j", raytest.JobOptions{}).Print("a line\n")
	good := program.TempFile(t, "clusters: [{url: 'http://127.0.0.1:1'}]\n")
	url := " --url=" + head.URL()
	for _, args := range []string{
		"--help", "jobs list --help", "help jobs", "--version", "version", "completion bash", "completion zsh", "completion fish",
		"config check " + good, "config show", "config show --config.file " + good,
		"jobs list" + url, "jobs list -o json" + url, "jobs list -o yaml" + url, "jobs get j" + url, "jobs logs j" + url, "jobs tail j" + url,
		"jobs tail -f j" + url, "logs list" + url, "logs get --job j" + url, "logs get --generations --job j" + url, "logs tail --job j" + url, "logs tail -f --job j" + url, "nodes list" + url, "gpus -o json" + url, "health" + url,
	} {
		t.Run(args[:min(len(args), 24)], func(t *testing.T) {
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Skip("no /dev/full: ", err)
			}
			defer full.Close()
			p := program.NewCommand(t, nil, strings.Fields(args)...)
			p.Cmd.Stdout = full
			p.Start()
			if code := p.Code(); code != 1 || !strings.HasPrefix(p.Stderr.String(), "raytap: write ") || strings.Count(p.Stderr.String(), "\n") != 1 {
				t.Errorf("/dev/full: exit code %d, stderr %q", code, p.Stderr.String())
			}
			// A reader that is gone, like head(1): no message, but a failure.
			reader, writer, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			reader.Close()
			defer writer.Close()
			p = program.NewCommand(t, nil, strings.Fields(args)...)
			p.Cmd.Stdout = writer
			p.Start()
			if code := p.Code(); code == 0 || p.Stderr.String() != "" {
				t.Errorf("reader gone: exit code %d, stderr %q", code, p.Stderr.String())
			}
		})
	}
}
