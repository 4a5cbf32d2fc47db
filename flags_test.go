package main

import (
	"testing"

	"github.com/alecthomas/kingpin/v2"
)

func TestFlags_DisableCollector(t *testing.T) {
	for _, name := range []string{"cluster", "jobs", "nodes", "tasks", "actors", "serve"} {
		t.Run(name, func(t *testing.T) {
			app := kingpin.New("raytap", "")
			file := ""
			f := newDaemonFlags(app.Command(daemonCommand, ""), &file)
			if _, err := app.Parse([]string{daemonCommand, "--no-collector." + name + ".enabled"}); err != nil {
				t.Fatal(err)
			}
			c, err := f.load()
			if err != nil {
				t.Fatal(err)
			}
			for other, on := range map[string]bool{
				"cluster": c.Collector.Cluster.Enabled, "jobs": c.Collector.Jobs.Enabled, "nodes": c.Collector.Nodes.Enabled,
				"tasks": c.Collector.Tasks.Enabled, "actors": c.Collector.Actors.Enabled, "serve": c.Collector.Serve.Enabled,
			} {
				if on != (other != name) {
					t.Errorf("%s is enabled: %t", other, on)
				}
			}
		})
	}
}
