package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// formatAge returns how long before now a time was, as in "3m ago"; "in 5s" if it is
// later, because two clocks differ; "" for the zero time.
func formatAge(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	if d := now.Sub(t); d >= -time.Second {
		return formatDuration(max(d, 0).Truncate(time.Second)) + " ago"
	}
	return "in " + formatDuration(t.Sub(now))
}

// formatDuration returns a duration in its one or two largest units: 850ms, 45s,
// 3m20s, 2h5m, 3d4h.
func formatDuration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + formatDuration(-d)
	case d > 0 && d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < time.Hour:
		return joinUnits(int(d.Minutes()), "m", int(d.Seconds())%60, "s")
	case d < 24*time.Hour:
		return joinUnits(int(d.Hours()), "h", int(d.Minutes())%60, "m")
	}
	return joinUnits(int(d.Hours())/24, "d", int(d.Hours())%24, "h")
}

func joinUnits(a int, unitA string, b int, unitB string) string {
	s := strconv.Itoa(a) + unitA
	if b > 0 && a < 10 {
		s += strconv.Itoa(b) + unitB
	}
	return s
}

// formatBytes returns a number of bytes with a binary unit and at most one decimal.
func formatBytes(n float64) string {
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

// formatNumber returns a number in full. Ray's resources can be fractions.
func formatNumber(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

// formatRounded returns a number with at most one decimal.
func formatRounded(n float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(n, 'f', 1, 64), ".0")
}

func formatPercent(ratio float64) string { return fmt.Sprintf("%.0f%%", 100*ratio) }

// formatTime returns a time in the local zone, and its age; "" for the zero time.
func formatTime(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05 MST") + " (" + formatAge(now, t) + ")"
}

// printable returns a text that is safe to print on a terminal: characters that
// would move the cursor or change colors are escaped. With oneLine a line end
// becomes a space.
func printable(s string, oneLine bool) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return isUnsafeRune(r) || r == '\n' }) {
		return s
	}
	var b strings.Builder
	for _, r := range strings.ReplaceAll(s, "\r\n", "\n") {
		switch {
		case r == '\n' && oneLine, r == '\t':
			b.WriteByte(' ')
		case isUnsafeRune(r) && r != '\n':
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isUnsafeRune reports whether r is a control character other than \n, or changes
// the direction of text.
func isUnsafeRune(r rune) bool {
	return unicode.IsControl(r) && r != '\n' || r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069
}
