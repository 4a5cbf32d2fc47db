package dashboard

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"raytap/ray"
	"raytap/ray/internal/pyjson"
	"raytap/ray/transport"
)

// This file reads log files of nodes by way of the head, for one-shot commands whose
// node agents cannot be used. It costs the head three lines of its own log a request
// and one of the 100 slots of the State API (2.60.0); there are no offsets, and rotation
// cannot be seen. /api/v0/logs/stream is never used: it keeps its slot indefinitely.

// headFileRate is the maximum number of such requests in a second.
const headFileRate = 5

// HeadFileNames lists the names of the files of a node that match a pattern of Ray's
// (Python's Path.glob: "*", "old/*"), relative to the log directory, by way of the head.
// Names that cannot be those of files are omitted. An unreachable node is an error of
// code 500. At most 5 such requests a second are sent. Safe for concurrent use.
func (c *Client) HeadFileNames(ctx context.Context, nodeID, pattern string) ([]string, error) {
	const op = "list log files by way of the head"
	if err := c.headFiles.Wait(ctx); err != nil {
		return nil, &ray.Error{Op: op, Code: http.StatusRequestTimeout, Detail: "too many such requests are waiting", Err: err}
	}
	names := []string{}
	request := transport.Request{Op: op, Endpoint: "/api/v0/logs", Path: "/api/v0/logs",
		Query: url.Values{"node_id": {nodeID}, "glob": {pattern}, "timeout": {windowSeconds}}}
	err := c.call(ctx, "log files", request, func(d *pyjson.Decoder) error {
		return c.envelope(op, d, within("result", func(d *pyjson.Decoder) error {
			return d.Object(func([]byte) error { // the kind of file
				_, err := eachRow(d, func(name string) bool {
					_, err := filePath(op, strings.TrimSuffix(name, "/"))
					if err == nil && !strings.HasSuffix(name, "/") { // with one: a directory
						names = append(names, name)
					}
					return err == nil
				})
				return err
			})
		}))
	})
	if err != nil {
		return nil, err
	}
	return names, nil
}

// HeadFile reads a file of a node's log directory by way of the head: its last lines, or
// all of it if lines <= 0, as raw bytes. Versions and errors are those of LogLines. At
// most 5 such requests a second are sent. Safe for concurrent use.
func (c *Client) HeadFile(ctx context.Context, nodeID, name string, lines int) (io.ReadCloser, error) {
	if _, err := filePath(opLines, name); err != nil {
		return nil, err
	}
	if err := c.headFiles.Wait(ctx); err != nil {
		return nil, &ray.Error{Op: opLines, Code: http.StatusRequestTimeout, Detail: "too many such requests are waiting", Err: err}
	}
	return c.fileLines(ctx, url.Values{"node_id": {nodeID}, "filename": {name}}, lines)
}

// fileLines requests the last lines of a file that q selects, all if n <= 0.
func (c *Client) fileLines(ctx context.Context, q url.Values, n int) (io.ReadCloser, error) {
	release, err := c.release(ctx)
	if err != nil {
		return nil, err
	}
	if release.before(firstLogFile.major, firstLogFile.minor) {
		return nil, &ray.Error{Op: opLines, Code: http.StatusNotImplemented,
			Detail: "Ray " + release.text + " does not serve log files unchanged: use 2.40 or later"}
	}
	q.Set("format", "text")
	q.Set("lines", "-1")
	q.Set("timeout", wholeSeconds)
	if n > 0 {
		q.Set("lines", strconv.Itoa(n))
		q.Set("timeout", windowSeconds)
	}
	res, err := c.t.Do(ctx, transport.Request{Op: opLines, Endpoint: endpointLines, Path: endpointLines, Query: q, Stream: true})
	if err != nil {
		return nil, asNotFound(err)
	}
	if err := rejectHTML(res, opLines); err != nil {
		return nil, err
	}
	if release.before(2, 60) {
		return &inBandErrorReader{body: res.Body, detail: c.t.Detail}, nil
	}
	return res.Body, nil
}
