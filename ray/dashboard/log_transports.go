package dashboard

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"raytap/ray"
)

// LogTransports tells which ways to read logs this Ray has, by the version of the last
// answer of Version; all of them while there was none.
//
// A tail sleeps in the job agent's event loop from Ray 2.11.0 to 2.37.0 (read in
// the published packages of these, of 2.10.0 and of 2.38.0).
func (c *Client) LogTransports() ray.LogTransports {
	v := c.lastVersion()
	if v.Ray == "" {
		return ray.LogTransports{}
	}
	r := parseRelease(v.Ray)
	return ray.LogTransports{Ray: v.Ray, NoFile: r.before(firstLogFile.major, firstLogFile.minor), TailsBlock: !r.before(2, 11) && r.before(2, 38)}
}

// firstLogFile is the first Ray that gives log files unchanged.
var firstLogFile = releaseNumber{major: 2, minor: 40}

// LogText gives a job's whole log as the Jobs API gives it: as text, with \n where
// the log has \r or \r\n. It holds all of it in memory, as an answer that MaxBody
// bounds, and costs Ray's processes more memory than the log is long.
//
// Errors: ray.ErrNotText and ray.ErrTooLarge are in the chain where the log can
// never be given so; code 404: Ray does not know the job. A log that is not there
// is empty (2.9.3 to 2.60.0).
func (c *Client) LogText(ctx context.Context, ref ray.LogRef) (io.ReadCloser, error) {
	text, err := c.jobLogsText(ctx, ref.SubmissionID)
	if err != nil {
		return nil, notText(err)
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

// notText marks the error by which Ray says that it could not decode a log: the
// last line of a traceback of Python's.
func notText(err error) error {
	var e *ray.Error
	if errors.As(err, &e) && e.Status == http.StatusInternalServerError && e.Err == nil && strings.Contains(e.Detail, "UnicodeDecodeError") {
		e.Err, e.Detail = ray.ErrNotText, "the log is not UTF-8, and this Ray gives it as text alone: its node's agent gives it unchanged"
	}
	return err
}
