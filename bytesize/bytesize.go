// Package bytesize parses and formats numbers of bytes: 4096, 8MiB, 100MB.
package bytesize

import (
	"errors"
	"strconv"
	"strings"
)

// units are tried in this order: a longer unit comes before its own suffix.
var units = []struct {
	name  string
	bytes float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// Parse parses a whole number of bytes, with or without a unit. kB, MB, GB and TB
// are powers of 1000. Its errors complete a sentence that starts with the text.
func Parse(text string) (int64, error) {
	number, factor := text, 1.0
	for _, u := range units {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			number, factor = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || strings.ContainsAny(number, "eExXpPnN_") {
		return 0, errors.New("is not a size, such as 8MiB, 100MB or 4096")
	}
	if v *= factor; v != float64(int64(v)) || v > 1<<50 || v < -(1<<50) {
		return 0, errors.New("is not a whole number of bytes up to 1024TiB")
	}
	return int64(v), nil
}

// Format returns n with the largest binary unit that needs no fraction. Parse
// accepts the result.
func Format(n int64) string {
	for _, u := range []struct {
		name  string
		shift uint
	}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}} {
		if n != 0 && n%(1<<u.shift) == 0 {
			return strconv.FormatInt(n>>u.shift, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}
