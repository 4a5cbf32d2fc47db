package kuberay

import (
	"net/netip"
	"strings"
	"testing"
)

var addr = netip.MustParseAddr("10.0.0.1")

// The names that KubeRay's own function gives.
func TestCheckName(t *testing.T) {
	long := strings.Repeat("abcdefghi-", 6)
	for name, want := range map[string]string{
		"dev":                  "dev",
		"1dev":                 "rdev",
		"9":                    "r",
		long[:50]:              long[:50],
		long[:51]:              "bcdefghi-" + long[10:51],
		"a" + "7" + long[:49]:  "r" + long[:49],
		"ab" + "-" + long[:49]: "r" + long[:49],
		long:                   long[10:],
		"":                     "",
	} {
		if got := checkName(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestTokenKey(t *testing.T) {
	own := secretKey{"own", "k"}
	for name, tt := range map[string]struct {
		auth, secret string
		pod          secretKey
		want         secretKey
	}{
		"what the head's container has": {"secret", "other", own, own},
		"authOptions":                   {"secret", "other", secretKey{}, secretKey{"other", "auth_token"}},
		"none":                          {"secret", "", secretKey{}, secretKey{}},
		"a rule without tokens":         {"none", "other", own, secretKey{}},
	} {
		if got := tokenKey(tt.auth, &clusterFacts{secret: tt.secret}, &podFacts{token: tt.pod}); got != tt.want {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

// The head is the pod that runs and stays, else the one that still runs, else the
// newest that is to run.
func TestHeadOf(t *testing.T) {
	pods := func(all ...string) map[string]*podFacts {
		out := map[string]*podFacts{}
		for i, s := range all {
			p := factsOfPod(&pod{})
			p.uid, p.head, p.phase, p.created = s, true, "Pending", p.created.AddDate(0, 0, i)
			if strings.Contains(s, "runs") {
				p.phase, p.running, p.addresses = "Running", true, append(p.addresses, addr)
			}
			p.deleting = strings.Contains(s, "deleted")
			if strings.Contains(s, "failed") {
				p.phase = "Failed"
			}
			p.head = !strings.Contains(s, "worker")
			out[s] = p
		}
		return out
	}
	for want, all := range map[string][]string{
		"runs":         {"runs", "runs deleted", "pending"},
		"runs deleted": {"pending", "runs deleted"},
		"pending 2":    {"pending 1", "pending 2", "deleted"},
		"":             {"worker runs", "failed"},
	} {
		got := ""
		if h := headOf(pods(all...)); h != nil {
			got = h.uid
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", all, got, want)
		}
	}
}
