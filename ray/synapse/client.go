// Package synapse is a client of the Synapse agent API: an HTTP service in front of
// one Ray cluster, with the same operations as ray/dashboard but other response
// shapes. One file per resource; methods return the domain types of package ray.
//
// The agent's server is not published. Its responses are known from its published
// client (synapse-sdk 2026.2.17) and decoded tolerantly: a list may be bare or
// wrapped, times may be numbers or text, unknown fields and unknown values of enums
// are kept or ignored, and a row that cannot be decoded is skipped and counted.
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

// absentTTL is how long an endpoint that returned 404 is not queried again: an older
// agent does not have it, but may be replaced by a newer one.
const absentTTL = 10 * time.Minute

// Credentials are tokens that an agent may need in addition to its own, which is
// transport.Options.Token. A nil source sends no header.
type Credentials struct {
	User   transport.TokenSource // SYNAPSE-User: Token …
	Tenant transport.TokenSource // SYNAPSE-Tenant: Token …
}

// Options configure a Client. The zero value is valid.
type Options struct {
	// Log receives warnings about incomplete responses, each kind at most once a
	// minute; nil disables them.
	Log logrus.FieldLogger
}

// Client is a client of one agent. It is safe for concurrent use.
//
// It sends each request once, without retries: callers that watch a cluster poll anyway.
type Client struct {
	t       *transport.Client
	partial partial.Reporter // skipped rows and fields
	tailState

	mu     sync.Mutex
	absent map[string]time.Time // endpoint -> when it returned 404
}

// NewTransport builds a transport for an agent: it sends the raw token in
// Authorization, and the headers of the credentials.
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

// prefixedToken is a token with the prefix "Token ", which its header needs.
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
		return nil, errors.New("a Synapse client needs a transport")
	}
	return &Client{t: t, partial: partial.Reporter{Logger: o.Log}, absent: map[string]time.Time{}}, nil
}

// ClockAhead returns how far the agent's clock is ahead of this machine's, from the
// Date of its responses; 0 if unknown.
func (c *Client) ClockAhead() time.Duration { return c.t.ClockAhead() }

// Close closes idle connections.
func (c *Client) Close() { c.t.Close() }

// SkippedRows returns the number of list rows skipped since the client was created,
// because they could not be decoded.
func (c *Client) SkippedRows() uint64 { return c.partial.TotalRows() }

// SkippedFields returns the number of fields since the client was created that were
// omitted because of an unexpected type, or truncated because of their length.
func (c *Client) SkippedFields() uint64 { return c.partial.TotalFields() }

// get returns the JSON object or list of a response; an error body, which has only
// detail, is an error.
func (c *Client) get(ctx context.Context, op, endpoint, path string, query url.Values) (json.RawMessage, error) {
	var raw json.RawMessage
	err := c.t.Get(ctx, op, endpoint, path, query, func(d *pyjson.Decoder) error {
		k, err := d.Kind()
		if err != nil {
			return err
		}
		if k != pyjson.Object && k != pyjson.Array {
			return d.Mismatch("an object")
		}
		if raw, err = d.Raw(); err == nil && isErrorBody(raw) {
			err = &pyjson.ShapeError{Want: "a result", Got: "an error"}
		}
		return err
	})
	return raw, err
}

// isErrorBody reports whether a response of status 200 is an error.
func isErrorBody(raw json.RawMessage) bool {
	var object map[string]json.RawMessage
	return firstByte(raw) == '{' && json.Unmarshal(raw, &object) == nil && len(object) == 1 && object["detail"] != nil
}

// getOptional is get for an endpoint that older agents do not have: their 404 becomes
// code 501, and is cached.
func (c *Client) getOptional(ctx context.Context, op, endpoint, path string, query url.Values) (json.RawMessage, error) {
	absent := func() error {
		return &ray.Error{Op: op, Code: http.StatusNotImplemented, Status: http.StatusNotFound, Detail: "this agent is too old to report it"}
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

// getList returns a list of resources, which may be under its own name or one of also,
// converted by take. Rows that take rejects, and duplicates by id, are skipped and
// counted. found has all rows.
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
			c.count(strings.ReplaceAll(resource, "_", " "), d.Skipped)
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

// maxJobList limits the job list, which is read row by row, in bytes.
const maxJobList = 1 << 30

// count records the rows and fields that a response lacked.
func (c *Client) count(what string, lost pyjson.Skipped) {
	c.partial.AddRows(what, lost.Rows)
	c.partial.AddFields(what, lost.Fields+lost.Truncated)
}

// send sends a request that changes something, once, and ignores the response body.
func (c *Client) send(ctx context.Context, op, method, endpoint, path string) error {
	r := transport.Request{Op: op, Endpoint: endpoint, Method: method, Path: path}
	if method == http.MethodPost {
		r.Body = []byte{} // sends a content type, as the published client does
	}
	res, err := c.t.Do(ctx, r)
	if err != nil {
		return err
	}
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10)
	return res.Body.Close()
}

// itemPath returns the path of one item of a list. "." and ".." disappear from a path
// even when escaped, and "" would be the path of the list.
func itemPath(op, list, id, rest string) (string, error) {
	switch id {
	case "", ".", "..":
		return "", &ray.Error{Op: op, Code: http.StatusBadRequest, Detail: `the id "` + id + `" cannot be used in a request`}
	}
	return "/" + list + "/" + url.PathEscape(id) + "/" + rest, nil
}

func badResponse(op, detail string) error {
	return &ray.Error{Op: op, Code: http.StatusInternalServerError, Status: http.StatusOK, Detail: detail}
}
