package web

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
)

// Listen binds the addresses, or returns the listeners that systemd passed. On an
// error nothing stays bound.
func Listen(addresses []string, systemdSocket bool) ([]net.Listener, error) {
	if systemdSocket {
		listeners, err := activation.Listeners()
		if err != nil {
			return nil, fmt.Errorf("get the listeners from systemd: %w", err)
		}
		if len(listeners) == 0 {
			return nil, errors.New("get the listeners from systemd: it passed none; start raytap with a .socket unit")
		}
		return listeners, nil
	}
	var listeners []net.Listener
	for _, address := range addresses {
		l, err := listen(address)
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			return nil, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s: the port is in use; stop what uses it, or choose another with --web.listen-address", address)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listen on %s: not permitted; choose a port above 1023 with --web.listen-address", address)
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}
