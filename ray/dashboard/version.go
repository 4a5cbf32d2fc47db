package dashboard

import (
	"context"
	"strings"

	"raytap/ray"
)

// Version asks which Ray this is and which session of its head. Ray before 2.40
// does not report the session there: it is then taken from the head's raylet
// socket in the node summary; where that request fails, so does Version, because
// a session that comes and goes would look like a head that restarts. For about
// 2 s after a start that list is empty (2.9.3 and 2.30.0): the Session is "",
// not known yet. Where a live head is listed whose socket names no session it
// is ray.UnknownSession.
func (c *Client) Version(ctx context.Context) (ray.Version, error) {
	var answer struct {
		Ray     string `json:"ray_version"`
		Commit  string `json:"ray_commit"`
		Session string `json:"session_name"`
	}
	const op = "get version"
	if err := c.t.GetJSON(ctx, op, "/api/version", "/api/version", nil, &answer); err != nil {
		return ray.Version{}, err
	}
	if answer.Ray == "" {
		return ray.Version{}, &ray.Error{Op: op, Code: 500, Status: 200, Detail: "the answer holds no ray_version: is " + c.t.URL().Host + " a Ray dashboard?"}
	}
	v := ray.Version{Ray: answer.Ray, Commit: answer.Commit, Session: answer.Session}
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

// lastVersion gives the last version told, or the zero value.
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
