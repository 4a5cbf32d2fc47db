//go:build e2e && linux

package kubernetes

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// guide contains the code blocks of docs/kubernetes.md.
type guide struct {
	t      *testing.T
	blocks []string
	unused []string // blocks that the test has not used yet
}

var fence = regexp.MustCompile("(?ms)^( *)```[a-z]*\n(.*?)^ *```$")

func readGuide(t *testing.T) *guide {
	t.Helper()
	b, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	g := &guide{t: t}
	for _, m := range fence.FindAllStringSubmatch(string(b), -1) {
		g.blocks = append(g.blocks, regexp.MustCompile("(?m)^"+m[1]).ReplaceAllString(m[2], ""))
	}
	g.unused = slices.Clone(g.blocks)
	return g
}

// block returns the block that contains a text.
func (g *guide) block(text string) string {
	g.t.Helper()
	for _, b := range g.blocks {
		if strings.Contains(b, text) {
			g.unused = slices.DeleteFunc(g.unused, func(l string) bool { return l == b })
			return b
		}
	}
	g.t.Fatalf("docs/kubernetes.md has no code block with %q", text)
	return ""
}
