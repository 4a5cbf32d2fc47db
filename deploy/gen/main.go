// Command gen writes the dashboards in deploy/grafana.
//
//	go -C deploy/gen run .
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"raytap/deploy/gen/dashboards"
)

// outputDir is the directory of the dashboards, relative to this module.
const outputDir = "../grafana/dashboards"

func main() {
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func write() error {
	all, err := dashboards.All()
	if err != nil {
		return err
	}
	for name, text := range all {
		if err := os.WriteFile(filepath.Join(outputDir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
