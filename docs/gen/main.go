// Command gen writes docs/metrics.md: every metric that raytap's page can have,
// from the tables in the code, each with an example query.
//
//	go run ./docs/gen
package main

import (
	"bytes"
	"fmt"
	"os"
)

const file = "docs/metrics.md"

func main() {
	text, err := render()
	if err == nil {
		err = os.WriteFile(file, text, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// render gives the text of the file.
func render() ([]byte, error) {
	families, err := listFamilies()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	writePage(&b, families)
	return b.Bytes(), nil
}
