package lines

import "unicode/utf8"

// WholeText returns the text of the line. If that is truncated, a partial UTF-8 character
// at its end is omitted.
func (l *Line) WholeText() []byte {
	b := l.Text
	if !l.Truncated() {
		return b
	}
	for i := len(b) - 1; i >= max(0, len(b)-utf8.UTFMax); i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return b[:i]
			}
			break
		}
	}
	return b
}
