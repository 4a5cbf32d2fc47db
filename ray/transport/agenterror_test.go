package transport

import (
	"net"
	"strings"
	"testing"
)

// An error names what was asked: the dashboard, or an agent on a node.
func TestARefusedConnectionNamesWhatWasAsked(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + l.Addr().String()
	l.Close()
	c, err := New(Options{URL: address})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	agent, err := c.WithBaseURL(address, true)
	if err != nil {
		t.Fatal(err)
	}
	for want, client := range map[string]*Client{"is a Ray dashboard running there?": c, "is a Ray node agent running there?": agent} {
		res, err := client.Do(t.Context(), Request{Op: "read", Path: "/x", Endpoint: "x"})
		if err == nil {
			res.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
