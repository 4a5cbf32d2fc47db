package dashboard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"raytap/ray"
	"raytap/ray/raytest"
	"raytap/ray/transport"
)

func prefixes(s ...string) []netip.Prefix {
	var p []netip.Prefix
	for _, s := range s {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

func TestAgentLog_Offset(t *testing.T) {
	h := raytest.New(t)
	c := logClient(t, h, transport.Options{}, Options{})
	for _, id := range oddIDs {
		h.Submit(id, raytest.JobOptions{EmptyLog: true}).Print("0123\xff56\r\n9")
		for from, want := range map[int64]string{0: "0123\xff56\r\n9", 4: "\xff56\r\n9", 9: "9", 10: "", 99: ""} {
			part, err := c.AgentLog(t.Context(), refOf(t, h, id), from)
			if err != nil {
				t.Fatalf("%q from %d: %v", id, from, err)
			}
			got, err := io.ReadAll(part.Body)
			_ = part.Body.Close()
			if string(got) != want || err != nil || part.Size != 10 || part.Offset != from {
				t.Errorf("%q from %d: %q, %v, %+v", id, from, got, err, part)
			}
		}
	}
	empty := h.Submit("empty", raytest.JobOptions{EmptyLog: true})
	part, err := c.AgentLog(t.Context(), refOf(t, h, empty.ID), 0)
	if err != nil || part.Size != 0 {
		t.Errorf("an empty file: %+v, %v", part, err)
	}
	_, err = c.AgentLog(t.Context(), refOf(t, h, "nope"), 0)
	wantCode(t, err, 404)
}

// stranger is a server on loopback at the address of a node agent.
func stranger(t *testing.T, response http.HandlerFunc) string {
	s := httptest.NewServer(response)
	t.Cleanup(s.Close)
	return s.URL
}

func TestAgentLog_NotANodeAgent(t *testing.T) {
	tests := []struct {
		name     string
		response http.HandlerFunc
		code     int
		want     string
	}{
		{"one that ignores Range", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "all of it") }, 0, "all of it"},
		{"one without a size", func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "all")
		}, 500, ""},
		{"an invalid range", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 9-1/4")
			w.WriteHeader(206)
		}, 500, ""},
		{"a 416 without a size", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(416) }, 500, ""},
		{"a page", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>")
		}, 500, ""},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, 400, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := raytest.New(t)
			u := stranger(t, tt.response)
			c := logClient(t, h, transport.Options{}, Options{})
			part, err := c.AgentLog(t.Context(), ray.LogRef{SubmissionID: "job", AgentURL: u}, 3)
			if tt.code != 0 {
				wantCode(t, err, tt.code)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(part.Body)
			_ = part.Body.Close()
			if string(got) != tt.want || err != nil || part.Offset != 0 || part.Size != int64(len(tt.want)) {
				t.Errorf("%q, %v, %+v", got, err, part)
			}
		})
	}
}

func TestAgentLog_Faults(t *testing.T) {
	tests := []struct {
		name  string
		fault raytest.Fault
		code  int
	}{
		{"cut in the middle", raytest.Fault{Action: raytest.CutClose, AfterBytes: 4}, 503},
		{"reset in the middle", raytest.Fault{Action: raytest.CutReset, AfterBytes: 4}, 503},
		{"silent in the middle", raytest.Fault{Action: raytest.HalfOpen, AfterBytes: 4}, 408},
		{"no response", raytest.Fault{Action: raytest.Hang}, 408},
		{"refused", raytest.Fault{Status: 503, Body: "no"}, 503},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := raytest.New(t)
			timeout := 20 * time.Second
			if tt.code == 408 {
				timeout = 300 * time.Millisecond
			}
			c := logClient(t, h, transport.Options{Timeout: timeout}, Options{})
			h.Submit("job", raytest.JobOptions{EmptyLog: true}).Print("0123456789")
			tt.fault.Endpoint = raytest.EndpointNodeAgent
			in := h.Inject(tt.fault)
			part, err := c.AgentLog(t.Context(), refOf(t, h, "job"), 0)
			if err == nil {
				_, err = io.ReadAll(part.Body)
				_ = part.Body.Close()
			}
			wantCode(t, err, tt.code)
			if in.Hits() != 1 {
				t.Errorf("fault hit %d times", in.Hits())
			}
		})
	}
	t.Run("an agent that is down", func(t *testing.T) {
		h := raytest.New(t)
		c := logClient(t, h, transport.Options{}, Options{})
		h.Submit("job", raytest.JobOptions{})
		h.Nodes()[0].AgentDown()
		_, err := c.AgentLog(t.Context(), refOf(t, h, "job"), 0)
		wantCode(t, err, 503)
	})
}

// TestAgentLog_PlantedAddress: only addresses of the form http://IP:PORT are accepted.
func TestAgentLog_PlantedAddress(t *testing.T) {
	for _, raw := range []string{
		"", "http://", "http://evil.example:80", "http://localhost:52365", "https://10.0.0.1:52365", "10.0.0.1:52365",
		"http://user:pw@10.0.0.1:52365", "http://10.0.0.1:52365/latest/meta-data", "http://10.0.0.1:52365?x", "http://10.0.0.1:52365#x",
		"http://10.0.0.1", "http://10.0.0.1:0", "http://0.0.0.0:80", "http://[::]:80", "http://224.0.0.1:80", "http://[fe80::1%25eth0]:80",
		"http://[fe80::1%eth0]:80", "http://0x7f.1:80", "http://2130706433:80", "ftp://10.0.0.1:21", "http://10.0.0.1:80\r\nX: y", "HTTP://10.0.0.1:80",
	} {
		if a, err := agentAddress(raw); err == nil {
			t.Errorf("%q is accepted as %s", raw, a)
		}
	}
	for raw, want := range map[string]string{
		"http://10.0.0.1:52365": "10.0.0.1:52365", "http://10.0.0.1:52365/": "10.0.0.1:52365",
		"http://[2001:db8::1]:1": "[2001:db8::1]:1", "http://[::ffff:10.0.0.1]:1": "10.0.0.1:1",
	} {
		if a, err := agentAddress(raw); err != nil || a.String() != want {
			t.Errorf("%q is parsed as %s, %v", raw, a, err)
		}
	}
}

// TestAgentLog_AllowedAgents: which agents may be used, and which receive the token.
func TestAgentLog_AllowedAgents(t *testing.T) {
	const live, dead, other, own = "127.0.0.2", "127.0.0.3", "192.0.2.77", "127.0.0.1" // own is the API's host
	type outcome struct{ asked, trusted bool }
	no, plain, full := outcome{}, outcome{true, false}, outcome{true, true}
	tests := []struct {
		name  string
		token bool
		rule  NodeAgents
		want  map[string]outcome
	}{
		{"auto without a token: live nodes, and no secret", false, NodeAgents{}, map[string]outcome{live: plain, dead: no, other: no, own: full, "169.254.169.254": no}},
		{"auto with a token: the API's host", true, NodeAgents{}, map[string]outcome{live: no, dead: no, other: no, own: full, "169.254.169.254": no}},
		{"auto with a token: allowed networks", true, NodeAgents{Allow: prefixes("127.0.0.2/32", "192.0.2.0/24")}, map[string]outcome{live: full, dead: no, other: full, own: full}},
		{"on: live nodes", true, NodeAgents{Mode: NodeAgentsOn}, map[string]outcome{live: full, dead: no, other: no, own: full, "169.254.169.254": no}},
		{"on with allowed networks: live nodes of them", true, NodeAgents{Mode: NodeAgentsOn, Allow: prefixes("127.0.0.2/32", "192.0.2.0/24")}, map[string]outcome{live: full, other: no, own: no}},
		{"off", true, NodeAgents{Mode: NodeAgentsOff, Allow: prefixes("0.0.0.0/0")}, map[string]outcome{live: no, own: no, other: no}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := raytest.New(t, raytest.Token("secret"))
			to := transport.Options{Headers: map[string]string{"X-Ray-Authorization": "Bearer secret"}}
			if tt.token {
				to = transport.Options{Token: transport.StaticToken("secret"), Scheme: "Bearer "}
			}
			for _, ip := range []string{live, dead} {
				n, err := h.AddNode(ip)
				if err != nil {
					t.Fatal(err)
				}
				if ip == dead {
					n.Kill()
				}
			}
			c := logClient(t, h, to, Options{NodeAgents: tt.rule})
			for ip, want := range tt.want {
				agent, err := c.agentClient(t.Context(), "http://"+ip+":52365")
				if (err == nil) != want.asked {
					t.Errorf("%s: used %t (%v), want %t", ip, err == nil, err, want.asked)
					continue
				}
				if err != nil {
					wantCode(t, err, 403)
					if !errors.Is(err, ray.ErrTransportNotAllowed) {
						t.Errorf("%s: got %v, want ErrTransportNotAllowed", ip, err)
					}
					continue
				}
				header, err := agent.Header()
				if err != nil || (len(header) > 1) != want.trusted || header.Get("User-Agent") == "" {
					t.Errorf("%s: headers %d, %v; trusted %t", ip, len(header), err, want.trusted)
				}
			}
		})
	}
}

func TestAgentLog_HTTPSHostNotTrusted(t *testing.T) {
	tr, err := transport.New(transport.Options{URL: "https://127.0.0.1:1", Token: transport.StaticToken("secret")})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(tr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.agentClient(t.Context(), "http://127.0.0.1:52365")
	wantCode(t, err, 403)
}

func TestAgentLog_LocalhostIsLoopback(t *testing.T) {
	var b agentRegistry
	for _, ip := range []string{"127.0.0.1", "::1"} {
		if !b.isHost(t.Context(), "localhost", netip.MustParseAddr(ip)) {
			t.Errorf("%s is not recognised as localhost", ip)
		}
	}
	if b.isHost(t.Context(), "localhost", netip.MustParseAddr("192.0.2.200")) {
		t.Error("a foreign address is recognised as localhost")
	}
}

// TestAgentLog_NoProxy: requests to node agents, with the token, bypass the proxy of the
// dashboard.
func TestAgentLog_NoProxy(t *testing.T) {
	h := raytest.New(t, raytest.Token("secret"))
	var seen atomic.Int64
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		if strings.HasPrefix(r.In.URL.Path, "/logs/") {
			seen.Add(1)
		}
		r.Out.URL = r.In.URL
	}})
	t.Cleanup(proxy.Close)
	c := logClient(t, h, transport.Options{ProxyURL: proxy.URL, Token: transport.StaticToken("secret"), Scheme: "Bearer "},
		Options{NodeAgents: NodeAgents{Mode: NodeAgentsOn}})
	h.Submit("job", raytest.JobOptions{EmptyLog: true}).Print("x")
	part, err := c.AgentLog(t.Context(), refOf(t, h, "job"), 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = part.Body.Close()
	if seen.Load() != 0 {
		t.Error("the proxy saw the agent's request")
	}
	if u, _ := url.Parse(h.URL()); u == nil || h.Requests(raytest.EndpointNodes) != 1 {
		t.Error("the node list was not requested")
	}
}

// TestAgentLog_NodeListRate: a list is cached, and an address that is not in it causes
// another request, at a bounded rate.
func TestAgentLog_NodeListRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b agentRegistry
		known, strange := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
		asked := 0
		failure := error(nil)
		is := func(ip netip.Addr) (bool, error) {
			return b.isLive(t.Context(), func(context.Context) (map[netip.Addr]bool, error) {
				asked++
				return map[netip.Addr]bool{known: true}, failure
			}, ip)
		}
		steps := []struct {
			after time.Duration
			ip    netip.Addr
			fail  bool
			want  string
			asked int
		}{
			{0, known, false, "true <nil>", 1},
			{time.Second, strange, false, "false <nil>", 1},
			{5 * time.Second, strange, false, "false <nil>", 2},
			{time.Second, strange, false, "false <nil>", 2},
			{20 * time.Second, known, false, "true <nil>", 2},
			{20 * time.Second, known, false, "true <nil>", 3},
			{40 * time.Second, known, true, "false down", 4},
			{time.Second, known, false, "false down", 4},
			{5 * time.Second, known, false, "true <nil>", 5},
		}
		for i, s := range steps {
			time.Sleep(s.after)
			failure = nil
			if s.fail {
				failure = errors.New("down")
			}
			live, err := is(s.ip)
			if got := fmt.Sprint(live, " ", err); got != s.want || asked != s.asked {
				t.Errorf("step %d: %s after %d requests, want %s after %d", i, got, asked, s.want, s.asked)
			}
		}
	})
}
