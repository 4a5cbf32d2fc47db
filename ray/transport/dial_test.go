package transport

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"raytap/ray"
)

// A client with an address connects there, whatever the URL's host is, with each transport it
// has, and to the new one once the address changes and idle connections are closed.
func TestClient_Address(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	var hosts []string
	server := func(name string) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hosts = append(hosts, r.Host)
			_, _ = fmt.Fprintf(w, "%q", name)
		}))
		t.Cleanup(s.Close)
		return s
	}
	first, second := server("first"), server("second")
	address, failure := strings.TrimPrefix(first.URL, "http://"), error(nil)
	c, err := New(Options{URL: "http://train.ray.invalid:8265", Address: func() (string, error) { return address, failure }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	get := func() string {
		var name string
		if err := c.GetJSON(t.Context(), op, "/x", "/x", nil, &name); err != nil {
			return err.Error()
		}
		return name
	}
	if got := get(); got != "first" {
		t.Errorf("first address: %s", got)
	}
	address = strings.TrimPrefix(second.URL, "http://")
	if got := get(); got != "first" {
		t.Errorf("a connection that is open: %s", got)
	}
	c.Close()
	if got := get(); got != "second" {
		t.Errorf("second address: %s", got)
	}
	if want := "train.ray.invalid:8265"; hosts[0] != want || hosts[2] != want {
		t.Errorf("Host is %q", hosts)
	}
	// A WebSocket is refused by the server that it reaches.
	if _, err := c.WebSocket(t.Context(), Request{Op: op, Endpoint: "/x", Path: "/x"}); !errors.Is(err, ray.ErrNoWebSocket) {
		t.Errorf("WebSocket: %v", err)
	}
	failure = errors.New("its head pod does not run")
	c.Close()
	if got := get(); !strings.Contains(got, "its head pod does not run") {
		t.Errorf("no address: %s", got)
	}
	if _, err := c.WebSocket(t.Context(), Request{Op: op, Endpoint: "/x", Path: "/x"}); err == nil || !strings.Contains(err.Error(), "its head pod does not run") {
		t.Errorf("WebSocket, no address: %v", err)
	}
}

// An agent's address is checked when it is connected to, not only when it is chosen.
func TestClient_Agents(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	var asked []netip.Addr
	allowed := true
	c, err := New(Options{URL: s.URL, Agents: func(a netip.Addr) bool { asked = append(asked, a); return allowed }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	agent, err := c.WithBaseURL(s.URL, true)
	if err != nil {
		t.Fatal(err)
	}
	get := func(c *Client) error {
		res, err := c.Do(t.Context(), Request{Op: op, Endpoint: "/x", Path: "/x"})
		if err == nil {
			_ = res.Body.Close()
		}
		return err
	}
	if err := get(agent); err != nil {
		t.Error(err)
	}
	allowed = false
	c.Close()
	if err := get(agent); !errors.Is(err, errNotDialled) {
		t.Errorf("an address that is not allowed any more: %v", err)
	}
	if err := get(c); err != nil {
		t.Errorf("the URL's own host: %v", err)
	}
	if want := netip.MustParseAddr("127.0.0.1"); len(asked) != 2 || asked[0] != want {
		t.Errorf("queried %v", asked)
	}
}

// observed is a TokenObserver that notes what it is told.
type observed struct {
	mu    sync.Mutex
	token string
	told  []string
}

func (o *observed) Token() (string, error) { return o.token, nil }
func (o *observed) Accepted(token string)  { o.note("+" + token) }
func (o *observed) Rejected(token string)  { o.note("-" + token) }

func (o *observed) note(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = append(o.told, text)
}

// A token's source is told what the server says of it; what agents say is not told.
func TestClient_TokenObserver(t *testing.T) {
	status := 200
	source := &observed{token: "one"}
	c, _ := testClient(t, Options{Token: source, Scheme: "Bearer "}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	agent, err := c.WithBaseURL(c.URL().String(), true)
	if err != nil {
		t.Fatal(err)
	}
	for _, status = range []int{200, 404, 500, 401, 403} {
		for _, c := range []*Client{c, agent} {
			if res, err := c.Do(t.Context(), Request{Op: op, Endpoint: "/x", Path: "/x"}); err == nil {
				_ = res.Body.Close()
			}
		}
	}
	source.token, status = "two", 403
	_, _ = c.WebSocket(t.Context(), Request{Op: op, Endpoint: "/x", Path: "/x"})
	source.token = ""
	_ = c.GetJSON(t.Context(), op, "/x", "/x", nil, new(any))
	if got := strings.Join(source.told, " "); got != "+one -one -one -two" {
		t.Errorf("told %q", got)
	}
}

// named is a token that says where it is.
type named struct{ TokenSource }

func (named) String() string { return "the Secret ray/dev" }

func TestClient_TokenThatSaysWhereItIs(t *testing.T) {
	c, _ := testClient(t, Options{Token: named{StaticToken("x")}, Scheme: "Bearer "}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) })
	err := c.GetJSON(t.Context(), op, "/x", "/x", nil, new(any))
	if err == nil || !strings.Contains(err.Error(), "the token was rejected: check the Secret ray/dev") {
		t.Errorf("got %v", err)
	}
}
