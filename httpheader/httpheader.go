// Package httpheader defines the request headers that users cannot set.
package httpheader

import (
	"net/http"
	"strings"
)

// reserved are the headers that raytap or HTTP sets, and those that make Ray take a client
// for a browser and refuse its POSTs (2.60.0).
var reserved = map[string]bool{
	"Host": true, "Content-Length": true, "Content-Type": true, "Transfer-Encoding": true,
	"Connection": true, "Upgrade": true, "User-Agent": true, "Accept-Encoding": true, "Range": true,
	"Origin": true, "Referer": true,
}

// Reserved reports whether users cannot set a header, in any case of its letters.
func Reserved(name string) bool {
	key := http.CanonicalHeaderKey(name)
	return reserved[key] || strings.HasPrefix(key, "Sec-")
}
