package tail

import (
	"strings"
	"testing"
)

func TestHeadLog_Size(t *testing.T) {
	long := strings.Repeat("é", maxHeadLog)
	if got := firstBytes(long); len(got) != maxHeadLog || strings.Trim(got, "é") != "" {
		t.Errorf("firstBytes returned %d bytes that end with %q, want %d and whole characters", len(got), got[len(got)-4:], maxHeadLog)
	}
	if got := firstBytes("x" + long); len(got) != maxHeadLog-1 || strings.Trim(got[1:], "é") != "" {
		t.Errorf("firstBytes returned %d bytes, want %d and whole characters", len(got), maxHeadLog-1)
	}
	if got := lastBytes([]byte(strings.Repeat("a line\n", maxHeadLog) + "the last\n")); len(got) > maxHeadLog || !strings.HasSuffix(got, "a line\nthe last") || !strings.HasPrefix(got, "a line\n") {
		t.Errorf("lastBytes returned %d bytes that begin with %.20q, want whole lines", len(got), got)
	}
}
