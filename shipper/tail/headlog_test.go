package tail

import (
	"strings"
	"testing"
)

// The words of an end are bounded, and of whole characters.
func TestTheWordsOfAnEndAreBounded(t *testing.T) {
	long := strings.Repeat("é", maxHeadLog)
	if got := firstBytes(long); len(got) != maxHeadLog || strings.Trim(got, "é") != "" {
		t.Errorf("%d bytes, %q at the end", len(got), got[len(got)-4:])
	}
	if got := firstBytes("x" + long); len(got) != maxHeadLog-1 || strings.Trim(got[1:], "é") != "" {
		t.Errorf("%d bytes", len(got))
	}
	if got := lastBytes([]byte(strings.Repeat("a line\n", maxHeadLog) + "the last\n")); len(got) > maxHeadLog || !strings.HasSuffix(got, "a line\nthe last") || !strings.HasPrefix(got, "a line\n") {
		t.Errorf("%d bytes, %.20q", len(got), got)
	}
}
