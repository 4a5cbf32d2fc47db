// Package transport is the one way by which raytap speaks HTTP: headers, token,
// TLS, proxy, timeouts, bounded bodies, bounded concurrency, and errors that an
// operator can act on. It knows nothing of what is asked.
package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"raytap/ray"
)

// Client sends requests to one server. It is safe for concurrent use, and
// printing it shows no secret.
type Client struct {
	base    *url.URL
	http    *http.Client
	wire    *http.Transport
	direct  *http.Transport // for addresses given to WithBaseURL
	auth    *auth
	timeout time.Duration
	maxBody int64
	large   *semaphore.Weighted // nil: no bound
	service string
	observe func(endpoint string, code int, took time.Duration)
	clock   *clock
	calls   chan struct{} // one element a call in progress
	streams chan struct{} // one element an open stream
}

// auth is what a request carries. The headers lie behind a function and the
// whole behind a pointer, so that a dump of a Client shows addresses.
type auth struct {
	token  TokenSource // nil for none
	scheme string
	tokens map[string]TokenSource // by canonical header
	header func() http.Header     // gives a copy
}

// New checks the options and builds a client; it does not connect.
func New(o Options) (*Client, error) {
	base, err := parseBase(o.URL)
	if err != nil {
		return nil, err
	}
	header, err := checkHeaders(o)
	if err != nil {
		return nil, err
	}
	proxy, err := proxyFunc(o.ProxyURL)
	if err != nil {
		return nil, err
	}
	if o.Timeout < 0 || o.MaxConcurrent < 0 || o.MaxBody < 0 {
		return nil, errors.New("timeout, concurrency and body size must not be negative")
	}
	tokens := make(map[string]TokenSource, len(o.TokenHeaders))
	for name, source := range o.TokenHeaders {
		tokens[http.CanonicalHeaderKey(name)] = source
	}
	slots := orDefault(o.MaxConcurrent, DefaultMaxConcurrent)
	c := &Client{
		base:    base,
		wire:    newWire(o.TLS, proxy, 2*slots),
		direct:  newWire(nil, nil, 2),
		auth:    &auth{token: o.Token, scheme: o.Scheme, tokens: tokens, header: header.Clone},
		timeout: orDefault(o.Timeout, DefaultTimeout),
		maxBody: orDefault(o.MaxBody, DefaultMaxBody),
		large:   o.ResponseMemory,
		service: orDefault(o.Service, defaultService),
		observe: o.Observe,
		clock:   &clock{},
		calls:   make(chan struct{}, slots),
		streams: make(chan struct{}, slots),
	}
	c.http = &http.Client{Transport: c.wire, CheckRedirect: checkRedirect}
	return c, nil
}

func newWire(conf *tls.Config, proxy func(*http.Request) (*url.URL, error), idle int) *http.Transport {
	if conf != nil {
		conf = conf.Clone()
	} else {
		conf = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	// Ray speaks HTTP/1.1 only, and a WebSocket needs it: HTTP/2 must not be
	// negotiated with an ingress that offers it.
	conf.NextProtos = []string{"http/1.1"}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:               proxy,
		DialContext:         (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     conf,
		Protocols:           protocols,
		DisableCompression:  true,
		MaxIdleConnsPerHost: idle,
		// Ray's server closes idle connections after 75 s; closing first
		// avoids requests that run into it.
		IdleConnTimeout:        60 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
	}
}

func orDefault[T int | int64 | time.Duration | string](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// WithBaseURL returns a client of another address (a node's agent) with the same timeouts
// and bounds and with slots of its own. It connects directly, never through a
// proxy, and follows no redirect. Only a trusted address gets the token and the
// configured headers; another gets the User-Agent alone. Connections are shared
// with all other clients made by WithBaseURL.
func (c *Client) WithBaseURL(base string, trusted bool) (*Client, error) {
	u, err := parseBase(base)
	if err != nil {
		return nil, err
	}
	other := *c
	other.base, other.wire, other.service = u, c.direct, nodeAgent
	other.http = &http.Client{Transport: c.direct, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	other.clock = &clock{}
	other.calls = make(chan struct{}, cap(c.calls))
	other.streams = make(chan struct{}, cap(c.streams))
	if !trusted {
		other.auth = &auth{header: http.Header{"User-Agent": c.auth.header()["User-Agent"]}.Clone}
	}
	return &other, nil
}

// URL gives a copy of the base URL, without a trailing slash.
func (c *Client) URL() *url.URL { u := *c.base; return &u }

// Timeout gives the timeout of a whole call.
func (c *Client) Timeout() time.Duration { return c.timeout }

// TLS gives a copy of the TLS configuration, for a WebSocket dialer.
func (c *Client) TLS() *tls.Config { return c.wire.TLSClientConfig.Clone() }

// Proxy gives the function that chooses a request's proxy, for a WebSocket dialer.
func (c *Client) Proxy() func(*http.Request) (*url.URL, error) { return c.wire.Proxy }

// HasToken reports whether requests carry a token now. An unreadable token
// file counts as one: it will be there again.
func (c *Client) HasToken() bool {
	if c.auth.header().Get("Authorization") != "" {
		return true
	}
	if c.auth.token == nil {
		return false
	}
	token, err := c.auth.token.Token()
	return err != nil || token != ""
}

// Header gives the headers that every request carries: Authorization,
// User-Agent and the configured ones. The error is that of a token source.
func (c *Client) Header() (http.Header, error) {
	h := c.auth.header()
	set := func(name, prefix string, source TokenSource) error {
		token, err := source.Token()
		if err == nil && !headerValue(token) {
			err = errors.New("the token holds a line break or a control character: is it the right file?")
		}
		if err == nil && token != "" {
			h.Set(name, prefix+token)
		}
		return err
	}
	if c.auth.token != nil {
		if err := set("Authorization", c.auth.scheme, c.auth.token); err != nil {
			return nil, err
		}
	}
	for name, source := range c.auth.tokens {
		if err := set(name, "", source); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Close closes the idle connections, also those of clients made by WithBaseURL. Calls in
// progress go on.
func (c *Client) Close() {
	c.wire.CloseIdleConnections()
	c.direct.CloseIdleConnections()
}

// String names the server.
func (c Client) String() string { return "transport.Client{" + c.base.String() + "}" }

// Format keeps every fmt verb from printing a secret.
func (c Client) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// resolve joins the base URL, an escaped path and a query.
func (c *Client) resolve(path string, query url.Values) (*url.URL, error) {
	u, err := url.Parse(c.base.String() + path)
	if err != nil || !strings.HasPrefix(path, "/") {
		return nil, errors.New("the path of the request cannot be parsed")
	}
	u.RawQuery = query.Encode()
	return u, nil
}

// checkRedirect follows a GET within its host only: a token must not travel to
// another one, and a POST must not turn into a GET.
func checkRedirect(next *http.Request, via []*http.Request) error {
	first := via[0]
	if first.Method != http.MethodGet || len(via) > 5 ||
		next.URL.Scheme != first.URL.Scheme || next.URL.Host != first.URL.Host {
		return http.ErrUseLastResponse
	}
	return nil
}

// observed reports a call that ended to Observe.
func (c *Client) observed(ctx context.Context, endpoint string, status int, err error, began time.Time) {
	if c.observe == nil || errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	var e *ray.Error
	if errors.As(err, &e) {
		if status = e.Status; status == 0 || status < 400 {
			status = e.Code
		}
	}
	c.observe(endpoint, status, time.Since(began))
}
