package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// page has a table of the packages and what each may import.
const page = "docs/architecture.md"

// rules maps a package to the packages of raytap that it may import; "anything"
// stands for all.
type rules map[string][]string

var inCode = regexp.MustCompile("`([^`]+)`")

// readRules returns the rules in the table of the page.
func readRules(t *testing.T) rules {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	out := rules{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		names := inCode.FindAllStringSubmatch(cells[0], -1)
		if !strings.HasPrefix(line, "|") || len(cells) != 3 || len(names) == 0 {
			continue
		}
		may := []string{}
		if strings.TrimSpace(cells[2]) == "anything" {
			may = append(may, "anything")
		}
		for _, m := range inCode.FindAllStringSubmatch(cells[2], -1) {
			may = append(may, m[1])
		}
		for _, name := range names {
			out[name[1]] = may
		}
	}
	if len(out) < 5 {
		t.Fatalf("%s: no table of packages found", page)
	}
	return out
}

// of returns the rule of a package: its own, or that of a parent that may import
// anything.
func (r rules) of(pkg string) ([]string, bool) {
	if may, ok := r[pkg]; ok {
		return may, true
	}
	for p := path.Dir(pkg); p != "."; p = path.Dir(p) {
		if slices.Contains(r[p], "anything") {
			return r[p], true
		}
	}
	return nil, false
}

// imports returns, for each package of raytap, the packages of raytap that it imports,
// with one file that does; separately for code and tests.
func imports(t *testing.T) (code, tests map[string]map[string]string) {
	t.Helper()
	code, tests = map[string]map[string]string{}, map[string]map[string]string{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, ".go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(filepath.Dir(file))
		if pkg == "." {
			pkg = "main"
		}
		into := code
		if strings.HasSuffix(file, "_test.go") {
			into = tests
		}
		if into[pkg] == nil {
			into[pkg] = map[string]string{}
		}
		for _, spec := range f.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if name, ok := strings.CutPrefix(p, "raytap/"); ok {
				into[pkg][name] = file
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return code, tests
}

func TestArchitecture_Imports(t *testing.T) {
	r := readRules(t)
	code, _ := imports(t)
	for _, pkg := range slices.Sorted(maps.Keys(code)) {
		may, ok := r.of(pkg)
		if !ok {
			t.Errorf("package %s is not in the table of %s", pkg, page)
			continue
		}
		for _, imported := range slices.Sorted(maps.Keys(code[pkg])) {
			if !slices.Contains(may, imported) && !slices.Contains(may, "anything") {
				t.Errorf("%s imports %s, which %s does not allow", code[pkg][imported], imported, page)
			}
		}
	}
}

func TestArchitecture_PackagesExist(t *testing.T) {
	code, tests := imports(t)
	for pkg, may := range readRules(t) {
		if slices.Contains(may, "anything") {
			continue // not part of the raytap binary
		}
		if code[pkg] == nil && tests[pkg] == nil && !hasGo(pkg) {
			t.Errorf("%s lists %s, which has no Go files", page, pkg)
		}
	}
}

// hasGo reports whether a directory, or one below it, has Go files.
func hasGo(dir string) bool {
	found := false
	_ = filepath.WalkDir(dir, func(file string, _ fs.DirEntry, err error) error {
		found = found || err == nil && strings.HasSuffix(file, ".go")
		return nil
	})
	return found
}

// Only tests may import the fakes.
func TestArchitecture_FakesOnlyInTests(t *testing.T) {
	code, _ := imports(t)
	for pkg, imported := range code {
		if may, _ := readRules(t).of(pkg); slices.Contains(may, "anything") {
			continue
		}
		for _, fake := range []string{"ray/raytest", "ray/synapsetest"} {
			if file := imported[fake]; file != "" {
				t.Errorf("%s imports %s, which is for tests", file, fake)
			}
		}
	}
}

func TestArchitecture_ForbiddenRules(t *testing.T) {
	r := readRules(t)
	for _, forbidden := range [][2]string{
		{"collector", "shipper"}, {"shipper", "collector"},
		{"collector", "ray/dashboard"}, {"shipper", "ray/dashboard"},
		{"collector", "ray/synapse"}, {"shipper", "ray/synapse"},
		{"ray", "ray/dashboard"}, {"ray", "ray/synapse"}, {"collector", "config"}, {"shipper", "config"},
		{"cli", "config"}, {"cli", "ray/dashboard"}, {"cli", "ray/synapse"},
	} {
		if may, _ := r.of(forbidden[0]); slices.Contains(may, forbidden[1]) {
			t.Errorf("%s allows %s to import %s, which it must not", page, forbidden[0], forbidden[1])
		}
	}
}
