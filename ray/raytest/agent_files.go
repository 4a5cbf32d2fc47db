package raytest

import (
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// isDirectory reports whether the node has a directory: some always (2.60.0).
func (n *Node) isDirectory(name string) bool {
	switch name {
	case "", "old", "events", "export_events":
		return true
	}
	for file := range n.files {
		if strings.HasPrefix(file, name+"/") {
			return true
		}
	}
	return false
}

// agentRequest returns the endpoint of a request to the agent, and what it names: a job's
// submission id, or the name of a file or a directory.
func (n *Node) agentRequest(r *http.Request, name string) (endpoint, named string) {
	if id, ok := strings.CutPrefix(name, "job-driver-"); ok {
		name, _, _ = strings.Cut(id, ".log") // .log, or .log.1 and so on
	}
	switch {
	case r.Method == http.MethodHead:
		return EndpointAgentStat, name
	case n.isDirectory(name):
		return EndpointAgentIndex, name
	}
	return EndpointNodeAgent, name
}

// serveAgent implements the static file handler of Ray's node agent, which is aiohttp's.
func (n *Node) serveAgent(w http.ResponseWriter, r *http.Request) {
	h := n.head
	name, isLog := strings.CutPrefix(r.URL.Path, "/logs/")
	name = strings.TrimSuffix(name, "/")
	h.mu.Lock()
	endpoint, named := n.agentRequest(r, name)
	n.counts[endpoint]++
	h.mu.Unlock()
	w, ok := h.applyFault(w, r, endpoint, named)
	if !ok || !h.authorized(w, r) {
		return
	}
	if !isLog || r.Method != http.MethodGet && r.Method != http.MethodHead {
		text(w, http.StatusNotFound, "404: Not Found")
		return
	}
	h.mu.Lock()
	f := n.files[name]
	var served file
	if f != nil {
		served = *f // append-only: these bytes do not change
	}
	page := ""
	if f == nil && n.isDirectory(name) {
		page = n.index(name)
	}
	h.mu.Unlock()
	switch {
	case page != "":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(page)))
		_, _ = w.Write([]byte(page))
	case f == nil:
		if r.Method != http.MethodHead {
			w.Header().Set("Content-Type", "application/octet-stream")
		}
		w.WriteHeader(http.StatusNotFound)
	default:
		serveFile(w, r, served)
	}
}

// serveFile responds with a file, or a range of it, like aiohttp 3.14.
func serveFile(w http.ResponseWriter, r *http.Request, f file) {
	size, header := len(f.data), w.Header()
	header.Set("Content-Type", "application/octet-stream")
	from, to, hasRange := byteRange(r.Header.Get("Range"), size)
	etag := fmt.Sprintf(`"%x-%x"`, f.modified.UnixNano(), size)
	notModified := r.Header.Get("If-None-Match") == etag
	if hasRange && from >= size && !notModified {
		header.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	header.Set("ETag", etag)
	header.Set("Last-Modified", f.modified.Add(time.Second-1).UTC().Format(http.TimeFormat)) // rounded up
	if notModified {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Accept-Ranges", "bytes")
	header.Set("Content-Length", strconv.Itoa(to-from))
	if hasRange {
		header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, size))
		w.WriteHeader(http.StatusPartialContent)
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(f.data[from:to])
	}
}

// byteRange parses "bytes=N-" and "bytes=N-M", the forms that raytap sends. to is behind
// the last byte, and at most size.
func byteRange(header string, size int) (from, to int, ok bool) {
	first, last, ok := strings.Cut(strings.TrimPrefix(header, "bytes="), "-")
	if !ok {
		return 0, size, false
	}
	from, err := strconv.Atoi(first)
	if err != nil || from < 0 {
		return 0, size, false
	}
	if last == "" {
		return from, size, true
	}
	to, err = strconv.Atoi(last)
	if err != nil || to < from {
		return 0, size, false
	}
	return from, min(to+1, size), true
}

// index returns the page that lists a directory, as aiohttp 3.14 writes it.
func (n *Node) index(dir string) string {
	prefix, title := "", "."
	if dir != "" {
		prefix, title = dir+"/", dir
	}
	names := map[string]bool{}
	if dir == "" {
		names["old/"], names["events/"], names["export_events/"] = true, true, true
	}
	for file := range n.files {
		if rest, ok := strings.CutPrefix(file, prefix); ok {
			if below, _, isDir := strings.Cut(rest, "/"); isDir {
				rest = below + "/"
			}
			names[rest] = true
		}
	}
	var list []string
	for _, name := range slices.SortedFunc(maps.Keys(names), func(a, b string) int {
		return strings.Compare(strings.TrimSuffix(a, "/"), strings.TrimSuffix(b, "/"))
	}) {
		at := url.URL{Path: "/logs/" + prefix + strings.TrimSuffix(name, "/")}
		list = append(list, fmt.Sprintf(`<li><a href="%s">%s</a></li>`, at.EscapedPath(), html.EscapeString(name)))
	}
	heading := "Index of /" + html.EscapeString(title)
	return "<html>\n<head>\n<title>" + heading + "</title>\n</head>\n<body>\n<h1>" + heading + "</h1>\n<ul>\n" +
		strings.Join(list, "\n") + "\n</ul>\n</body>\n</html>"
}
