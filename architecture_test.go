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

// page has the table of packages and what each may import.
const page = "docs/architecture.md"

// rules is what the page says: package -> the packages of raytap that it may
// import, with "anything" for those that may import all.
type rules map[string][]string

var inCode = regexp.MustCompile("`([^`]+)`")

// readRules reads the rows of the table whose last cell is what a package may
// import.
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
		t.Fatalf("%s has no table of packages that this test can read", page)
	}
	return out
}

// of gives the rule of a package: its own, or that of a parent which may
// import anything.
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

// imports lists, for each package of raytap and its tests apart, the packages
// of raytap that it imports and one file that does.
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

func TestPackagesImportOnlyWhatTheMapAllows(t *testing.T) {
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

func TestTheMapNamesNoPackageThatIsGone(t *testing.T) {
	code, tests := imports(t)
	for pkg, may := range readRules(t) {
		if slices.Contains(may, "anything") {
			continue // not part of raytap itself
		}
		if code[pkg] == nil && tests[pkg] == nil && !hasGo(pkg) {
			t.Errorf("%s lists %s, which has no Go files", page, pkg)
		}
	}
}

// hasGo tells whether a folder, or one below it, has Go files.
func hasGo(dir string) bool {
	found := false
	_ = filepath.WalkDir(dir, func(file string, _ fs.DirEntry, err error) error {
		found = found || err == nil && strings.HasSuffix(file, ".go")
		return nil
	})
	return found
}

// The tests of a package may use the fakes, and what the package itself may.
func TestOnlyTestsImportTheFakes(t *testing.T) {
	code, _ := imports(t)
	for pkg, imported := range code {
		if may, _ := readRules(t).of(pkg); slices.Contains(may, "anything") {
			continue
		}
		for _, fake := range []string{"ray/raytest", "ray/agenttest"} {
			if file := imported[fake]; file != "" {
				t.Errorf("%s imports %s, which is for tests", file, fake)
			}
		}
	}
}

func TestHalvesAndDialectsStayApart(t *testing.T) {
	r := readRules(t)
	for _, forbidden := range [][2]string{
		{"collector", "shipper"}, {"shipper", "collector"},
		{"collector", "ray/dashboard"}, {"shipper", "ray/dashboard"},
		{"collector", "ray/agent"}, {"shipper", "ray/agent"},
		{"ray", "ray/dashboard"}, {"ray", "ray/agent"}, {"collector", "config"}, {"shipper", "config"},
		{"cli", "config"}, {"cli", "ray/dashboard"}, {"cli", "ray/agent"},
	} {
		if may, _ := r.of(forbidden[0]); slices.Contains(may, forbidden[1]) {
			t.Errorf("%s allows %s to import %s: the house rests on it not to", page, forbidden[0], forbidden[1])
		}
	}
}
