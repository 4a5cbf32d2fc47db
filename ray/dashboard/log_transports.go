package dashboard

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"raytap/ray"
)

// LogTransports returns the transports that this Ray supports for logs, by the result
// of the last call of Version; all of them before the first.
//
// From Ray 2.11.0 to 2.37.0 a tail sleeps in the job agent's event loop (read in the
// published packages of these, of 2.10.0 and of 2.38.0).
func (c *Client) LogTransports() ray.LogTransports {
	v := c.lastVersion()
	if v.Ray == "" {
		return ray.LogTransports{}
	}
	r := parseRelease(v.Ray)
	return ray.LogTransports{Ray: v.Ray, NoFile: r.before(firstLogFile.major, firstLogFile.minor), TailsBlock: !r.before(2, 11) && r.before(2, 38)}
}

// firstLogFile is the first Ray that serves log files unchanged.
var firstLogFile = releaseNumber{major: 2, minor: 40}

// LogText returns a job's whole log from the Jobs API: as text, with \n where the
// log has \r or \r\n. The whole log is held in memory, limited by MaxBody, and costs
// Ray's processes more memory than it is long.
//
// Errors: ray.ErrNotText or ray.ErrTooLarge is in the chain if the log can never be
// returned as text; code 404: Ray does not know the job. A log that does not exist is
// empty (2.9.3 to 2.60.0).
func (c *Client) LogText(ctx context.Context, ref ray.LogRef) (io.ReadCloser, error) {
	text, err := c.jobLogsText(ctx, ref.SubmissionID)
	if err != nil {
		return nil, notText(err)
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

// notText marks Ray's error for a log that it could not decode: the last line of a
// Python traceback.
func notText(err error) error {
	var e *ray.Error
	if errors.As(err, &e) && e.Status == http.StatusInternalServerError && e.Err == nil && strings.Contains(e.Detail, "UnicodeDecodeError") {
		e.Err, e.Detail = ray.ErrNotText, "the log is not UTF-8, and this Ray serves it only as text: allow the node agent, which serves it unchanged"
	}
	return err
}
