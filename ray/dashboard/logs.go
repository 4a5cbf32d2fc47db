package dashboard

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"raytap/ray"
)

const (
	opLines       = "read log file"
	endpointLines = "/api/v0/logs/file"
)

// Seconds that Ray may take to read a log from its node. They include the time
// until the last byte is read, so a slow reader needs many (2.60.0: a deadline on
// the call to the node agent).
const (
	windowSeconds = "30"
	wholeSeconds  = "600"
)

// LogLines reads the last n lines of a job's log as raw bytes, counting \n only;
// the whole log if n <= 0. It ends with io.EOF at the end that the file had at the
// time of the request, and with another error if the response was cut short.
//
// If the node is known, the request names the file: that also works for jobs that
// are deleted or PENDING, and for every id that has a log at all. Otherwise it names
// the submission id (Ray then requires a node as well, and ignores it).
//
// Code 404: no such file or no such submission. Code 501: before 2.40 Ray puts a
// byte of its own before each chunk, which cannot be removed again.
func (c *Client) LogLines(ctx context.Context, ref ray.LogRef, n int) (io.ReadCloser, error) {
	q := url.Values{"node_id": {ref.NodeID}, "filename": {logFile(ref.SubmissionID)}}
	if ref.NodeID == "" {
		q = url.Values{"node_id": {"unknown"}, "submission_id": {ref.SubmissionID}}
	}
	return c.fileLines(ctx, q, n)
}

// logFile is the name of a submission's log in its node's log directory.
func logFile(submissionID string) string { return ray.LogRef{SubmissionID: submissionID}.FileName() }

// noFileMessages are Ray's messages for a log that does not exist; the first two
// are the same in 2.40.0 and 2.60.0, the third was seen on 2.60.0 for a job that
// never had a node.
var noFileMessages = []string{
	"A file is not found at:",
	"Could not find a log file.",
	"has no driver node id info.",
}

func isNoFileMessage(text string) bool {
	for _, message := range noFileMessages {
		if strings.Contains(text, message) {
			return true
		}
	}
	return false
}

// asNotFound turns Ray's 500 for a missing log into a 404.
func asNotFound(err error) error {
	var e *ray.Error
	if errors.As(err, &e) && e.Status == http.StatusInternalServerError && isNoFileMessage(e.Detail) {
		e.Code = http.StatusNotFound
	}
	return err
}

// rejectHTML returns an error, and closes the response, if it is an HTML page such as
// a proxy's login.
func rejectHTML(res *http.Response, op string) error {
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		return nil
	}
	_ = res.Body.Close()
	return &ray.Error{Op: op, Code: http.StatusInternalServerError, Status: res.StatusCode,
		Detail: "the response is an HTML page, not a log: check whether a proxy requires a login"}
}

// releaseNumber is a comparable Ray version.
type releaseNumber struct {
	major, minor int
	text         string
}

func (r releaseNumber) before(major, minor int) bool {
	return r.major < major || (r.major == major && r.minor < minor)
}

// release returns Ray's version from the last response, and queries it if there was
// none. A head is upgraded by a restart, after which all callers that watch the
// session query the version again.
func (c *Client) release(ctx context.Context) (releaseNumber, error) {
	v := c.lastVersion()
	if v.Ray == "" {
		var err error
		if v, err = c.Version(ctx); err != nil {
			return releaseNumber{}, err
		}
	}
	return parseRelease(v.Ray), nil
}

// parseRelease parses "2.60.0"; an unreadable version counts as newer than all others.
func parseRelease(s string) releaseNumber {
	major, rest, _ := strings.Cut(s, ".")
	minor, _, _ := strings.Cut(rest, ".")
	m, err1 := strconv.Atoi(major)
	n, err2 := strconv.Atoi(minor)
	if err1 != nil || err2 != nil {
		return releaseNumber{major: 1 << 16, text: s}
	}
	return releaseNumber{m, n, s}
}
