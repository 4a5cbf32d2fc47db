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
		content string // of the current file; "-": it is not there
		rotated string // the name of a rotated file
		saved   Watermark
		want    Recovered
		records string
		after   string
	}{
		{name: "the records behind the watermark are given", content: "a\nbb\nccc\n", saved: Watermark{path, 1, 2},
			want: Recovered{Records: 2, Size: 9}, records: "bb,ccc", after: "a\nbb\nccc\n"},
		{name: "nothing is behind the watermark", content: "a\n", saved: Watermark{path, 1, 2},
			want: Recovered{Size: 2}, after: "a\n"},
		{name: "a torn last record is cut", content: "a\nbb\ncc", saved: Watermark{path, 1, 2},
			want: Recovered{Records: 1, Size: 5, Cut: 2}, records: "bb", after: "a\nbb\n"},
		{name: "a torn first record is cut", content: "aa", saved: Watermark{path, 1, 0},
			want: Recovered{Cut: 2}},
		{name: "zeros that a power cut left are cut", content: "a\nbb\n\x00\x00\x00\x00", saved: Watermark{path, 1, 2},
			want: Recovered{Records: 1, Size: 5, Cut: 4}, records: "bb", after: "a\nbb\n"},
		{name: "what lies behind such zeros is cut, too", content: "a\nbb\nc\x00\x00\nddd\n", saved: Watermark{path, 1, 2},
			want: Recovered{Records: 1, Size: 5, Cut: 8}, records: "bb", after: "a\nbb\n"},
		{name: "zeros before the watermark are nobody's to judge", content: "\x00\na\n", saved: Watermark{path, 1, 2},
			want: Recovered{Records: 1, Size: 4}, records: "a", after: "\x00\na\n"},
		{name: "after a rotation the current file is read from its start", content: "a\nb\n", rotated: "out.000003",
			saved: Watermark{path, 3, 2}, want: Recovered{Rotated: true, Records: 2, Size: 4}, records: "a,b", after: "a\nb\n"},
		{name: "a compressed one proves the rotation, too", content: "a\n", rotated: "out.000003.gz",
			saved: Watermark{path, 3, 200}, want: Recovered{Rotated: true, Records: 1, Size: 2}, records: "a", after: "a\n"},
		{name: "an older rotated file proves nothing", content: "a\nb\n", rotated: "out.000002",
			saved: Watermark{path, 3, 2}, want: Recovered{Records: 1, Size: 4}, records: "b", after: "a\nb\n"},
		{name: "a crash between rename and open leaves no current file", content: "-", rotated: "out.000003",
			saved: Watermark{path, 3, 2}, want: Recovered{Rotated: true}, after: "-"},
		{name: "a file that is missing is told", content: "-", saved: Watermark{path, 3, 2},
			want: Recovered{Found: FoundMissing}, after: "-"},
		{name: "a file that is shorter is told", content: "a\n", saved: Watermark{path, 3, 4},
			want: Recovered{Found: FoundShorter, Size: 2}, after: "a\n"},
		{name: "a file that is shorter and torn is cut", content: "a\nbb", saved: Watermark{path, 3, 40},
			want: Recovered{Found: FoundShorter, Size: 2, Cut: 2}, after: "a\n"},
		{name: "a file that was replaced is told", content: "aaaa\n", saved: Watermark{path, 3, 2},
			want: Recovered{Found: FoundOther, Size: 5}, after: "aaaa\n"},
		{name: "another path is told, and not touched", content: "a\nbb", saved: Watermark{"/else", 3, 2},
			want: Recovered{Found: FoundElsewhere, Size: 4}, after: "a\nbb"},
		{name: "without a watermark nothing is touched", content: "a\nbb",
			want: Recovered{Found: FoundUnmarked, Size: 4}, after: "a\nbb"},
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
				t.Errorf("records %q, want %q", r, c.records)
			}
			after := "-"
			if i := fs.files[path]; i != nil {
				after = string(i.data)
			}
			if after != c.after {
				t.Errorf("the file holds %q, want %q", after, c.after)
			}
		})
	}
}

func TestRecoverEndsWithTheErrorOfItsCaller(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(path, []byte("a\nb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	c, err := Take(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r, err := c.Recover(Watermark{path, 1, 0}, func([]byte) error { return stop })
	if !errors.Is(err, stop) || r.Records != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestRecoverHoldsNoMoreThanItsBound(t *testing.T) {
	long := bytes.Repeat([]byte("l"), MaxRecord+5*recoverBlock)
	for _, c := range []struct {
		name string
		tail string
		want []int
	}{
		{"a whole record is given cut", "\nb\n", []int{1, MaxRecord, 1}},
		{"a torn one is not given", "", []int{1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := newMemFS()
			fs.files["/d/out"] = &inode{data: slices.Concat([]byte("a\n"), long, []byte(c.tail))}
			var got []int
			_, err := recoverMem(fs, "/d/out", Watermark{"/d/out", 1, 0}, func(b []byte) error {
				got = append(got, len(b))
				if cap(b) > 2*MaxRecord {
					t.Errorf("%d bytes are held", cap(b))
				}
				return nil
			})
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("lengths %v, %v; want %v", got, err, c.want)
			}
		})
	}
}

// The law: what is left is the longest prefix that ends with a newline and has
// no zero byte behind the watermark, and the records given are its lines behind
// the watermark.
func FuzzRecover(f *testing.F) {
	f.Add([]byte("a\nbb\nccc"), 2)
	f.Add([]byte("\n\n"), 1)
	f.Add([]byte("torn"), 0)
	f.Add([]byte("a\nb\x00\n\x00c\n"), 2)
	f.Add(append(bytes.Repeat([]byte("x"), recoverBlock), '\n', 'y'), 0)
	f.Add(append(bytes.Repeat([]byte("x\n"), recoverBlock/2), bytes.Repeat([]byte("y"), recoverBlock+1)...), 2)
	f.Fuzz(func(t *testing.T, content []byte, offset int) {
		sound := content
		if offset == 0 || offset > 0 && offset <= len(content) && content[offset-1] == '\n' {
			if i := bytes.IndexByte(content[offset:], 0); i >= 0 {
				sound = content[:offset+i]
			}
		}
		whole := content[:bytes.LastIndexByte(sound, '\n')+1]
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
			t.Errorf("%q is left of %q", left, content)
		}
		if r.Size != int64(len(whole)) || r.Cut != int64(len(content)-len(whole)) {
			t.Errorf("told %+v of %q", r, content)
		}
		switch {
		case offset < 0 || offset > len(whole):
			if r.Found != FoundShorter || got != nil {
				t.Errorf("offset %d in %q: %v, records %q", offset, content, r.Found, got)
			}
		case offset > 0 && whole[offset-1] != '\n':
			if r.Found != FoundOther || got != nil {
				t.Errorf("offset %d in %q: %v, records %q", offset, content, r.Found, got)
			}
		case r.Found != FoundRecords || !bytes.Equal(got, whole[offset:]):
			t.Errorf("offset %d in %q: %v, records %q", offset, content, r.Found, got)
		}
	})
}

// recoverMem recovers a file in memory, and leaves it.
func recoverMem(fs *memFS, path string, saved Watermark, record func([]byte) error) (Recovered, error) {
	c, err := take(fs, path, DefaultFileMode)
	if err != nil {
		return Recovered{}, err
	}
	r, err := c.Recover(saved, record)
	return r, errors.Join(err, c.Close())
}
