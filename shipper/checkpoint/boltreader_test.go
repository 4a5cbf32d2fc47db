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

// An empty file is a new one, even if raytap did not create it.
func TestDatabase_EmptyFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "positions.db")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := fileContent(t, file); got != `{"version":2,"clusters":{}}` {
		t.Errorf("the content is %s", got)
	}
	p := openStore(t, file)
	if !p.Empty() {
		t.Error("the store is not empty")
	}
	fill(t, p, 3)
	save(t, p)
	checkFile(t, file, p)
}

func TestDatabase_RejectsOtherFiles(t *testing.T) {
	good := filepath.Join(t.TempDir(), "positions.db")
	p := openStore(t, good)
	fill(t, p, 100)
	save(t, p)
	b, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(t.TempDir(), "newer.db")
	q := openStore(t, newer)
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
		"positions as JSON":            {[]byte(`{"version":2,"clusters":{}}` + "\n"), "it holds no positions of raytap (it is JSON): set shipper.positions.file to another path, or move it away"},
		"lines":                        {[]byte("hello\n"), "it holds no positions of raytap: set"},
		"large":                        {bytes.Repeat([]byte("hello\n"), 10000), "it holds no positions of raytap: set"},
		"zeros":                        {make([]byte, 64<<10), "it is corrupt (its first pages are missing): restore it from a copy, or move it away"},
		"truncated in its last page":   {b[:used-1], "it is corrupt (it was truncated:"},
		"truncated in the middle":      {b[:used/2], "it is corrupt (it was truncated:"},
		"truncated in its second page": {b[:pageSize+100], "it is corrupt (it was truncated:"},
		"truncated in its first page":  {b[:100], "it is corrupt (its first pages are missing)"},
		"of a newer raytap":            {n, "it has version 99, and this raytap reads versions up to 2: use the newer raytap that wrote it, or move it away"},
		"without its first two pages":  {append(make([]byte, 2*pageSize), b[2*pageSize:]...), "it is corrupt (its first pages are missing)"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "positions.db")
			if err := os.WriteFile(file, tt.content, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(file); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open: got %v, want %q", err, tt.want)
			}
			if _, err := Read(file); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Read: got %v, want %q", err, tt.want)
			}
			if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, tt.content) {
				t.Errorf("the file was changed (%v)", err)
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

// A file with a damaged byte is rejected, or has its content, or that of before its last
// save. It never has any other content.
func TestDatabase_Damage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "positions.db")
	p := openStore(t, file)
	keys := fill(t, p, 20)
	save(t, p)
	before := content(t, p)
	acceptLines(p, keys[0], 2)
	save(t, p)
	now := content(t, p)
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
		return content(t, q), nil
	}
	tried, rejected := 0, 0
	for at := 0; at < int(p.db.used); at++ {
		if at%pageSize > 3*elementSize && rng.IntN(40) > 0 { // all bytes of a page's head, some of its keys and values
			continue
		}
		tried++
		b := bytes.Clone(good)
		b[at] ^= 1 << rng.IntN(8)
		got, err := read(b)
		switch {
		case err != nil:
			rejected++
			if !errors.Is(err, errCorrupt) {
				t.Fatalf("byte %d: %v", at, err)
			}
		case got != now && got != before:
			t.Fatalf("byte %d of %d damaged: got %s\nwant an error, or %s", at, len(b), got, now)
		}
		if tried%100 == 0 { // bbolt can read what was not rejected
			other := filepath.Join(t.TempDir(), "positions.db")
			if err := os.WriteFile(other, b, 0o600); err != nil {
				t.Fatal(err)
			}
			q, oerr := Open(other)
			if (oerr == nil) != (err == nil) {
				t.Fatalf("byte %d: read: %v, Open: %v", at, err, oerr)
			}
			if oerr == nil {
				acceptLines(q, keys[1], 7)
				save(t, q)
				checkFile(t, other, q)
				_ = q.Close()
			}
		}
	}
	if rejected == 0 {
		t.Errorf("none of %d damaged files were rejected", tried)
	}
}

func FuzzReadDatabase(f *testing.F) {
	file := filepath.Join(f.TempDir(), "positions.db")
	p, err := Open(file)
	if err != nil {
		f.Fatal(err)
	}
	for i := range 40 {
		acceptLines(p, Key{"c", "s", fmt.Sprint(i)}, 1)
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
				t.Fatalf("key %q was visited twice", k)
			}
			seen[k] = true
			return nil
		})
	})
}
