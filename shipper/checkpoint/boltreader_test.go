package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"raytap/shipper/sink"
)

// An empty file is none yet, whoever made it.
func TestAnEmptyPositionsFileIsANewOne(t *testing.T) {
	file := filepath.Join(t.TempDir(), "positions.db")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := inFile(t, file); got != `{"version":1,"clusters":{}}` {
		t.Errorf("it says %s", got)
	}
	p := opened(t, file)
	if !p.Empty() {
		t.Error("it says something")
	}
	knows(t, p, 3)
	save(t, p)
	holds(t, file, p)
}

func TestAFileThatHoldsNoPositionsIsRefused(t *testing.T) {
	good := filepath.Join(t.TempDir(), "positions.db")
	p := opened(t, good)
	knows(t, p, 100)
	save(t, p)
	b, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(t.TempDir(), "newer.db")
	q := opened(t, newer)
	var e encoder
	e.put(bucketMeta, []byte(keyVersion), 99)
	if err := q.db.commit(e.out); err != nil {
		t.Fatal(err)
	}
	n, err := os.ReadFile(newer)
	if err != nil {
		t.Fatal(err)
	}
	used := int(p.db.used)
	for name, tt := range map[string]struct {
		content []byte
		want    string
	}{
		"positions as JSON":           {[]byte(`{"version":1,"clusters":{}}` + "\n"), "it holds no positions of raytap (it is JSON): set shipper.positions.file to another path, or move it away"},
		"lines":                       {[]byte("hello\n"), "it holds no positions of raytap: set"},
		"large":                       {bytes.Repeat([]byte("hello\n"), 10000), "it holds no positions of raytap: set"},
		"zeros":                       {make([]byte, 64<<10), "it is corrupt (its first pages are missing): restore it from a copy, or move it away"},
		"cut within its last page":    {b[:used-1], "it is corrupt (it was truncated:"},
		"cut in the middle":           {b[:used/2], "it is corrupt (it was truncated:"},
		"cut within its second page":  {b[:pageSize+100], "it is corrupt (it was truncated:"},
		"cut within its first page":   {b[:100], "it is corrupt (its first pages are missing)"},
		"of a newer raytap":           {n, "it has version 99, and this raytap reads versions up to 1: use the newer raytap that wrote it, or move it away"},
		"without its first two pages": {append(make([]byte, 2*pageSize), b[2*pageSize:]...), "it is corrupt (its first pages are missing)"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "positions.db")
			if err := os.WriteFile(file, tt.content, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(file); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("opened: %v", err)
			}
			if _, err := Read(file); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("read: %v", err)
			}
			if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, tt.content) {
				t.Errorf("it was changed (%v)", err)
			}
		})
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is a directory: shipper.positions.file must name a file in it") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := Open("/dev/null"); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("a device: %v", err)
	}
}

// Whatever byte of a file is damaged, it says what it said, or what it said
// before its last save, or it is refused: it never says anything else.
func TestDamageIsNeverTakenForPositions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "positions.db")
	p := opened(t, file)
	keys := knows(t, p, 20)
	save(t, p)
	before := saved(t, p)
	line(p, keys[0], 2)
	save(t, p)
	now := saved(t, p)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	read := func(b []byte) (string, error) {
		var l loader
		q := newStore()
		if err := readDatabase(b, l.visit); err != nil {
			return "", err
		}
		if err := q.load(&l); err != nil {
			return "", err
		}
		return saved(t, q), nil
	}
	tried, refused := 0, 0
	for at := 0; at < int(p.db.used); at++ {
		if at%pageSize > 3*elementSize && rng.IntN(40) > 0 { // all of a page's head, some of its keys and values
			continue
		}
		tried++
		b := bytes.Clone(good)
		b[at] ^= 1 << rng.IntN(8)
		got, err := read(b)
		switch {
		case err != nil:
			refused++
			if !errors.Is(err, errCorrupt) {
				t.Fatalf("byte %d: %v", at, err)
			}
		case got != now && got != before:
			t.Fatalf("byte %d of %d: %s\nwas taken for %s", at, len(b), got, now)
		}
		if tried%100 == 0 { // and bbolt, too, can read what was not refused
			other := filepath.Join(t.TempDir(), "positions.db")
			if err := os.WriteFile(other, b, 0o600); err != nil {
				t.Fatal(err)
			}
			q, oerr := Open(other)
			if (oerr == nil) != (err == nil) {
				t.Fatalf("byte %d: read %v, opened %v", at, err, oerr)
			}
			if oerr == nil {
				line(q, keys[1], 7)
				save(t, q)
				holds(t, other, q)
				_ = q.Close()
			}
		}
	}
	if refused == 0 {
		t.Errorf("none of %d were refused", tried)
	}
}

func FuzzReadDatabase(f *testing.F) {
	file := filepath.Join(f.TempDir(), "positions.db")
	p, err := Open(file)
	if err != nil {
		f.Fatal(err)
	}
	for i := range 40 {
		line(p, Key{"c", "s", fmt.Sprint(i)}, 1)
	}
	if err := errors.Join(p.Save(f.Context(), sink.Watermark{}), p.Close()); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(2*pageSize+10, []byte{1, 2}, 0)
	f.Add(pageSize, []byte{0}, len(good)-1)
	f.Fuzz(func(t *testing.T, at int, patch []byte, size int) {
		b := bytes.Clone(good)
		if at >= 0 && at < len(b) {
			copy(b[at:], patch)
		}
		if size > 0 && size < len(b) {
			b = b[:size]
		}
		// It ends, without a panic, and visits no key twice.
		seen := map[string]bool{}
		_ = readDatabase(b, func(bucket string, key, _ []byte) error {
			k := bucket + "/" + string(key)
			if seen[k] {
				t.Fatalf("%q twice", k)
			}
			seen[k] = true
			return nil
		})
	})
}
