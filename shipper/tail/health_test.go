package tail

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestShownError(t *testing.T) {
	for _, text := range []string{"", "short", strings.Repeat("x", maxShownError), strings.Repeat("x", maxShownError+1), strings.Repeat("ä€😀", 100), "x" + strings.Repeat("€", 200), "\xff" + strings.Repeat("y", 400)} {
		got := shownError(errors.New(text))
		start, cut := strings.CutSuffix(got, "…")
		if len(got) > maxShownError || !utf8.ValidString(got) || !strings.HasPrefix(strings.ToValidUTF8(text, "\uFFFD"), start) || cut != (len(text) > maxShownError) {
			t.Errorf("%q is shown as %q", text, got)
		}
	}
}
