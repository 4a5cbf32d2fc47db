package program

import (
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"
)

// FreeAddress returns a free loopback address.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Get returns the body of a response, "" after an error or if the status is not 200.
func Get(url string) string {
	return GetBy(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}, url)
}

// GetBy is Get with the given client.
func GetBy(client *http.Client, url string) string {
	res, err := client.Get(url)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return ""
	}
	return string(b)
}

// File writes a file and returns its name.
func File(t testing.TB, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
