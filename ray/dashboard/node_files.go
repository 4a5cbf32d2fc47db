package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"raytap/ray"
	"raytap/ray/transport"
)

const (
	opFileIndex       = "list log files of node agent"
	opFileStat        = "get log file of node agent"
	endpointFileIndex = "agent /logs/{directory}/"
	// maxFileName is the longest file name that is accepted, in bytes: file systems do
	// not have longer ones.
	maxFileName = 255
)

// AgentFileIndex lists the files of one directory of a node's logs: "" for the log
// directory itself, else a directory in it such as "old", "serve" or "events". The
// agent reads the whole directory for it: about 40 µs a file (2.60.0), 3.3 s for 50,000.
//
// At most 10 MiB are read, about 50,000 names; then FileIndex.Truncated is set. Names
// that cannot be those of a file (with a slash, "..", control characters) are omitted.
// Which agents may be queried, and the errors, are as with AgentLog; code 404: there is
// no such directory. Safe for concurrent use.
func (c *Client) AgentFileIndex(ctx context.Context, agentURL, dir string) (ray.FileIndex, error) {
	base := "/logs/"
	if dir != "" {
		path, err := filePath(opFileIndex, dir)
		if err != nil {
			return ray.FileIndex{}, err
		}
		base = path + "/"
	}
	agent, err := c.agentClient(ctx, agentURL)
	if err != nil {
		return ray.FileIndex{}, err
	}
	// aiohttp lists a directory under its name without a slash, too. The directory
	// itself needs one.
	path := strings.TrimSuffix(base, "/")
	if dir == "" {
		path = base
	}
	res, err := agent.Do(ctx, transport.Request{Op: opFileIndex, Endpoint: endpointFileIndex, Path: path, Stream: true, Header: plainHeader()})
	if err != nil {
		return ray.FileIndex{}, err
	}
	defer res.Body.Close()
	index, err := readFileIndex(res.Body, base)
	switch {
	case err != nil:
		return ray.FileIndex{}, err
	case index == nil:
		return ray.FileIndex{}, &ray.Error{Op: opFileIndex, Code: http.StatusInternalServerError, Status: res.StatusCode,
			Detail: "the response is not the index of a directory: check that the address is a Ray node agent"}
	}
	return *index, nil
}

// AgentFileStat returns the size, the ETag and the time of the last write of a file in
// a node's log directory, without reading it. name is relative to that directory
// ("old/worker-….out"). Which agents may be queried, and the errors, are as with
// AgentLog. Safe for concurrent use.
func (c *Client) AgentFileStat(ctx context.Context, agentURL, name string) (ray.FileStat, error) {
	path, err := filePath(opFileStat, name)
	if err != nil {
		return ray.FileStat{}, err
	}
	agent, err := c.agentClient(ctx, agentURL)
	if err != nil {
		return ray.FileStat{}, err
	}
	res, err := agent.Do(ctx, transport.Request{Op: opFileStat, Endpoint: endpointNodeAgent, Method: http.MethodHead, Path: path, Header: plainHeader()})
	if err != nil {
		return ray.FileStat{}, err
	}
	defer res.Body.Close()
	if res.ContentLength < 0 {
		return ray.FileStat{}, &ray.Error{Op: opFileStat, Code: http.StatusInternalServerError, Status: res.StatusCode,
			Detail: "the response does not state the size of the file: check that the address is a Ray node agent"}
	}
	return fileStat(res, res.ContentLength), nil
}

// AgentFile reads the bytes [from,to) of a file in a node's log directory; to the end
// of the file if to is 0. name is relative to that directory. The part may end before
// to, with the file. If the file is not longer than from, the part is empty and has the
// file's size only.
//
// Which agents may be queried, and the errors, are as with AgentLog. A long body has no
// deadline, but ends when no bytes arrive for the client's timeout. Safe for concurrent
// use.
func (c *Client) AgentFile(ctx context.Context, agentURL, name string, from, to int64) (ray.FilePart, error) {
	path, err := filePath(opNodeAgentLog, name)
	if err != nil {
		return ray.FilePart{}, err
	}
	span := fmt.Sprintf("bytes=%d-", from)
	if to != 0 {
		span += fmt.Sprint(to - 1)
	}
	if from < 0 || to != 0 && to <= from {
		return ray.FilePart{}, &ray.Error{Op: opNodeAgentLog, Code: http.StatusBadRequest, Detail: fmt.Sprintf("there are no bytes from %d to %d", from, to)}
	}
	agent, err := c.agentClient(ctx, agentURL)
	if err != nil {
		return ray.FilePart{}, err
	}
	header := plainHeader()
	header.Set("Range", span)
	res, err := agent.Do(ctx, transport.Request{
		Op: opNodeAgentLog, Endpoint: endpointNodeAgent, Path: path, Stream: true, Header: header,
		AllowStatus: []int{http.StatusRequestedRangeNotSatisfiable},
	})
	if err != nil {
		return ray.FilePart{}, err
	}
	if !strings.HasSuffix(name, ".html") {
		if err := rejectHTML(res, opNodeAgentLog); err != nil {
			return ray.FilePart{}, err
		}
	}
	part, ok := parseRange(res, from)
	if !ok {
		_ = res.Body.Close()
		return ray.FilePart{}, errNoRange(res)
	}
	return ray.FilePart{Body: part.Body, Offset: part.Offset, FileStat: fileStat(res, part.Size)}, nil
}

// plainHeader asks for the file itself: aiohttp would serve NAME.gz instead of NAME to
// a client that accepts it.
func plainHeader() http.Header { return http.Header{"Accept-Encoding": {"identity"}} }

// fileStat returns what a response states about its file.
func fileStat(res *http.Response, size int64) ray.FileStat {
	s := ray.FileStat{Size: size, ETag: res.Header.Get("ETag")}
	if at, err := http.ParseTime(res.Header.Get("Last-Modified")); err == nil {
		s.Modified = at.UTC()
	}
	return s
}

// filePath returns the escaped path of a file or a directory below /logs.
func filePath(op, name string) (string, error) {
	path := "/logs"
	for part := range strings.SplitSeq(name, "/") {
		if !isFileName(part) {
			return "", &ray.Error{Op: op, Code: http.StatusBadRequest, Detail: fmt.Sprintf("%.300q is not the name of a log file", name)}
		}
		path += "/" + url.PathEscape(part)
	}
	return path, nil
}

// isFileName reports whether a text can be the name of a file in a directory.
func isFileName(s string) bool {
	return s != "" && s != "." && s != ".." && len(s) <= maxFileName && utf8.ValidString(s) &&
		!strings.Contains(s, "/") && !strings.ContainsFunc(s, unicode.IsControl)
}
