package daemon

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"raytap/config"
	"raytap/ray/raytest"
)

// probing returns a configuration without clusters and with two modules.
func probing(t *testing.T, targets ...string) config.Config {
	t.Helper()
	c := configure(t, nil)
	c.Modules = map[string]config.Module{"default": module(t, targets...), "secret": module(t, targets...)}
	secret := c.Modules["secret"]
	secret.Cluster.Auth.Token = "open sesame"
	c.Modules["secret"] = secret
	return c
}

func hostOf(head *raytest.Head) string { return strings.TrimPrefix(head.URL(), "http://") }

func TestProbe(t *testing.T) {
	hs := heads(t, "prod")
	hs["prod"].Submit("job-1", raytest.JobOptions{}).Print("hello\n")
	h := open(t, probing(t, "127.0.0.1:*"), nil)
	target := hostOf(hs["prod"])
	code, page := h.get("/probe?cluster=prod&target=" + target)
	for _, want := range []string{
		`raytap_up{ray_cluster="prod"} 1`,
		`raytap_job_status{ray_cluster="prod",status="RUNNING",submission_id="job-1"} 1`,
		`raytap_api_request_duration_seconds_count{code="200",endpoint="/api/version",ray_cluster="prod"} 1`,
	} {
		if code != 200 || !strings.Contains(page, want) {
			t.Errorf("%d, no %s", code, want)
		}
	}
	if strings.Contains(page, "go_goroutines") || strings.Contains(page, "raytap_build_info") {
		t.Error("the probe has metrics of raytap itself")
	}
	_, some := h.get("/probe?cluster=prod&collect[]=nodes&target=" + target)
	if !strings.Contains(some, "raytap_nodes{") || strings.Contains(some, "raytap_job_status") {
		t.Errorf("one collector returns\n%s", some)
	}
	if own := h.page(); strings.Contains(own, `ray_cluster="prod"`) {
		t.Errorf("/metrics has metrics of the target:\n%s", own)
	}
	if h.out.String() != "" || hs["prod"].Requests(raytest.EndpointTail) > 0 {
		t.Errorf("a probe ships logs: %s", h.out.String())
	}
	// Without a name the target is the name; an unreachable target is down.
	other := raytest.New(t)
	other.Down()
	code, page = h.get("/probe?target=" + url.QueryEscape(other.URL()))
	if want := fmt.Sprintf("raytap_up{ray_cluster=%q} 0", hostOf(other)); code != 200 || !strings.Contains(page, want) {
		t.Errorf("%d, no %s:\n%s", code, want, page)
	}
}

func TestProbe_Errors(t *testing.T) {
	hs := heads(t, "prod")
	c := probing(t, "127.0.0.1:*")
	c.Probes.Max = 1
	h := open(t, c, nil)
	target := hostOf(hs["prod"])
	if code, text := h.get("/probe?cluster=a&target=" + target); code != 200 {
		t.Fatalf("%d %s", code, text)
	}
	for name, tt := range map[string]struct {
		query string
		code  int
		want  string
	}{
		"no target":                 {"", 400, "the parameter target is missing"},
		"unknown module":            {"module=x&target=" + target, 400, `unknown module "x"; modules are default, secret`},
		"another host":              {"target=evil:8265", 400, "the target http://evil:8265 is not in the module's targets"},
		"another host with a token": {"module=secret&target=169.254.169.254:80", 400, "the target http://169.254.169.254 is not in the module's targets"},
		"a user in the target":      {"target=" + url.QueryEscape("http://127.0.0.1:1@evil:8265"), 400, "must not contain a user"},
		"unknown API":               {"api=x&target=" + target, 400, "api must be one of"},
		"another name":              {"cluster=b&target=" + target, 400, `already probed as cluster "a"`},
		"too many targets":          {"target=127.0.0.1:1", 503, "probes.max is 1"},
	} {
		t.Run(name, func(t *testing.T) {
			code, text := h.get("/probe?" + tt.query)
			if code != tt.code || !strings.Contains(text, tt.want) || strings.Contains(text, "sesame") {
				t.Errorf("%d %s", code, text)
			}
		})
	}
	none := open(t, configure(t, hs, "prod"), nil)
	if code, text := none.get("/probe?target=" + target); code != 404 || !strings.Contains(text, "the configuration has no modules") {
		t.Errorf("without modules: %d %s", code, text)
	}
}

func TestProbe_TokenOnlyToAllowedTargets(t *testing.T) {
	var mu sync.Mutex
	got := map[string]int{} // requests by what they carry
	spy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got[r.Header.Get("Authorization")]++
		http.Redirect(w, r, "http://localhost:1/", http.StatusFound)
	}))
	defer spy.Close()
	c := probing(t, "127.0.0.1:1")
	h := open(t, c, nil)
	for _, target := range []string{spy.URL, strings.Replace(spy.URL, "127.0.0.1", "localhost", 1), spy.URL + "/@127.0.0.1:1", "127.0.0.1:1#" + spy.URL} {
		if code, text := h.get("/probe?module=secret&target=" + url.QueryEscape(target)); code != 400 {
			t.Errorf("%s: %d %s", target, code, text)
		}
	}
	mu.Lock()
	if len(got) > 0 {
		t.Errorf("a target that is not allowed got requests: %v", got)
	}
	mu.Unlock()

	port := spy.URL[strings.LastIndex(spy.URL, ":")+1:]
	next := probing(t, "127.0.0.1:"+port)
	next.Web = c.Web
	if code, text := h.reload(next, nil); code != 200 {
		t.Fatalf("reload: %d %s", code, text)
	}
	if code, text := h.get("/probe?module=secret&target=127.0.0.1:" + port); code != 200 {
		t.Errorf("the allowed target: %d %s", code, text)
	}
	mu.Lock()
	defer mu.Unlock()
	if got["Bearer open sesame"] == 0 || len(got) != 1 {
		t.Errorf("the allowed target got %v", got)
	}
}

func TestProbe_SharedResponses(t *testing.T) {
	hs := heads(t, "prod")
	h := open(t, probing(t, "127.0.0.1:*"), nil)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			// Two spellings of one address are one target, too.
			target := []string{hostOf(hs["prod"]), hs["prod"].URL() + "/"}[i%2]
			if code, text := h.get("/probe?cluster=prod&target=" + url.QueryEscape(target)); code != 200 || !strings.Contains(text, `raytap_up{ray_cluster="prod"} 1`) {
				t.Errorf("%d %s", code, text)
			}
		})
	}
	wg.Wait()
	if n := hs["prod"].Requests(raytest.EndpointTasks); n > 8 { // one answer takes several
		t.Errorf("%d requests for tasks", n)
	}
	if n := hs["prod"].Requests(raytest.EndpointServe); n != 1 {
		t.Errorf("%d requests for Serve", n)
	}
}

func TestProbe_Expire(t *testing.T) {
	hs := heads(t, "prod")
	c := probing(t, "127.0.0.1:*")
	h := open(t, c, nil)
	query := url.Values{"target": {hostOf(hs["prod"])}, "cluster": {"a"}}
	p := h.d.probes
	_, release, err := p.probe(query)
	if err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(2 * time.Duration(c.Probes.Keep))
	if p.expire(later); p.status().Targets != 1 {
		t.Error("a probe in use is removed")
	}
	release()
	if p.expire(time.Now().Add(time.Duration(c.Probes.Keep) / 2)); p.status().Targets != 1 {
		t.Error("a recently used probe is removed")
	}
	if p.expire(later); p.status().Targets != 0 {
		t.Error("an unused probe is kept")
	}
	query.Set("cluster", "b") // another name may be had now
	if _, release, err = p.probe(query); err != nil {
		t.Fatal(err)
	}
	unit := func() *clusterRuntime {
		for _, x := range p.all {
			return x.cluster
		}
		return nil
	}
	before := unit()
	other := probing(t, "127.0.0.1:*")
	other.Web = c.Web
	if code, _ := h.reload(other, nil); code != 200 || unit() != before {
		t.Error("a reload without a change creates another client")
	}
	secret := other.Modules["secret"]
	secret.Cluster.MaxConcurrent++
	other.Modules["secret"] = secret
	if code, _ := h.reload(other, nil); code != 200 || unit() != before {
		t.Error("a change of another module creates another client")
	}
	other.Modules["default"] = module(t, "other:1")
	if code, _ := h.reload(other, nil); code != 200 || p.status().Targets != 0 {
		t.Error("a reload keeps a target that its module no longer allows")
	}
	if before.stopping.Load() {
		t.Error("it is closed while it is in use")
	}
	release()
	if !before.stopping.Load() {
		t.Error("it is not closed after its last use")
	}
}

// Law: one address is one target, however it is spelled: one client, one name.
func TestProbe_CanonicalAddress(t *testing.T) {
	hs := heads(t, "prod")
	c := probing(t, "127.0.0.1:*")
	c.Probes.Max = 1
	h := open(t, c, nil)
	host := hostOf(hs["prod"])
	_, port, _ := strings.Cut(host, ":")
	for _, spelled := range []string{
		host, "http://" + host, "http://" + host + "/", "HTTP://" + host, "http://" + host + "//",
		"127.0.0.1:0" + port, "http://[::ffff:127.0.0.1]:" + port,
	} {
		code, page := h.get("/probe?target=" + url.QueryEscape(spelled))
		if want := fmt.Sprintf("raytap_up{ray_cluster=%q} 1", host); code != 200 || !strings.Contains(page, want) {
			t.Errorf("%s: %d, the page lacks %s:\n%.300s", spelled, code, want, page)
		}
	}
	if code, text := h.get("/probe?target=127.0.0.1:1"); code != 503 {
		t.Errorf("a second target: %d %s", code, text)
	}
}
