package dashboard

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"raytap/ray"
	"raytap/ray/raytest"
	"raytap/ray/transport"
)

// oddNames are names of files that need escapes in a URL or in HTML.
var oddNames = []string{"worker-a-ffffffff-1.out", "a b.log", "50%.log", "a&b<c>.log", `"quoted'.log`, "a?b#c.log", "a:b.log", "über.log", "..hidden", "a..b", "+.out"}

func TestAgentFileIndex(t *testing.T) {
	head := raytest.New(t)
	c, node := logClient(t, head, transport.Options{}, Options{}), head.Nodes()[0]
	for _, name := range oddNames {
		node.WriteFile(name, "x")
		node.WriteFile("old/"+name, "x")
	}
	node.WriteFile("serve/proxy_127.0.0.1.log", "x")
	want := slices.Sorted(slices.Values(oddNames))
	for dir, want := range map[string][]string{"": want, "old": want, "serve": {"proxy_127.0.0.1.log"}, "events": {}} {
		got, err := c.AgentFileIndex(t.Context(), node.AgentURL(), dir)
		slices.Sort(got.Names)
		if err != nil || got.Truncated || !slices.Equal(got.Names, want) {
			t.Errorf("%q: %+v, %v, want %q", dir, got, err, want)
		}
	}
	_, err := c.AgentFileIndex(t.Context(), node.AgentURL(), "absent")
	wantCode(t, err, 404)
	for _, dir := range []string{"..", "old/..", "old/", "/old", "a\nb"} {
		_, err := c.AgentFileIndex(t.Context(), node.AgentURL(), dir)
		wantCode(t, err, 400)
	}
	if n := node.Requests(raytest.EndpointAgentIndex); n != 4 {
		t.Errorf("%d requests for indexes", n)
	}
	head.Inject(raytest.Fault{Endpoint: raytest.EndpointAgentIndex, Action: raytest.HTML})
	_, err = c.AgentFileIndex(t.Context(), node.AgentURL(), "")
	wantCode(t, err, 500)
}

func TestAgentFile(t *testing.T) {
	head := raytest.New(t)
	c, node := logClient(t, head, transport.Options{}, Options{}), head.Nodes()[0]
	read := func(name string, from, to int64) (string, ray.FilePart) {
		t.Helper()
		part, err := c.AgentFile(t.Context(), node.AgentURL(), name, from, to)
		if err != nil {
			t.Fatalf("%q from %d to %d: %v", name, from, to, err)
		}
		defer part.Body.Close()
		got, err := io.ReadAll(part.Body)
		if err != nil {
			t.Fatalf("%q from %d to %d: %v", name, from, to, err)
		}
		return string(got), part
	}
	at := time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.UTC)
	etag, modified := fmt.Sprintf(`"%x-a"`, at.UnixNano()), at.Truncate(time.Second).Add(time.Second) // rounded up
	for _, name := range oddNames {
		node.WriteFile(name, "0123\xff56\r\n9")
		node.SetModified(name, at)
		for _, tt := range []struct {
			from, to int64
			want     string
		}{{0, 0, "0123\xff56\r\n9"}, {0, 4, "0123"}, {4, 9, "\xff56\r\n"}, {9, 100, "9"}, {9, 0, "9"}, {10, 0, ""}, {99, 120, ""}} {
			got, part := read(name, tt.from, tt.to)
			if got != tt.want || part.Offset != tt.from || part.Size != 10 {
				t.Errorf("%q [%d,%d): %q, %+v", name, tt.from, tt.to, got, part.FileStat)
			}
			if tt.from < 10 && (part.ETag != etag || !part.Modified.Equal(modified)) {
				t.Errorf("%q [%d,%d): %+v", name, tt.from, tt.to, part.FileStat)
			}
		}
		stat, err := c.AgentFileStat(t.Context(), node.AgentURL(), name)
		if err != nil || stat.ETag != etag || stat.Size != 10 || !stat.Modified.Equal(modified) {
			t.Errorf("%q: %+v, %v", name, stat, err)
		}
	}
	node.WriteFile("empty", "")
	if got, part := read("empty", 0, 0); got != "" || part.Size != 0 {
		t.Errorf("an empty file: %q, %+v", got, part)
	}
	if stat, err := c.AgentFileStat(t.Context(), node.AgentURL(), "empty"); err != nil || stat.Size != 0 || stat.ETag == "" {
		t.Errorf("an empty file: %+v, %v", stat, err)
	}
	for _, name := range []string{"absent", "old/absent"} {
		_, err := c.AgentFile(t.Context(), node.AgentURL(), name, 0, 0)
		wantCode(t, err, 404)
		_, err = c.AgentFileStat(t.Context(), node.AgentURL(), name)
		wantCode(t, err, 404)
	}
	for _, name := range []string{"", "..", "../secret", "old/../../secret", "/etc/passwd", "a\x00b", strings.Repeat("a", 256), "\xff"} {
		_, err := c.AgentFile(t.Context(), node.AgentURL(), name, 0, 0)
		wantCode(t, err, 400)
		_, err = c.AgentFileStat(t.Context(), node.AgentURL(), name)
		wantCode(t, err, 400)
	}
	for _, span := range [][2]int64{{-1, 0}, {4, 4}, {4, 3}} {
		_, err := c.AgentFile(t.Context(), node.AgentURL(), "empty", span[0], span[1])
		wantCode(t, err, 400)
	}
}

// TestAgentFile_NotAllowed: the rules for agents hold for files and indexes, too.
func TestAgentFile_NotAllowed(t *testing.T) {
	head := raytest.New(t, raytest.Token("secret"), raytest.IP("127.0.0.2"))
	node := head.Nodes()[0]
	node.WriteFile("raylet.out", "x")
	for name, tt := range map[string]struct {
		token string
		o     Options
		code  int
	}{
		"disabled":      {"secret", Options{NodeAgents: NodeAgents{Mode: NodeAgentsOff}}, 403},
		"outside allow": {"secret", Options{NodeAgents: NodeAgents{Mode: NodeAgentsOn, Allow: prefixes("10.0.0.0/8")}}, 403},
		"no token":      {"", Options{NodeAgents: NodeAgents{Allow: prefixes("127.0.0.0/8")}}, 401},
		"wrong token":   {"other", Options{NodeAgents: NodeAgents{Allow: prefixes("127.0.0.0/8")}}, 403},
		"allowed":       {"secret", Options{NodeAgents: NodeAgents{Allow: prefixes("127.0.0.0/8")}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			to := transport.Options{}
			if tt.token != "" {
				to.Token, to.Scheme = transport.StaticToken(tt.token), "Bearer "
			}
			c := logClient(t, head, to, tt.o)
			_, err := c.AgentFileIndex(t.Context(), node.AgentURL(), "")
			if ray.Code(err) != tt.code {
				t.Errorf("index: %v, want code %d", err, tt.code)
			}
			_, err = c.AgentFileStat(t.Context(), node.AgentURL(), "raylet.out")
			if ray.Code(err) != tt.code {
				t.Errorf("stat: %v, want code %d", err, tt.code)
			}
			part, err := c.AgentFile(t.Context(), node.AgentURL(), "raylet.out", 0, 0)
			if ray.Code(err) != tt.code {
				t.Errorf("file: %v, want code %d", err, tt.code)
			}
			if err == nil {
				_ = part.Body.Close()
			}
		})
	}
	node.AgentDown()
	c := logClient(t, head, transport.Options{Token: transport.StaticToken("secret"), Scheme: "Bearer "}, Options{NodeAgents: NodeAgents{Allow: prefixes("127.0.0.0/8")}})
	_, err := c.AgentFileIndex(t.Context(), node.AgentURL(), "")
	wantCode(t, err, 503)
}

// TestAgentFile_Header: no file is ever requested in another encoding.
func TestAgentFile_Header(t *testing.T) {
	var sent []string
	agent := stranger(t, func(w http.ResponseWriter, r *http.Request) {
		sent = append(sent, r.Method+" "+r.Header.Get("Accept-Encoding"))
		_, _ = io.WriteString(w, "<ul></ul>")
	})
	head := raytest.New(t)
	c := logClient(t, head, transport.Options{}, Options{NodeAgents: NodeAgents{Allow: prefixes("127.0.0.1/32")}})
	_, _ = c.AgentFileIndex(t.Context(), agent, "")
	_, _ = c.AgentFileStat(t.Context(), agent, "x")
	if part, err := c.AgentFile(t.Context(), agent, "x", 0, 0); err == nil {
		_ = part.Body.Close()
	}
	if want := []string{"GET identity", "HEAD identity", "GET identity"}; !slices.Equal(sent, want) {
		t.Errorf("%q, want %q", sent, want)
	}
}

func TestReadFileIndex(t *testing.T) {
	const many = 200_000
	var long strings.Builder
	long.WriteString("<h1>Index of /.</h1><ul>\n")
	for i := range many {
		fmt.Fprintf(&long, "<li><a href=\"/logs/worker-%050d.out\">worker-%050d.out</a></li>\n", i, i)
	}
	const page = "<html>\n<head>\n<title>Index of /old</title>\n</head>\n<body>\n<h1>Index of /old</h1>\n<ul>\n%s\n</ul>\n</body>\n</html>"
	for name, tt := range map[string]struct {
		html, base string
		want       []string // nil: not an index
	}{
		"aiohttp":                        {fmt.Sprintf(page, `<li><a href="/logs/old/a%20b">a b</a></li>`), "/logs/old/", []string{"a b"}},
		"aiohttp, empty":                 {fmt.Sprintf(page, ""), "/logs/old/", []string{}},
		"aiohttp, a directory":           {fmt.Sprintf(page, `<li><a href="/logs/old/d">d/</a></li><li><a href="/logs/old/f">f</a></li>`), "/logs/old/", []string{"f"}},
		"aiohttp without escapes":        {fmt.Sprintf(page, `<li><a href="/logs/old/a%3Cb%3E&c">a<b>&c</a></li>`), "/logs/old/", []string{"a<b>&c"}},
		"Go":                             {"<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n<a href=\"d/\">d/</a>\n<a href=\"./a:b\">a:b</a>\n<a href=\"f%25\">f%</a>\n</pre>\n", "/logs/", []string{"a:b", "f%"}},
		"Go, empty":                      {"<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n</pre>\n", "/logs/old/", []string{}},
		"links that lead elsewhere":      {fmt.Sprintf(page, `<a href="../x">x</a><a href="/logs/x">x</a><a href="http://10.0.0.1/logs/old/x">x</a><a href="?C=N">N</a><a>x</a><a href="/logs/old/%zz">x</a>`), "/logs/old/", []string{}},
		"names that are no files' names": {fmt.Sprintf(page, `<a href="/logs/old/..">x</a><a href="/logs/old/a%2Fb">x</a><a href="/logs/old/a/b">x</a><a href="/logs/old/a%0Ab">x</a><a href="/logs/old/%ff">x</a><a href="/logs/old/">x</a>`), "/logs/old/", []string{}},
		"a login":                        {"<!DOCTYPE html><html><body><pre>hello</pre><form>Sign in</form><a href='/login'>x</a></body></html>", "/logs/", nil},
		"no HTML":                        {"{}", "/logs/", nil},
		"nothing":                        {"", "/logs/", nil},
		"a huge tag":                     {"<h1>Index of /</h1><a href=\"" + strings.Repeat("x", 1<<20) + "\">x</a>", "/logs/", nil},
	} {
		got, err := readFileIndex(strings.NewReader(tt.html), tt.base)
		switch {
		case err != nil || (got == nil) != (tt.want == nil):
			t.Errorf("%s: %+v, %v, want %q", name, got, err, tt.want)
		case got != nil && (!slices.Equal(got.Names, tt.want) || got.Truncated):
			t.Errorf("%s: %+v, want %q", name, got, tt.want)
		}
	}
	got, err := readFileIndex(strings.NewReader(long.String()), "/logs/")
	if err != nil || !got.Truncated || len(got.Names) < 50_000 || len(got.Names) >= many {
		t.Fatalf("a long index: %d names, %v", len(got.Names), err)
	}
	for i, name := range got.Names {
		if name != fmt.Sprintf("worker-%050d.out", i) {
			t.Fatalf("name %d of a long index: %q", i, name)
		}
	}
	cut := io.MultiReader(strings.NewReader(fmt.Sprintf(page, "")[:60]), iotest.ErrReader(io.ErrUnexpectedEOF))
	if got, err := readFileIndex(cut, "/logs/old/"); err == nil {
		t.Errorf("an index that ends early: %+v", got)
	}
}

// FuzzReadFileIndex: whatever the page, every name can be the name of a file.
func FuzzReadFileIndex(f *testing.F) {
	f.Add("<h1>Index of /.</h1><ul><li><a href=\"/logs/a%20b\">a b</a></li></ul>")
	f.Add("<pre><a href=\"d/\">d/</a><a href=\"./a:b\">a:b</a></pre>")
	f.Add("<a href='/logs/%2e%2e'>x</a><a href=/logs/../x>x<a href='/logs/a%00'>x</a>")
	f.Fuzz(func(t *testing.T, page string) {
		index, err := readFileIndex(strings.NewReader(page), "/logs/")
		if err != nil {
			t.Fatalf("%q: %v", page, err)
		}
		if index == nil {
			return
		}
		for _, name := range index.Names {
			if _, err := filePath("", name); err != nil || strings.Contains(name, "/") {
				t.Errorf("%q: %q", page, name)
			}
		}
	})
}
