package raytest

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// ask sends a request to a node agent and returns the status, selected headers and the
// body.
func ask(t *testing.T, method, url string, header ...string) (status int, got http.Header, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

func TestNode_Index(t *testing.T) {
	node := New(t).Nodes()[0]
	node.WriteFile("a&b c.log", "x")
	node.WriteFile("serve/p.log", "x")
	_, header, got := ask(t, "GET", node.AgentURL()+"/logs/")
	const want = `<html>
<head>
<title>Index of /.</title>
</head>
<body>
<h1>Index of /.</h1>
<ul>
<li><a href="/logs/a&b%20c.log">a&amp;b c.log</a></li>
<li><a href="/logs/events">events/</a></li>
<li><a href="/logs/export_events">export_events/</a></li>
<li><a href="/logs/old">old/</a></li>
<li><a href="/logs/serve">serve/</a></li>
</ul>
</body>
</html>`
	if got != want || header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%s, %v", got, header)
	}
	for path, want := range map[string]int{"/logs/serve": 200, "/logs/serve/": 200, "/logs/old": 200, "/logs/absent": 404, "/other": 404} {
		if status, _, _ := ask(t, "GET", node.AgentURL()+path); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
}

// TestNode_Steps: each step of a process on the node changes what it must, and an ETag
// changes with every write and with nothing else.
func TestNode_Steps(t *testing.T) {
	head := New(t)
	node := head.Nodes()[0]
	state := func(name string) (etag, content string) {
		content = "-"
		if b, ok := node.File(name); ok {
			content = string(b)
		}
		_, header, _ := ask(t, "HEAD", node.AgentURL()+"/logs/"+name)
		return header.Get("ETag"), content
	}
	var last string
	step := func(what, name, want string, sameTag bool) {
		t.Helper()
		etag, content := state(name)
		if content != want || (etag == last) != sameTag {
			t.Errorf("%s: %q with %s after %s, want %q", what, content, etag, last, want)
		}
		last = etag
	}
	node.AppendFile("x", "one\n")
	step("made", "x", "one\n", false)
	node.AppendFile("x", "two\n")
	step("appended", "x", "one\ntwo\n", false)
	node.RotateFile("x", 2)
	step("rotated", "x.1", "one\ntwo\n", true)
	if _, ok := node.File("x"); ok {
		t.Error("a rotated file is still there")
	}
	node.AppendFile("x", "three\n")
	node.RotateFile("x", 2)
	step("rotated again", "x.2", "one\ntwo\n", true)
	node.AppendFile("x", "four\n")
	node.RotateFile("x", 2)
	step("the last but one", "x.2", "three\n", false)
	node.RenameFile("x.2", "old/x.2")
	step("moved", "old/x.2", "three\n", true)
	node.AppendFile("x", "five\n")
	node.CopyFile("x", "x.1")
	step("copied", "x.1", "five\n", false)
	node.TruncateFile("x")
	step("truncated", "x", "", false)
	node.SetModified("x", time.Unix(1, 5))
	if etag, _ := state("x"); etag != `"3b9aca05-0"` {
		t.Errorf("the ETag of a second: %s", etag)
	}
	node.RemoveFile("x")
	if got := strings.Join(node.Files(), " "); got != "old/x.2 x.1" {
		t.Errorf("files: %s", got)
	}
	second, err := head.AddNode("127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	second.ShareLogs(node)
	second.AppendFile("raylet.1.out", "x")
	if got := strings.Join(node.Files(), " "); got != "old/x.2 raylet.1.out x.1" {
		t.Errorf("files of a shared directory: %s", got)
	}
}

func TestNode_Range(t *testing.T) {
	node := New(t).Nodes()[0]
	node.WriteFile("f", "0123456789")
	node.SetModified("f", time.Unix(1, 5))
	node.WriteFile("empty", "")
	for _, tt := range []struct {
		method, name string
		header       []string
		status       int
		span, body   string
		tagged       bool
	}{
		{"GET", "f", nil, 200, "", "0123456789", true},
		{"GET", "f", []string{"Range", "bytes=2-"}, 206, "bytes 2-9/10", "23456789", true},
		{"GET", "f", []string{"Range", "bytes=2-4"}, 206, "bytes 2-4/10", "234", true},
		{"GET", "f", []string{"Range", "bytes=2-40"}, 206, "bytes 2-9/10", "23456789", true},
		{"GET", "f", []string{"Range", "bytes=10-"}, 416, "bytes */10", "", false},
		{"GET", "empty", []string{"Range", "bytes=0-"}, 416, "bytes */0", "", false},
		{"GET", "empty", nil, 200, "", "", true},
		{"HEAD", "f", nil, 200, "", "", true},
		{"HEAD", "empty", nil, 200, "", "", true},
		{"GET", "f", []string{"If-None-Match", `"3b9aca05-a"`}, 304, "", "", true},
		{"GET", "f", []string{"If-None-Match", `"3b9aca05-a"`, "Range", "bytes=10-"}, 304, "", "", true},
		{"GET", "f", []string{"If-None-Match", `"0-a"`, "Range", "bytes=9-"}, 206, "bytes 9-9/10", "9", true},
		{"GET", "absent", nil, 404, "", "", false},
		{"HEAD", "absent", nil, 404, "", "", false},
	} {
		status, header, body := ask(t, tt.method, node.AgentURL()+"/logs/"+tt.name, tt.header...)
		if status != tt.status || header.Get("Content-Range") != tt.span || body != tt.body || (header.Get("ETag") != "") != tt.tagged {
			t.Errorf("%s %s %v: %d, %v, %q", tt.method, tt.name, tt.header, status, header, body)
		}
	}
	if got, want := [3]int{node.Requests(EndpointNodeAgent), node.Requests(EndpointAgentStat), node.Requests(EndpointAgentIndex)}, [3]int{11, 3, 0}; got != want {
		t.Errorf("requests: %v, want %v", got, want)
	}
}
