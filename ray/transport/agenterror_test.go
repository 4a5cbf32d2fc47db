package transport

import (
	"net"
	"strings"
	"testing"
)

func TestClient_ConnectionRefusedNamesTheService(t *testing.T) {
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
	for want, client := range map[string]*Client{"check that a Ray dashboard is running there": c, "check that a Ray node agent is running there": agent} {
		res, err := client.Do(t.Context(), Request{Op: "read", Path: "/x", Endpoint: "x"})
		if err == nil {
			res.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
