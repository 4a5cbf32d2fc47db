package sink

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRecover(t *testing.T) {
	const path = "/d/out"
	for _, c := range []struct {
		name    string
		content string // of the current file; "-": it does not exist
		rotated string // the name of a rotated file
		saved   Watermark
		want    Recovery
		records string
		after   string
	}{
		{name: "records after the watermark", content: "a\nbb\nccc\n", saved: Watermark{path, 1, 2},
			want: Recovery{Records: 2, Size: 9}, records: "bb,ccc", after: "a\nbb\nccc\n"},
		{name: "nothing after the watermark", content: "a\n", saved: Watermark{path, 1, 2},
			want: Recovery{Size: 2}, after: "a\n"},
		{name: "torn last record", content: "a\nbb\ncc", saved: Watermark{path, 1, 2},
			want: Recovery{Records: 1, Size: 5, TornBytes: 2}, records: "bb", after: "a\nbb\n"},
		{name: "torn first record", content: "aa", saved: Watermark{path, 1, 0},
			want: Recovery{TornBytes: 2}},
		{name: "zeros after a power cut", content: "a\nbb\n\x00\x00\x00\x00", saved: Watermark{path, 1, 2},
			want: Recovery{Records: 1, Size: 5, TornBytes: 4}, records: "bb", after: "a\nbb\n"},
		{name: "records after such zeros", content: "a\nbb\nc\x00\x00\nddd\n", saved: Watermark{path, 1, 2},
			want: Recovery{Records: 1, Size: 5, TornBytes: 8}, records: "bb", after: "a\nbb\n"},
		{name: "zeros before the watermark are kept", content: "\x00\na\n", saved: Watermark{path, 1, 2},
			want: Recovery{Records: 1, Size: 4}, records: "a", after: "\x00\na\n"},
		{name: "rotated: the current file is read from its start", content: "a\nb\n", rotated: "out.000003",
			saved: Watermark{path, 3, 2}, want: Recovery{Rotated: true, Records: 2, Size: 4}, records: "a,b", after: "a\nb\n"},
		{name: "rotated and compressed", content: "a\n", rotated: "out.000003.gz",
			saved: Watermark{path, 3, 200}, want: Recovery{Rotated: true, Records: 1, Size: 2}, records: "a", after: "a\n"},
		{name: "an older rotated file is not a rotation", content: "a\nb\n", rotated: "out.000002",
			saved: Watermark{path, 3, 2}, want: Recovery{Records: 1, Size: 4}, records: "b", after: "a\nb\n"},
		{name: "crash between rename and open", content: "-", rotated: "out.000003",
			saved: Watermark{path, 3, 2}, want: Recovery{Rotated: true}, after: "-"},
		{name: "missing", content: "-", saved: Watermark{path, 3, 2},
			want: Recovery{Status: StatusMissing}, after: "-"},
		{name: "truncated", content: "a\n", saved: Watermark{path, 3, 4},
			want: Recovery{Status: StatusTruncated, Size: 2}, after: "a\n"},
		{name: "truncated and torn", content: "a\nbb", saved: Watermark{path, 3, 40},
			want: Recovery{Status: StatusTruncated, Size: 2, TornBytes: 2}, after: "a\n"},
		{name: "replaced", content: "aaaa\n", saved: Watermark{path, 3, 2},
			want: Recovery{Status: StatusReplaced, Size: 5}, after: "aaaa\n"},
		{name: "other path: the file is not changed", content: "a\nbb", saved: Watermark{"/else", 3, 2},
			want: Recovery{Status: StatusOtherPath, Size: 4}, after: "a\nbb"},
		{name: "no watermark: the file is not changed", content: "a\nbb",
			want: Recovery{Status: StatusNoWatermark, Size: 4}, after: "a\nbb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := newMemFS()
			if c.content != "-" {
				fs.files[path] = &inode{data: []byte(c.content)}
			}
			if c.rotated != "" {
				fs.files["/d/"+c.rotated] = &inode{}
			}
			var records []string
			got, err := recoverMem(fs, path, c.saved, func(b []byte) error {
				records = append(records, string(b))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if r := strings.Join(records, ","); r != c.records {
				t.Errorf("got records %q, want %q", r, c.records)
			}
			after := "-"
			if i := fs.files[path]; i != nil {
				after = string(i.data)
			}
			if after != c.after {
				t.Errorf("file contains %q, want %q", after, c.after)
			}
		})
	}
}

func TestRecover_CallbackError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(path, []byte("a\nb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	c, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r, err := c.Recover(Watermark{path, 1, 0}, func([]byte) error { return stop })
	if !errors.Is(err, stop) || r.Records != 1 {
		t.Errorf("got %+v, %v; want the callback's error after one record", r, err)
	}
}

func TestRecover_LongRecord(t *testing.T) {
	long := bytes.Repeat([]byte("l"), MaxRecord+5*recoverBlock)
	for _, c := range []struct {
		name string
		tail string
		want []int
	}{
		{"a long record is truncated", "\nb\n", []int{1, MaxRecord, 1}},
		{"a torn long record is omitted", "", []int{1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := newMemFS()
			fs.files["/d/out"] = &inode{data: slices.Concat([]byte("a\n"), long, []byte(c.tail))}
			var got []int
			_, err := recoverMem(fs, "/d/out", Watermark{"/d/out", 1, 0}, func(b []byte) error {
				got = append(got, len(b))
				if cap(b) > 2*MaxRecord {
					t.Errorf("the buffer has %d bytes, want at most %d", cap(b), 2*MaxRecord)
				}
				return nil
			})
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("got record lengths %v, %v; want %v", got, err, c.want)
			}
		})
	}
}

// Recover keeps the longest prefix that ends with a newline and has no zero byte after
// the watermark, and calls record for its lines after the watermark.
func FuzzRecover(f *testing.F) {
	f.Add([]byte("a\nbb\nccc"), 2)
	f.Add([]byte("\n\n"), 1)
	f.Add([]byte("torn"), 0)
	f.Add([]byte("a\nb\x00\n\x00c\n"), 2)
	f.Add(append(bytes.Repeat([]byte("x"), recoverBlock), '\n', 'y'), 0)
	f.Add(append(bytes.Repeat([]byte("x\n"), recoverBlock/2), bytes.Repeat([]byte("y"), recoverBlock+1)...), 2)
	f.Fuzz(func(t *testing.T, content []byte, offset int) {
		intact := content
		if offset == 0 || offset > 0 && offset <= len(content) && content[offset-1] == '\n' {
			if i := bytes.IndexByte(content[offset:], 0); i >= 0 {
				intact = content[:offset+i]
			}
		}
		whole := content[:bytes.LastIndexByte(intact, '\n')+1]
		fs := newMemFS()
		fs.files["/d/out"] = &inode{data: slices.Clone(content)}
		var got []byte
		r, err := recoverMem(fs, "/d/out", Watermark{"/d/out", 1, int64(offset)}, func(b []byte) error {
			got = append(append(got, b...), '\n')
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if left := fs.files["/d/out"].data; !bytes.Equal(left, whole) {
			t.Errorf("kept %q of %q, want %q", left, content, whole)
		}
		if r.Size != int64(len(whole)) || r.TornBytes != int64(len(content)-len(whole)) {
			t.Errorf("got %+v for %q", r, content)
		}
		switch {
		case offset < 0 || offset > len(whole):
			if r.Status != StatusTruncated || got != nil {
				t.Errorf("offset %d in %q: %v, records %q", offset, content, r.Status, got)
			}
		case offset > 0 && whole[offset-1] != '\n':
			if r.Status != StatusReplaced || got != nil {
				t.Errorf("offset %d in %q: %v, records %q", offset, content, r.Status, got)
			}
		case r.Status != StatusRecovered || !bytes.Equal(got, whole[offset:]):
			t.Errorf("offset %d in %q: %v, records %q", offset, content, r.Status, got)
		}
	})
}

// recoverMem recovers a file in memory.
func recoverMem(fs *memFS, path string, saved Watermark, record func([]byte) error) (Recovery, error) {
	c, err := acquire(fs, path, DefaultFileMode)
	if err != nil {
		return Recovery{}, err
	}
	r, err := c.Recover(saved, record)
	return r, errors.Join(err, c.Close())
}
