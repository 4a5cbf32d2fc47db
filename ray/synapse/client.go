// Package synapse is a Ray cluster as a Synapse agent tells it: an HTTP service in
// front of one cluster, with the same operations as ray/dashboard and other
// shapes. One file per resource, the domain types of package ray out.
//
// The agent's server is not published. What its answers look like is known from
// its published client (synapse-sdk 2026.2.17) and decoded tolerantly: a list
// may be bare or wrapped, times may be numbers or text, unknown fields and
// unknown values of enums are kept or ignored, and a row that cannot be decoded
// is left out and counted.
//
//	t, err := synapse.NewTransport(transport.Options{URL: "https://agent.example", Token: transport.FileToken(path)}, synapse.Credentials{})
//	…
//	c, err := synapse.New(t, synapse.Options{})
//	for line, err := range c.Tail(ctx, "train-7", ray.DefaultTailOptions()) { … }
package synapse

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/ray"
	"raytap/ray/internal/partial"
	"raytap/ray/internal/pyjson"
	"raytap/ray/transport"
)

// absentTTL is how long an endpoint that answered 404 is not asked again: an
// older agent does not have it, and may be replaced by a newer one.
const absentTTL = 10 * time.Minute

// Credentials are what an agent may be told beside its own token, which is
// transport.Options.Token. A nil source sends nothing.
type Credentials struct {
	User   transport.TokenSource // SYNAPSE-User: Token …
	Tenant transport.TokenSource // SYNAPSE-Tenant: Token …
}

// Options are what a Client needs beside its transport. The zero value works.
type Options struct {
	// Log gets what an answer lacked, each kind at most once a minute; nil is nobody.
	Log logrus.FieldLogger
}

// Client asks one agent. It is safe for concurrent use.
//
// It sends each request once: whoever watches a cluster asks again by himself.
type Client struct {
	t       *transport.Client
	partial partial.Reporter // what answers lacked
	tailState

	mu     sync.Mutex
	absent map[string]time.Time // endpoint -> when it answered 404
}

// NewTransport builds the transport that an agent wants: the raw token in
// Authorization, and the credentials' headers.
func NewTransport(o transport.Options, c Credentials) (*transport.Client, error) {
	o.Scheme, o.Service = "", "Synapse agent"
	o.TokenHeaders = map[string]transport.TokenSource{}
	for name, source := range map[string]transport.TokenSource{"Synapse-User": c.User, "Synapse-Tenant": c.Tenant} {
		if source != nil {
			o.TokenHeaders[name] = prefixedToken{source}
		}
	}
	return transport.New(o)
}

// prefixedToken puts the word before a token that its header wants.
type prefixedToken struct{ source transport.TokenSource }

func (w prefixedToken) Token() (string, error) {
	token, err := w.source.Token()
	if err != nil || token == "" {
		return "", err
	}
	return "Token " + token, nil
}

// New builds a client on a transport of NewTransport; it does not connect.
func New(t *transport.Client, o Options) (*Client, error) {
	if t == nil {
		return nil, errors.New("an agent client needs a transport")
	}
	return &Client{t: t, partial: partial.Reporter{Logger: o.Log}, absent: map[string]time.Time{}}, nil
}

// ClockAhead returns how far the agent's clock is ahead of this machine's, by the Date
// of its answers; 0 where it is not known.
func (c *Client) ClockAhead() time.Duration { return c.t.ClockAhead() }

// Close closes idle connections.
func (c *Client) Close() { c.t.Close() }

// SkippedRows counts the rows of lists that were left out since the client was
// made, because they could not be decoded.
func (c *Client) SkippedRows() uint64 { return c.partial.TotalRows() }

// SkippedFields counts the fields of answers that were omitted since the client was
// made, because they were of another type than expected, or cut because they were
// too long for anything that is made of them.
func (c *Client) SkippedFields() uint64 { return c.partial.TotalFields() }

// get asks for JSON that is an object or a list; one that is an error's, which has
// nothing but its detail, is none.
func (c *Client) get(ctx context.Context, op, endpoint, path string, query url.Values) (json.RawMessage, error) {
	var raw json.RawMessage
	err := c.t.Get(ctx, op, endpoint, path, query, func(d *pyjson.Decoder) error {
		k, err := d.Kind()
		if err != nil {
			return err
		}
		if k != pyjson.Object && k != pyjson.Array {
			return d.Wrong("an object")
		}
		if raw, err = d.Raw(); err == nil && isErrorBody(raw) {
			err = &pyjson.ShapeError{Want: "an answer", Got: "an error"}
		}
		return err
	})
	return raw, err
}

// isErrorBody recognises the answer of a server that says no with status 200.
func isErrorBody(raw json.RawMessage) bool {
	var object map[string]json.RawMessage
	return firstByte(raw) == '{' && json.Unmarshal(raw, &object) == nil && len(object) == 1 && object["detail"] != nil
}

// getOptional is get for an endpoint that older agents do not have: their 404 is
// code 501, and remembered.
func (c *Client) getOptional(ctx context.Context, op, endpoint, path string, query url.Values) (json.RawMessage, error) {
	absent := func() error {
		return &ray.Error{Op: op, Code: http.StatusNotImplemented, Status: http.StatusNotFound, Detail: "this agent is too old to tell it"}
	}
	c.mu.Lock()
	since, known := c.absent[endpoint]
	c.mu.Unlock()
	if known && time.Since(since) < absentTTL {
		return nil, absent()
	}
	raw, err := c.get(ctx, op, endpoint, path, query)
	missing := ray.Code(err) == http.StatusNotFound
	c.mu.Lock()
	if missing {
		c.absent[endpoint] = time.Now()
	} else if err == nil {
		delete(c.absent, endpoint)
	}
	c.mu.Unlock()
	if missing {
		return nil, absent()
	}
	return raw, err
}

// getList asks for a list of resources, which may lie under its own name or one of
// also, and gives what take makes of its rows; those that it refuses, and those
// whose id came before, are skipped and counted. found has all rows.
func getList[R, T any](ctx context.Context, c *Client, op, resource string, id func(T) string, take func(name string, row R) (T, bool), also ...string) (all []T, found *list[R, T], err error) {
	seen := map[string]bool{}
	distinct := func(name string, row R) (T, bool) {
		one, ok := take(name, row)
		if key := ""; ok {
			key = id(one)
			ok, seen[key] = !seen[key], true
		}
		return one, ok
	}
	found = &list[R, T]{resource: append([]string{resource}, also...), take: distinct}
	request := transport.Request{Op: op, Endpoint: resource + "/", Path: "/" + resource + "/"}
	if resource == "jobs" {
		request.MaxBody = maxJobList
	}
	err = c.t.Call(ctx, request, func(d *pyjson.Decoder) error {
		k, err := d.Kind()
		if err != nil {
			return err
		}
		ok, err := found.find(d, false, 4)
		if err == nil && !ok {
			err = &pyjson.ShapeError{Want: "a list", Got: k.String()}
		}
		if err == nil {
			c.count(strings.ReplaceAll(resource, "_", " "), d.Lost)
		}
		return err
	})
	if err != nil {
		return nil, found, err
	}
	if found.items == nil {
		found.items = []T{}
	}
	return found.items, found, nil
}

// maxJobList bounds the job list, which is read row by row, in bytes.
const maxJobList = 1 << 30

// count notes what an answer lacked.
func (c *Client) count(what string, lost pyjson.Lost) {
	c.partial.AddRows(what, lost.Rows)
	c.partial.AddFields(what, lost.Fields+lost.Cut)
}

// send does what changes something, once, and ignores the answer's body.
func (c *Client) send(ctx context.Context, op, method, endpoint, path string) error {
	r := transport.Request{Op: op, Endpoint: endpoint, Method: method, Path: path}
	if method == http.MethodPost {
		r.Body = []byte{} // with a content type, as the agent knows it
	}
	res, err := c.t.Do(ctx, r)
	if err != nil {
		return err
	}
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10)
	return res.Body.Close()
}

// itemPath gives the path of one thing in a list. "." and ".." vanish from a
// path however they are escaped, and "" would ask for the list.
func itemPath(op, list, id, rest string) (string, error) {
	switch id {
	case "", ".", "..":
		return "", &ray.Error{Op: op, Code: http.StatusBadRequest, Detail: `the id "` + id + `" cannot be asked for`}
	}
	return "/" + list + "/" + url.PathEscape(id) + "/" + rest, nil
}

func badResponse(op, detail string) error {
	return &ray.Error{Op: op, Code: http.StatusInternalServerError, Status: http.StatusOK, Detail: detail}
}
