package transport

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"sort"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/sync/semaphore"

	"raytap/httpheader"
)

// Defaults of Options.
const (
	DefaultTimeout       = 10 * time.Second
	DefaultMaxConcurrent = 8
	DefaultMaxBody       = 64 << 20 // bytes
	defaultUserAgent     = "raytap"
	defaultService       = "Ray dashboard"
	nodeAgentService     = "Ray node agent" // of the clients of WithBaseURL
)

// Options are a server's address and the settings of its client. Printing them shows
// neither the token nor header values nor passwords; a copy in an unexported field of a
// struct is not protected.
type Options struct {
	// URL is http or https, with or without a path prefix; trailing slashes are
	// removed. It must not contain credentials, a query or a fragment.
	URL string
	// Address returns the "ip:port" that connections to URL are made to, without a proxy;
	// nil: to the URL's host. It is called for each new connection. An error fails the
	// request.
	Address func() (string, error)
	// Agents reports whether an address given to WithBaseURL may be connected to, at each
	// new connection; nil: any may.
	Agents func(netip.Addr) bool
	// Token is queried at each request; nil sends none. A TokenObserver is told which
	// tokens the server at URL accepts.
	Token TokenSource
	// Scheme precedes the token in Authorization: "Bearer " for Ray, which accepts no
	// other spelling; "" sends the bare token.
	Scheme string
	// Headers are sent with every request. They may contain secrets.
	Headers map[string]string
	// TokenHeaders are further headers with a token, queried at each request; an empty
	// one is not sent.
	TokenHeaders map[string]TokenSource
	// TLS is cloned; nil trusts the system's authorities.
	TLS *tls.Config
	// ProxyURL overrides the proxy of the environment (HTTP_PROXY, HTTPS_PROXY,
	// NO_PROXY); "" does not.
	ProxyURL string
	// Timeout covers a whole call: the wait for a free slot, connecting, headers
	// and body. 0 means 10 s.
	Timeout time.Duration
	// MaxConcurrent bounds the calls in progress and, separately, the open streams, so
	// that slow readers of logs never delay a call. 0 means 8.
	MaxConcurrent int
	// MaxBody bounds a response in bytes, except for streams. 0 means 64 MiB.
	MaxBody int64
	// ResponseMemory, in bytes, is shared by the clients of a process: each response
	// over 1 MiB takes MaxBody of it until it is closed, so that only a few large
	// responses are in memory at a time. The wait is part of the call's Timeout. It
	// must not be smaller than MaxBody; nil means no bound.
	ResponseMemory *semaphore.Weighted
	// Service is the server's name in errors; "" means "Ray dashboard".
	Service string
	// UserAgent is always sent: Ray 2.40 and 2.9 answer 500 to a request without one.
	// "" means "raytap". It must not begin with Mozilla: Ray would take it for a
	// browser and answer 405 to every POST.
	UserAgent string
	// Observe is called after each call: with the endpoint's constant label, the HTTP
	// status (or the code of the error, if there is no status) and the duration, for a
	// stream that up to the headers. Calls that their caller cancelled are omitted. nil
	// observes nothing.
	Observe func(endpoint string, code int, took time.Duration)
}

// String returns the options without their secrets.
func (o Options) String() string {
	names := make([]string, 0, len(o.Headers))
	for name := range o.Headers {
		names = append(names, name)
	}
	sort.Strings(names)
	return fmt.Sprintf("transport.Options{URL: %q, Token: %t, Headers: %q, Proxy: %q}",
		publicURL(o.URL), o.Token != nil, names, publicURL(o.ProxyURL))
}

// Format keeps every fmt verb from printing a secret.
func (o Options) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, o.String()) }

// MarshalJSON returns String as a JSON string.
func (o Options) MarshalJSON() ([]byte, error) { return json.Marshal(o.String()) }

// publicURL returns a URL without user, query and fragment, and nothing of one that
// cannot be parsed: a password may be anywhere in it.
func publicURL(raw string) string {
	if raw == "" {
		return ""
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "<not a URL>"
	}
	host := url.URL{Scheme: u.Scheme, Host: u.Host} // whose String escapes a zone
	return host.String() + u.EscapedPath()
}

// parseBase checks a base URL and removes its trailing slashes.
func parseBase(raw string) (*url.URL, error) {
	raw = strings.TrimSpace(raw)
	if raw == "" {
		return nil, errors.New("url is empty: set it to the dashboard's address, such as http://127.0.0.1:8265")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil && !strings.Contains(raw, "://"), err == nil && u.Scheme != "http" && u.Scheme != "https":
		// A text before "://" is safe to show, one before ":" may be a user.
		if scheme, _, ok := strings.Cut(raw, "://"); ok {
			return nil, fmt.Errorf("url has the scheme %q: it must begin with http:// or https://", truncate(scheme, 32))
		}
		return nil, errors.New("url must begin with http:// or https://")
	case err != nil:
		return nil, errors.New("url cannot be parsed: it must look like https://host:8265/prefix")
	case u.User != nil:
		return nil, errors.New("url contains a user or password: set auth.token_file or RAY_AUTH_TOKEN instead")
	case u.Hostname() == "":
		return nil, errors.New("url has no host: it must look like https://host:8265/prefix")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("url has a query or a fragment: only a path prefix may follow the host")
	}
	// Through String, which escapes the zone of an IPv6 address again.
	host := url.URL{Scheme: u.Scheme, Host: u.Host}
	return url.Parse(host.String() + strings.TrimRight(u.EscapedPath(), "/"))
}

// checkHeaders returns the canonical headers of an Options. Its errors name a header,
// never its value.
func checkHeaders(o Options) (http.Header, error) {
	h := http.Header{}
	for name, value := range o.Headers {
		key := http.CanonicalHeaderKey(name)
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			return nil, fmt.Errorf("headers: %q is not a header name", truncate(name, 64))
		case httpheader.Reserved(name):
			return nil, fmt.Errorf("headers: %s cannot be set", key)
		case key == "Authorization" && o.Token != nil:
			return nil, errors.New("headers: Authorization and a token cannot both be set")
		case !httpguts.ValidHeaderFieldValue(value):
			return nil, fmt.Errorf("headers: the value of %s contains a control character", key)
		}
		h.Set(key, value)
	}
	for name := range o.TokenHeaders {
		key := http.CanonicalHeaderKey(name)
		if !httpguts.ValidHeaderFieldName(name) || httpheader.Reserved(name) || key == "Authorization" || h.Get(key) != "" {
			return nil, fmt.Errorf("headers: %q cannot be set to a token, or is set twice", truncate(name, 64))
		}
	}
	agent := cmp.Or(o.UserAgent, defaultUserAgent)
	if !httpguts.ValidHeaderFieldValue(agent) || strings.HasPrefix(strings.ToLower(agent), "mozilla") {
		return nil, errors.New("user agent must be printable and must not begin with Mozilla: Ray takes that for a browser")
	}
	h.Set("User-Agent", agent)
	return h, nil
}

// proxyFunc returns the function that chooses a request's proxy.
func proxyFunc(raw string) (func(*http.Request) (*url.URL, error), error) {
	if raw == "" {
		return http.ProxyFromEnvironment, nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("proxy_url cannot be parsed: it must look like http://host:3128")
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
		return http.ProxyURL(u), nil
	}
	return nil, errors.New("proxy_url must begin with http://, https:// or socks5://")
}
