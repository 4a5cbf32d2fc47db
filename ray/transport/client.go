// Package transport sends all HTTP requests of raytap: headers, token, TLS, proxy,
// timeouts, bounded bodies, bounded concurrency, and errors that an operator can act
// on. It is independent of the API.
package transport

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/sync/semaphore"

	"raytap/ray"
)

// Client sends requests to one server. It is safe for concurrent use, and
// printing it shows no secret.
type Client struct {
	base            *url.URL
	http            *http.Client
	transport       *http.Transport
	directTransport *http.Transport // for addresses given to WithBaseURL
	dialer          dialer          // of transport
	auth            *auth
	timeout         time.Duration
	maxBody         int64
	responseMemory  *semaphore.Weighted // nil: no bound
	service         string
	observe         func(endpoint string, code int, took time.Duration)
	clock           *clock
	calls           chan struct{} // one element for each call in progress
	streams         chan struct{} // one element for each open stream
}

// auth holds the headers of a request. It is used through a pointer, and the headers
// through a function, so that a dump of a Client shows addresses.
type auth struct {
	token  TokenSource // nil for none
	scheme string
	tokens map[string]TokenSource // by canonical header
	// observer is token, if it is one and the server is that of Options.URL; else nil.
	observer TokenObserver
	header   func() http.Header // returns a copy
}

// New returns a client, or an error if an option is invalid. It does not connect.
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
	slots := cmp.Or(o.MaxConcurrent, DefaultMaxConcurrent)
	if o.Address != nil {
		proxy = nil
	}
	to := dialer{address: o.Address}
	observer, _ := o.Token.(TokenObserver)
	c := &Client{
		base:            base,
		transport:       newHTTPTransport(o.TLS, proxy, to, 2*slots),
		directTransport: newHTTPTransport(nil, nil, dialer{allows: o.Agents}, 2),
		dialer:          to,
		auth:            &auth{token: o.Token, scheme: o.Scheme, tokens: tokens, observer: observer, header: header.Clone},
		timeout:         cmp.Or(o.Timeout, DefaultTimeout),
		maxBody:         cmp.Or(o.MaxBody, DefaultMaxBody),
		responseMemory:  o.ResponseMemory,
		service:         cmp.Or(o.Service, defaultService),
		observe:         o.Observe,
		clock:           &clock{},
		calls:           make(chan struct{}, slots),
		streams:         make(chan struct{}, slots),
	}
	c.http = &http.Client{Transport: c.transport, CheckRedirect: checkRedirect}
	return c, nil
}

func newHTTPTransport(conf *tls.Config, proxy func(*http.Request) (*url.URL, error), to dialer, idle int) *http.Transport {
	if conf != nil {
		conf = conf.Clone()
	} else {
		conf = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	// Ray supports HTTP/1.1 only, and WebSockets need it: do not negotiate HTTP/2 with
	// an ingress that offers it.
	conf.NextProtos = []string{"http/1.1"}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:               proxy,
		DialContext:         to.dialContext,
		TLSClientConfig:     conf,
		Protocols:           protocols,
		DisableCompression:  true,
		MaxIdleConnsPerHost: idle,
		// Ray's server closes idle connections after 75 s; closing them first avoids
		// requests that fail because of it.
		IdleConnTimeout:        60 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
	}
}

// WithBaseURL returns a client of another address (a node agent) with the same timeouts
// and bounds, and with slots of its own. It connects directly, never through a proxy,
// and follows no redirects. Only a trusted address gets the token and the configured
// headers; any other gets the User-Agent only. All clients made by WithBaseURL share
// connections.
func (c *Client) WithBaseURL(base string, trusted bool) (*Client, error) {
	u, err := parseBase(base)
	if err != nil {
		return nil, err
	}
	other := *c
	other.base, other.transport, other.service = u, c.directTransport, nodeAgentService
	other.http = &http.Client{Transport: c.directTransport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	other.clock = &clock{}
	other.calls = make(chan struct{}, cap(c.calls))
	other.streams = make(chan struct{}, cap(c.streams))
	if trusted {
		own := *c.auth
		own.observer = nil // an agent can have another token than the head
		other.auth = &own
	} else {
		other.auth = &auth{header: http.Header{"User-Agent": c.auth.header()["User-Agent"]}.Clone}
	}
	return &other, nil
}

// URL returns a copy of the base URL, without a trailing slash.
func (c *Client) URL() *url.URL { u := *c.base; return &u }

// Timeout returns the timeout of a whole call.
func (c *Client) Timeout() time.Duration { return c.timeout }

// TLS returns a copy of the TLS configuration, for a WebSocket dialer.
func (c *Client) TLS() *tls.Config { return c.transport.TLSClientConfig.Clone() }

// Proxy returns the function that chooses a request's proxy, for a WebSocket dialer.
func (c *Client) Proxy() func(*http.Request) (*url.URL, error) { return c.transport.Proxy }

// HasToken reports whether requests carry a token now. A token file that cannot be read
// counts as one: it may be readable again.
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

// Header returns the headers of every request: Authorization, User-Agent and the
// configured ones. An error is that of a token source.
func (c *Client) Header() (http.Header, error) {
	h := c.auth.header()
	set := func(name, prefix string, source TokenSource) error {
		token, err := source.Token()
		if err == nil && !httpguts.ValidHeaderFieldValue(token) {
			err = errors.New("the token contains a line break or another control character: check that it is the right file")
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

// Close closes the idle connections, including those of clients made by WithBaseURL.
// Calls in progress continue.
func (c *Client) Close() {
	c.transport.CloseIdleConnections()
	c.directTransport.CloseIdleConnections()
}

// String returns the server's address.
func (c Client) String() string { return "transport.Client{" + c.base.String() + "}" }

// Format keeps every fmt verb from printing a secret.
func (c Client) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// resolve returns the base URL joined with an escaped path and a query.
func (c *Client) resolve(path string, query url.Values) (*url.URL, error) {
	u, err := url.Parse(c.base.String() + path)
	if err != nil || !strings.HasPrefix(path, "/") {
		return nil, errors.New("the request path cannot be parsed")
	}
	u.RawQuery = query.Encode()
	return u, nil
}

// checkRedirect follows redirects of a GET within its host only: the token must not be
// sent to another one, and a POST must not become a GET.
func checkRedirect(next *http.Request, via []*http.Request) error {
	first := via[0]
	if first.Method != http.MethodGet || len(via) > 5 ||
		next.URL.Scheme != first.URL.Scheme || next.URL.Host != first.URL.Host {
		return http.ErrUseLastResponse
	}
	return nil
}

// observed calls Observe for a call that ended.
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
