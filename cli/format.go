package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// ago says how long before now a time was: "3m ago", "in 5s" for one that the
// clocks put into the future, "" for the zero time.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	if d := now.Sub(t); d >= -time.Second {
		return lasting(max(d, 0).Truncate(time.Second)) + " ago"
	}
	return "in " + lasting(t.Sub(now))
}

// lasting says a duration with its one or two largest units: 850ms, 45s, 3m20s,
// 2h5m, 3d4h.
func lasting(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + lasting(-d)
	case d > 0 && d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < time.Hour:
		return two(int(d.Minutes()), "m", int(d.Seconds())%60, "s")
	case d < 24*time.Hour:
		return two(int(d.Hours()), "h", int(d.Minutes())%60, "m")
	}
	return two(int(d.Hours())/24, "d", int(d.Hours())%24, "h")
}

func two(a int, unitA string, b int, unitB string) string {
	s := strconv.Itoa(a) + unitA
	if b > 0 && a < 10 {
		s += strconv.Itoa(b) + unitB
	}
	return s
}

// bytesText says a number of bytes with a binary unit and at most one decimal.
func bytesText(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for ; math.Abs(n) >= 1024 && i < len(units)-1; i++ {
		n /= 1024
	}
	if i == 0 {
		return strconv.FormatFloat(n, 'f', 0, 64) + units[0]
	}
	return strings.TrimSuffix(strconv.FormatFloat(n, 'f', 1, 64), ".0") + units[i]
}

// amount says a number of things, of which Ray has fractions too.
func amount(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

// rounded is amount with at most one decimal.
func rounded(n float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(n, 'f', 1, 64), ".0")
}

func percent(ratio float64) string { return fmt.Sprintf("%.0f%%", 100*ratio) }

// stamp says a time in full, with the zone of the machine.
func stamp(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05 MST") + " (" + ago(now, t) + ")"
}

// printable makes a text of others safe for a terminal: what would move the
// cursor or change colours is shown as a code, and a line end as a blank where
// the text must stay on one line.
func printable(s string, oneLine bool) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return hostile(r) || r == '\n' }) {
		return s
	}
	var b strings.Builder
	for _, r := range strings.ReplaceAll(s, "\r\n", "\n") {
		switch {
		case r == '\n' && oneLine, r == '\t':
			b.WriteByte(' ')
		case hostile(r) && r != '\n':
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// hostile runes are controls, and the formats that turn the direction of
// writing.
func hostile(r rune) bool {
	return unicode.IsControl(r) && r != '\n' || r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069
}
