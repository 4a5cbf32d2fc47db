package transport

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"
)

// What stands for a zero value in Options.
const (
	DefaultTimeout       = 10 * time.Second
	DefaultMaxConcurrent = 8
	DefaultMaxBody       = 64 << 20 // bytes
	defaultUserAgent     = "raytap"
	defaultService       = "Ray dashboard"
	nodeAgent            = "Ray node agent" // of the clients of WithBaseURL
)

// Options say where a server is and how it is spoken to. Printing them shows
// neither the token nor a header value nor a password; but no method can guard
// a copy in an unexported field of a struct that is printed.
type Options struct {
	// URL is http or https, with or without a path prefix; trailing slashes are
	// cut. Credentials, a query or a fragment in it are refused.
	URL string
	// Token gives the token of each request; nil sends none.
	Token TokenSource
	// Scheme stands before the token in Authorization: "Bearer " for Ray, which
	// takes no other spelling; "" sends the bare token.
	Scheme string
	// Headers are sent with every request. They may hold secrets.
	Headers map[string]string
	// TokenHeaders are headers whose value is asked for at each request, as the
	// token's is; one that is empty is not sent.
	TokenHeaders map[string]TokenSource
	// TLS is cloned; nil trusts the system's authorities.
	TLS *tls.Config
	// ProxyURL replaces the proxy of the environment (HTTP_PROXY, HTTPS_PROXY,
	// NO_PROXY), which "" means.
	ProxyURL string
	// Timeout covers a whole call: the wait for a free slot, connecting, headers
	// and body. 0 is 10 s.
	Timeout time.Duration
	// MaxConcurrent bounds the calls in progress, and apart from them the
	// streams, so that slow readers of logs never hold up a call. 0 is 8.
	MaxConcurrent int
	// MaxBody bounds an answer in bytes, streams excepted. 0 is 64 MiB.
	MaxBody int64
	// ResponseMemory is shared by the clients of a process: each of their answers takes
	// MaxBody of it from the time that it is over 1 MiB until it is closed, so that
	// big answers are held in memory a few at a time. The wait is part of the
	// call's Timeout. It must not be smaller than MaxBody; nil is no bound.
	ResponseMemory *semaphore.Weighted
	// Service is what errors call the server; "" is "Ray dashboard".
	Service string
	// UserAgent is never empty on the wire: Ray 2.40 and 2.9 answer 500 to a
	// request without one. "" is "raytap". One that begins with Mozilla is
	// refused: Ray takes it for a browser and answers 405 to every POST.
	UserAgent string
	// Observe is told of each call that ended: the endpoint's constant label,
	// the HTTP status (or the code of the error, where no status came) and the
	// time it took, up to the headers for a stream. Calls that their caller
	// cancelled are not told. nil is nobody.
	Observe func(endpoint string, code int, took time.Duration)
}

// String describes the options without their secrets.
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

// MarshalJSON gives the description as a string.
func (o Options) MarshalJSON() ([]byte, error) { return json.Marshal(o.String()) }

// publicURL cuts user, query and fragment from a URL, and shows nothing of one
// that cannot be parsed: a password may stand anywhere in it.
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

// parseBase checks a base URL and cuts its trailing slashes.
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
			return nil, fmt.Errorf("url has the scheme %q: it must begin with http:// or https://", clip(scheme, 32))
		}
		return nil, errors.New("url must begin with http:// or https://")
	case err != nil:
		return nil, errors.New("url cannot be parsed: it must look like https://host:8265/prefix")
	case u.User != nil:
		return nil, errors.New("url holds a user or password: give the token by auth.token_file or RAY_AUTH_TOKEN instead")
	case u.Hostname() == "":
		return nil, errors.New("url has no host: it must look like https://host:8265/prefix")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("url has a query or a fragment: only a path prefix may follow the host")
	}
	// Through String, which escapes the zone of an IPv6 address again.
	host := url.URL{Scheme: u.Scheme, Host: u.Host}
	return url.Parse(host.String() + strings.TrimRight(u.EscapedPath(), "/"))
}

// reservedHeaders are the ones that raytap or HTTP set, and the ones by which
// Ray takes a client for a browser and refuses its POSTs (2.60.0).
var reservedHeaders = map[string]bool{
	"Host": true, "Content-Length": true, "Content-Type": true, "Transfer-Encoding": true,
	"Connection": true, "Upgrade": true, "User-Agent": true, "Accept-Encoding": true, "Range": true,
	"Origin": true, "Referer": true,
}

// checkHeaders gives the canonical headers of an Options. Its errors name a
// header, never its value.
func checkHeaders(o Options) (http.Header, error) {
	h := http.Header{}
	for name, value := range o.Headers {
		key := http.CanonicalHeaderKey(name)
		switch {
		case !headerName(name):
			return nil, fmt.Errorf("headers: %q is not a header name", clip(name, 64))
		case reservedHeaders[key] || strings.HasPrefix(key, "Sec-"):
			return nil, fmt.Errorf("headers: %s cannot be set", key)
		case key == "Authorization" && o.Token != nil:
			return nil, errors.New("headers: Authorization and a token cannot both be set")
		case !headerValue(value):
			return nil, fmt.Errorf("headers: the value of %s holds a control character", key)
		}
		h.Set(key, value)
	}
	for name := range o.TokenHeaders {
		key := http.CanonicalHeaderKey(name)
		if !headerName(name) || reservedHeaders[key] || key == "Authorization" || h.Get(key) != "" {
			return nil, fmt.Errorf("headers: %q cannot be set to a token, or is set twice", clip(name, 64))
		}
	}
	agent := o.UserAgent
	if agent == "" {
		agent = defaultUserAgent
	}
	if !headerValue(agent) || strings.HasPrefix(strings.ToLower(agent), "mozilla") {
		return nil, errors.New("user agent must be printable and must not begin with Mozilla: Ray takes that for a browser")
	}
	h.Set("User-Agent", agent)
	return h, nil
}

func headerName(s string) bool {
	for _, r := range s {
		if r > 126 || r < 33 || strings.ContainsRune("()<>@,;:\\\"/[]?={}", r) {
			return false
		}
	}
	return s != ""
}

func headerValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 32 && r != '\t' || r == 127 })
}

// proxyFunc gives the proxy of each request.
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
