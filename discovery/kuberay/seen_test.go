package kuberay

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	logtest "github.com/sirupsen/logrus/hooks/test"
)

func TestFile(t *testing.T) {
	f := File(filepath.Join(t.TempDir(), "rayclusters"))
	for _, saved := range []map[string][]string{nil, {"ray": {"u1", "u2"}}, {"ray": {}, "*": {"u3"}}} {
		if saved != nil {
			if err := f.Save(saved); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := f.Load(); err != nil || fmt.Sprint(got) != fmt.Sprint(saved) {
			t.Errorf("got %v, %v, want %v", got, err, saved)
		}
	}
	if all, err := os.ReadDir(filepath.Dir(string(f))); err != nil || len(all) != 1 {
		t.Errorf("%d files, %v", len(all), err)
	}
	if err := os.WriteFile(string(f), []byte("no"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(); err == nil {
		t.Error("a file of another kind was read")
	}
	if err := File("/does/not/exist/f").Save(nil); err == nil {
		t.Error("saved in a directory that does not exist")
	}
}

// What was in the first complete list of a namespace is old, and nothing else, however
// often raytap is started.
func TestFirstSeen(t *testing.T) {
	log, _ := logtest.NewNullLogger()
	memory := File(filepath.Join(t.TempDir(), "rayclusters"))
	f := newFirstSeen(memory, log)
	if f.isNew("a", "u1") {
		t.Error("new before the first list")
	}
	f.listed("a", []string{"u1", "u2"})
	f.listed("a", []string{"u1", "u3"})
	f = newFirstSeen(memory, log)
	f.listed("a", []string{"u1", "u3", "u4"})
	f.listed("b", []string{"u5"}) // a namespace that was added later
	for _, tt := range []struct {
		namespace, uid string
		want           bool
	}{{"a", "u1", false}, {"a", "u2", true}, {"a", "u3", true}, {"a", "u4", true}, {"b", "u5", false}, {"b", "u6", true}, {"c", "u7", false}} {
		if got := f.isNew(tt.namespace, tt.uid); got != tt.want {
			t.Errorf("%s in %s: new %t", tt.uid, tt.namespace, got)
		}
	}
}
