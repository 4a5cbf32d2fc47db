package pyjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

type scalar struct {
	v  float64
	ok bool
}

func (s *scalar) ReadJSON(d *Decoder) (err error) { s.v, s.ok, err = d.Number(); return err }
func (scalar) Scalar()                            {}

type inner struct {
	Name string `json:"name"`
	N    scalar `json:"n"`
}

type row struct {
	ID    string            `json:"id"`
	On    bool              `json:"on"`
	Num   scalar            `json:"num"`
	Float float64           `json:"float"`
	Maybe *string           `json:"maybe"`
	List  []scalar          `json:"list"`
	Names []string          `json:"names"`
	Inner []inner           `json:"inner"`
	By    map[string]inner  `json:"by"`
	Text  map[string]string `json:"text"`
	Raw   json.RawMessage   `json:"raw"`
}

func decode(text string) (r row, lost Skipped, err error) {
	d := NewDecoder(strings.NewReader(text))
	err = d.Decode(&r)
	return r, d.Skipped, err
}

func TestDecode_Skipped(t *testing.T) {
	one := scalar{1, true}
	for _, test := range []struct {
		name, text string
		want       row
		lost       Skipped
	}{
		{"valid", `{"id":"a","on":true,"num":"1","float":1.5,"list":[1,1],"inner":[{"name":"x","n":1}]}`,
			row{ID: "a", On: true, Num: one, Float: 1.5, List: []scalar{one, one}, Inner: []inner{{"x", one}}}, Skipped{}},
		{"null is absent and not counted", `{"id":null,"on":null,"num":null,"float":null,"list":null,"inner":null,"by":null}`, row{}, Skipped{}},
		{"invalid words are null", `{"num":NaN,"float":-Infinity,"id":Infinity,"list":[NaN,1]}`, row{List: []scalar{{}, one}}, Skipped{Inexact: 4}},
		{"other types", `{"id":[1,{"a":"]"}],"on":"yes","num":{"x":1},"float":"1","maybe":7,"list":{},"inner":3,"by":[]}`, row{}, Skipped{Fields: 8}},
		{"numbers keep their place", `{"list":["x",1,[2],null]}`, row{List: []scalar{{}, one, {}, {}}}, Skipped{Fields: 2}},
		{"other elements are omitted", `{"inner":[7,{"name":"x"},null,{"name":9}],"by":{"a":7,"b":{"name":"x"},"c":null},"text":{"a":1,"b":"x"}}`,
			row{Inner: []inner{{Name: "x"}, {}}, By: map[string]inner{"b": {Name: "x"}}, Text: map[string]string{"b": "x"}}, Skipped{Rows: 4, Fields: 2}},
		{"the last duplicate counts", `{"id":"a","id":"b","num":1,"num":[]}`, row{ID: "b"}, Skipped{Fields: 1}},
		{"a valid last duplicate is not counted", `{"num":[],"num":1,"text":{"a":7,"a":"x"},"by":{"a":7,"a":{"name":"x"}}}`, row{Num: one, Text: map[string]string{"a": "x"}, By: map[string]inner{"a": {Name: "x"}}}, Skipped{}},
		{"a byte order mark", "\ufeff" + `{"id":"a"}`, row{ID: "a"}, Skipped{}},
		{"surrogates", `{"id":"\ud83d\ude00 \ud83d \ude00"}`, row{ID: "😀 \ufffd \ufffd"}, Skipped{Inexact: 2}},
		{"invalid UTF-8", "{\"id\":\"a\xff\xfeb\"}", row{ID: "a\ufffd\ufffdb"}, Skipped{Inexact: 1}},
		{"a number too large", `{"float":1e999,"num":1e999}`, row{}, Skipped{Fields: 2}},
		{"a number too long", `{"num":` + strings.Repeat("9", 5000) + `,"id":"a"}`, row{ID: "a"}, Skipped{Fields: 1}},
		{"raw", `{"raw":{"a":[NaN,"\ud83d"]}}`, row{Raw: json.RawMessage(`{"a":[null,"` + "\ufffd" + `"]}`)}, Skipped{Inexact: 2}},
	} {
		got, lost, err := decode(test.text)
		if err != nil || !reflect.DeepEqual(got, test.want) || lost != test.lost {
			t.Errorf("%s:\n got %+v, %+v, %v\nwant %+v, %+v", test.name, got, lost, err, test.want, test.lost)
		}
	}
}

func TestDecode_Errors(t *testing.T) {
	for text, want := range map[string]string{
		``: "unexpected EOF", `{`: "unexpected EOF", `{"id":"a`: "unexpected EOF", `{"id":"a\`: "unexpected EOF", `{"id":"a\u12`: "unexpected EOF",
		`nul`: "byte", `{"id":nope}`: "byte", `{"x":nope}`: "byte", `{"id" "a"}`: "byte", `{"id":"a" "on":true}`: "byte", `{id:1}`: "byte",
		`{"id":"a",}`: "byte", `{"list":[1,]}`: "byte", `{"list":[1 2]}`: "byte", `hello`: "byte", `<html>`: "byte", `{"num":1-x}`: "byte", `{"id":"\q"}`: "byte",
	} {
		if r, _, err := decode(text); err == nil || IsShape(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v", text, r, err)
		}
	}
	broken := errors.New("broken")
	d := NewDecoder(io.MultiReader(strings.NewReader(`{"id":"`), iotest.ErrReader(broken)))
	if err := d.Decode(new(row)); err != broken {
		t.Errorf("the reader's error is %v", err)
	}
}

func TestRow_Bounds(t *testing.T) {
	long := strings.Repeat("é", 2<<20)
	many := strings.TrimSuffix(strings.Repeat(`{"name":"x"},`, 1<<18), ",")
	var entries strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&entries, `"k%d":{"name":"x"},`, i)
	}
	for name, field := range map[string]string{
		"a string": `"id":"` + long + `"`, "a list": `"inner":[` + many + `]`, "a map": `"by":{` + strings.TrimSuffix(entries.String(), ",") + `}`,
		"raw": `"raw":[` + many + `]`, "a key": `"` + long + `":1`, "a value that is not read": `"other":[` + many + `,"` + long + `"]`,
		"texts": `"names":["` + strings.Repeat(strings.Repeat("x", 60_000)+`","`, 100) + `"]`,
	} {
		d := NewDecoder(strings.NewReader(`{` + field + `,"num":1}`))
		var r row
		if err := d.Row(&r); err != nil || r.Num.v != 1 {
			t.Errorf("%s: %v, the next field is %v", name, err, r.Num)
		}
		held := len(r.ID) + len(r.Raw) + 40*len(r.Inner) + 64*len(r.By) + cap(d.text) + cap(d.key)
		for _, s := range r.Names {
			held += len(s)
		}
		if held > 3*MaxRow || !utf8.ValidString(r.ID) {
			t.Errorf("%s: %d bytes in memory", name, held)
		}
		if read := name == "a key" || name == "a value that is not read"; read != (d.Skipped.Truncated+d.Skipped.Fields == 0) {
			t.Errorf("%s: lost %+v", name, d.Skipped)
		}
	}
}

// FuzzSkip: a value without a field changes nothing else.
func FuzzSkip(f *testing.F) {
	for _, s := range []string{`NaN`, `-Infinity`, `{"id":"evil","list":[1]}`, `[[[{}]]]`, `"\ud83d\"]}"`, `1e999`, "\"\xff\"", `{"a":1,"a":{}}`, `""`, `"\\"`, ` [ NaN , {"x":Infinity} ] `} {
		f.Add(s, uint8(1))
	}
	f.Fuzz(func(t *testing.T, value string, size uint8) {
		if !pythonWrites(value) {
			t.Skip()
		}
		text := `{"id":"a","other":` + value + `,"list":[1,2],"by":{"k":{"name":"x","other":` + value + `}},"num":3}`
		var got row
		d := NewDecoder(iotest.HalfReader(strings.NewReader(text)))
		if size%2 == 0 {
			d = NewDecoder(iotest.OneByteReader(strings.NewReader(text)))
		}
		if err := d.Row(&got); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		want := row{ID: "a", List: []scalar{{1, true}, {2, true}}, By: map[string]inner{"k": {Name: "x"}}, Num: scalar{3, true}}
		if skipped := d.Skipped; !reflect.DeepEqual(got, want) || skipped.Rows+skipped.Fields+skipped.Truncated != 0 || !d.End() {
			t.Errorf("%q: %+v, %+v", text, got, skipped)
		}
	})
}

// pythonWrites reports whether Python's json module can write such a value: JSON, with
// three more words.
func pythonWrites(s string) bool {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "?")
	}
	// Within strings the words are text.
	var out bytes.Buffer
	inText, escaped := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case escaped:
			escaped = false
		case inText && c == '\\':
			escaped = true
		case c == '"':
			inText = !inText
		case !inText:
			for _, word := range []string{"NaN", "-Infinity", "Infinity"} {
				if strings.HasPrefix(s[i:], word) {
					out.WriteString("null")
					i += len(word)
					break
				}
			}
			if i >= len(s) {
				continue
			}
			if c = s[i]; c == '"' {
				inText = true
			}
		}
		out.WriteByte(s[i])
	}
	return json.Valid(out.Bytes())
}

// FuzzAgainstEncodingJSON: both decoders agree on what encoding/json accepts.
func FuzzAgainstEncodingJSON(f *testing.F) {
	for _, s := range []string{`{"id":"a","maybe":"x","names":["\u00e9\n",""],"text":{"a":"b"}}`, `{"id":"\"\\\/\b\f\n\r\t"}`, `{"float":-1.5e3}`, `[]`, `"x"`, `{"id":"\ud83d\ude00"}`, ` { } `} {
		f.Add([]byte(s))
	}
	type plain struct {
		ID    string   `json:"id"`
		On    bool     `json:"on"`
		Float float64  `json:"float"`
		Maybe *string  `json:"maybe"`
		Names []string `json:"names"`
		All   any      `json:"all"`
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var want, got plain
		if json.Unmarshal(text, &want) != nil || ambiguous(text) {
			t.Skip()
		}
		for _, r := range []io.Reader{bytes.NewReader(text), iotest.OneByteReader(bytes.NewReader(text))} {
			got = plain{}
			d := NewDecoder(r)
			err := d.Decode(&got)
			if err != nil || !d.End() || !reflect.DeepEqual(got, want) {
				t.Fatalf("%q: got %+v, %v; encoding/json returns %+v", text, got, err, want)
			}
		}
	})
}

// ambiguous reports whether encoding/json may read a key differently: it ignores case,
// merges duplicates, and does not skip a byte order mark.
func ambiguous(text []byte) bool {
	d := json.NewDecoder(bytes.NewReader(text))
	seen := map[string]bool{}
	for {
		token, err := d.Token()
		if err != nil {
			return false
		}
		if s, ok := token.(string); ok {
			lower := strings.ToLower(s)
			if seen[lower] || lower != s || !utf8.ValidString(s) || strings.ContainsAny(s, "ſK\ufffd") {
				return true
			}
			seen[lower] = true
		}
	}
}

func TestShorten(t *testing.T) {
	s := "first " + strings.Repeat("é", 5000) + " last"
	if got := Shorten(s, 4096); len(got) > 4096 || len(got) < 4000 || !strings.HasPrefix(got, "first ") || !strings.HasSuffix(got, " last") || !utf8.ValidString(got) {
		t.Errorf("%d bytes, %q", len(got), got[:20])
	}
	if got := Shorten("short", 4096); got != "short" {
		t.Error(got)
	}
}
