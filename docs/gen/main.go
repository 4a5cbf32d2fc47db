// Command gen writes docs/metrics.md, all metrics with an example query each, from the
// tables in the code; and docs/configuration.md, docs/configuration.schema.json and the
// property config of the schema of the chart's values, from the structs of package config.
//
//	go run ./docs/gen
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// pages maps each file to the function that renders it. root is the repository's directory.
var pages = map[string]func(root string) ([]byte, error){
	"docs/metrics.md":                func(string) ([]byte, error) { return renderMetrics() },
	"docs/configuration.md":          renderConfiguration,
	"docs/configuration.schema.json": renderSchema,
	chartSchema:                      renderChartSchema,
}

func main() {
	if err := write("."); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func write(root string) error {
	for name, render := range pages {
		text, err := render(root)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(root, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// renderMetrics returns the text of docs/metrics.md.
func renderMetrics() ([]byte, error) {
	families, err := listFamilies()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	writePage(&b, families)
	return b.Bytes(), nil
}
