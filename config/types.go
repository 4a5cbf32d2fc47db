package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"raytap/bytesize"
	"raytap/secret"
)

// Secret is text that is never printed. string(s) is the secret.
type Secret = secret.Text

// URL is an address whose user and password, if any, do not print. string(u) is
// the address as written.
type URL string

// String omits user and password.
func (u URL) String() string {
	scheme, rest, ok := strings.Cut(string(u), "://")
	if !strings.Contains(rest, "@") {
		if !ok && strings.Contains(scheme, "@") {
			return secret.Placeholder
		}
		return string(u)
	}
	host := rest[strings.LastIndex(rest, "@")+1:]
	if end := strings.IndexAny(rest, "/?#"); end >= 0 && strings.Contains(rest[end:], "@") {
		return secret.Placeholder // the end of the password is ambiguous
	}
	return scheme + "://" + secret.Placeholder + "@" + host
}

// Format omits them under every verb.
func (u URL) Format(f fmt.State, verb rune) { secret.Format(f, verb, u.String()) }

// GoString returns String, quoted.
func (u URL) GoString() string { return strconv.Quote(u.String()) }

// MarshalText returns String.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// MarshalYAML returns String.
func (u URL) MarshalYAML() (any, error) { return u.String(), nil }

// Path is the name of a file. A relative one in a configuration file is relative
// to that file's directory.
type Path string

// Duration is a time.Duration that is written with a unit: 500ms, 1h30m, 7d.
type Duration time.Duration

// UnmarshalText accepts what time.ParseDuration does, and days, weeks and years
// as in Prometheus. A bare number, 0 included, is an error.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return fmt.Errorf("needs a unit, such as %ss or %sm", s, s)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		var m model.Duration
		if m, err = model.ParseDuration(s); err != nil {
			return errors.New("is not a duration, such as 500ms, 10s, 1h30m or 7d")
		}
		v = time.Duration(m)
	}
	*d = Duration(v)
	return nil
}

// String omits zero minutes and seconds: 1h, not 1h0m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText returns String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Size is a number of bytes, written with or without a unit: 8MiB, 100MB, 4096.
type Size int64

// UnmarshalText parses a size with bytesize.Parse.
func (z *Size) UnmarshalText(text []byte) error {
	n, err := bytesize.Parse(string(text))
	if err == nil {
		*z = Size(n)
	}
	return err
}

// String formats a size with bytesize.Format.
func (z Size) String() string { return bytesize.Format(int64(z)) }

// MarshalText returns String.
func (z Size) MarshalText() ([]byte, error) { return []byte(z.String()), nil }

// CIDR is a network, or a single address.
type CIDR struct{ netip.Prefix }

// UnmarshalText accepts 10.0.0.0/8, fd00::/8 or a single address.
func (c *CIDR) UnmarshalText(text []byte) error {
	s := string(text)
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		c.Prefix = netip.PrefixFrom(a, a.BitLen())
		return nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return errors.New("is not a network, such as 10.0.0.0/8 or fd00::/8")
	}
	if p != p.Masked() {
		return fmt.Errorf("has address bits beyond its mask; the network is %s", p.Masked())
	}
	c.Prefix = p
	return nil
}

// Fsync is when writes to a file are synced to disk: with every write, at most
// this long after it, or when the kernel decides. It is written always, never or
// as a duration.
type Fsync time.Duration

// Values that are not durations.
const (
	FsyncAlways Fsync = 0
	FsyncNever  Fsync = -1
)

// minFsync is the shortest interval; use always below it.
const minFsync = 10 * time.Millisecond

// UnmarshalText accepts always, never or a duration.
func (f *Fsync) UnmarshalText(text []byte) error {
	switch string(text) {
	case "always":
		*f = FsyncAlways
		return nil
	case "never":
		*f = FsyncNever
		return nil
	}
	var d Duration
	if d.UnmarshalText(text) != nil || time.Duration(d) < minFsync {
		return fmt.Errorf("must be always, never, or a duration of at least %s, such as 1s", minFsync)
	}
	*f = Fsync(d)
	return nil
}

// String returns what UnmarshalText accepts.
func (f Fsync) String() string {
	switch f {
	case FsyncAlways:
		return "always"
	case FsyncNever:
		return "never"
	}
	return Duration(f).String()
}

// MarshalText returns String.
func (f Fsync) MarshalText() ([]byte, error) { return []byte(f.String()), nil }
