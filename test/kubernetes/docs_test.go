//go:build e2e && linux

package kubernetes

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// guide is what docs/kubernetes.md prints to be run or copied.
type guide struct {
	t      *testing.T
	blocks []string
	left   []string // those that the test has not come to
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
	g.left = slices.Clone(g.blocks)
	return g
}

// take gives the block that has this text in it.
func (g *guide) take(text string) string {
	g.t.Helper()
	for _, b := range g.blocks {
		if strings.Contains(b, text) {
			g.left = slices.DeleteFunc(g.left, func(l string) bool { return l == b })
			return b
		}
	}
	g.t.Fatalf("docs/kubernetes.md has no block with %q", text)
	return ""
}
