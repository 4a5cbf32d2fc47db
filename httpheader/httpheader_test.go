package httpheader

import "testing"

func TestReserved(t *testing.T) {
	for name, want := range map[string]bool{
		"user-agent": true, "Origin": true, "RANGE": true, "sec-fetch-mode": true, "Sec-Fetch-Site": true,
		"Authorization": false, "X-Tenant": false, "Secret": false, "": false,
	} {
		if got := Reserved(name); got != want {
			t.Errorf("%q: %t", name, got)
		}
	}
}
