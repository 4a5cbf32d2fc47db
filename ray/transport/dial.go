package transport

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// errNotDialled is in the chain of the error for an address that must not be connected to.
var errNotDialled = errors.New("it is not an address of this cluster")

// dialer opens the connections of a client.
type dialer struct {
	address func() (string, error) // nil: that of the URL
	allows  func(netip.Addr) bool  // nil: every address
}

// dial connects to the address of Options.Address, if there is one, else to addr.
func (d dialer) dial(ctx context.Context, network, addr string, with *net.Dialer) (net.Conn, error) {
	if d.address != nil {
		var err error
		if addr, err = d.address(); err != nil {
			return nil, err
		}
	}
	if d.allows != nil {
		ap, err := netip.ParseAddrPort(addr)
		if err != nil || !d.allows(ap.Addr().Unmap()) {
			return nil, errNotDialled
		}
	}
	return with.DialContext(ctx, network, addr)
}

// keepAlive is the default interval of TCP's keep-alives.
const keepAlive = 30 * time.Second

// dialContext is dial for an http.Transport.
func (d dialer) dialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return d.dial(ctx, network, addr, &net.Dialer{KeepAlive: keepAlive})
}

// TokenObserver is a TokenSource that is told which of its tokens the server accepts. Its
// methods are called by several goroutines at once.
type TokenObserver interface {
	TokenSource
	Accepted(token string) // by a response with status 2xx
	Rejected(token string) // by status 401 or 403
}

// answered reports to the token's source how the server answered a request with these headers.
func (a *auth) answered(sent http.Header, status int) {
	if a.observer == nil {
		return
	}
	token, ok := strings.CutPrefix(sent.Get("Authorization"), a.scheme)
	switch {
	case !ok || token == "":
	case status/100 == 2, status == http.StatusSwitchingProtocols:
		a.observer.Accepted(token)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		a.observer.Rejected(token)
	}
}
