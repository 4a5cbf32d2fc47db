package dashboard

import (
	"context"
	"strings"

	"raytap/ray"
)

// Version returns Ray's version and the head's session. Ray before 2.40 does not
// report the session there: it is then taken from the head's raylet socket in the
// node summary. If that request fails, so does Version, because a session that comes
// and goes would look like restarts of the head. For about 2 s after a start that
// list is empty (2.9.3 and 2.30.0): the Session is "", not known yet. If the socket
// of a live head has no session in its path, the Session is ray.UnknownSession.
func (c *Client) Version(ctx context.Context) (ray.Version, error) {
	var response struct {
		Ray     string `json:"ray_version"`
		Commit  string `json:"ray_commit"`
		Session string `json:"session_name"`
	}
	const op = "get version"
	if err := c.t.GetJSON(ctx, op, "/api/version", "/api/version", nil, &response); err != nil {
		return ray.Version{}, err
	}
	if response.Ray == "" {
		return ray.Version{}, &ray.Error{Op: op, Code: 500, Status: 200, Detail: "the response has no ray_version: check that " + c.t.URL().Host + " is a Ray dashboard"}
	}
	v := ray.Version{Ray: response.Ray, Commit: response.Commit, Session: response.Session}
	if v.Session == "" {
		summary, err := c.nodeSummary(ctx, op)
		if err != nil {
			return ray.Version{}, err
		}
		v.Session = summary.session()
	}
	c.mu.Lock()
	c.version = v
	c.mu.Unlock()
	return v, nil
}

// lastVersion returns the version of the last response, or the zero value.
func (c *Client) lastVersion() ray.Version {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// session finds the session in the socket path of the live head
// (/tmp/ray/session_…/sockets/raylet). It returns "" while no live head is
// listed, and ray.UnknownSession for a socket of another form.
func (s nodeSummary) session() string {
	session := ""
	for _, row := range s.rows {
		if !row.Raylet.Head || ray.NodeState(row.Raylet.State) != ray.NodeAlive || row.Raylet.Socket == "" {
			continue
		}
		for part := range strings.SplitSeq(row.Raylet.Socket, "/") {
			if strings.HasPrefix(part, "session_") && part != "session_latest" {
				return part
			}
		}
		session = ray.UnknownSession
	}
	return session
}
