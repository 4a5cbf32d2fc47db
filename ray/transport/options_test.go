package transport

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestNew_URL(t *testing.T) {
	for _, row := range []struct{ name, in, want, fault string }{
		{"plain", "http://127.0.0.1:8265", "http://127.0.0.1:8265", ""},
		{"trailing slashes", "https://ray.example//", "https://ray.example", ""},
		{"prefix", "https://ray.example/some/prefix/", "https://ray.example/some/prefix", ""},
		{"escaped prefix", "https://ray.example/a%2Fb", "https://ray.example/a%2Fb", ""},
		{"surrounding space", " http://h:1 \n", "http://h:1", ""},
		{"IPv6 zone", "http://[fe80::1%25eth0]:8265/p/", "http://[fe80::1%25eth0]:8265/p", ""},
		{"empty", "", "", "set it to the dashboard's address"},
		{"no scheme", "localhost:8265", "", "must begin with http://"},
		{"no scheme, address", "10.0.0.1:8265", "", "must begin with http://"},
		{"ray client address", "ray://head:10001", "", `"ray"`},
		{"no host", "http://", "", "no host"},
		{"bad port", "http://host:port", "", "cannot be parsed"},
		{"credentials", "http://user:hunter2@host", "", "user or password"},
		{"credentials and a bad port", "http://user:hunter2@host:x", "", "cannot be parsed"},
		{"credentials without a scheme", "user:hunter2@host", "", "must begin"},
		{"query", "http://host?token=hunter2", "", "query"},
		{"fragment", "http://host#hunter2", "", "fragment"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := New(Options{URL: row.in})
			if row.fault == "" {
				if err != nil || c.URL().String() != row.want {
					t.Fatalf("got %v, %v; want %s", c, err, row.want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), row.fault) || strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("error %v; want one with %q and without the password", err, row.fault)
			}
		})
	}
}

func TestNew_Headers(t *testing.T) {
	for _, row := range []struct {
		name  string
		o     Options
		fault string
	}{
		{"a custom header", Options{Headers: map[string]string{"X-Tenant": "a"}}, ""},
		{"a browser's header", Options{Headers: map[string]string{"origin": "s3cret"}}, "Origin"},
		{"a fetch header", Options{Headers: map[string]string{"Sec-Fetch-Mode": "s3cret"}}, "Sec-Fetch-Mode"},
		{"not a name", Options{Headers: map[string]string{"a b": "s3cret"}}, `"a b"`},
		{"a line break in a value", Options{Headers: map[string]string{"X-A": "s3cret\nX-B: 1"}}, "X-A"},
		{"a token twice", Options{Headers: map[string]string{"authorization": "s3cret"}, Token: StaticToken("x")}, "Authorization"},
		{"a browser's user agent", Options{UserAgent: "Mozilla/5.0"}, "Mozilla"},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.o.URL = "http://host"
			_, err := New(row.o)
			switch {
			case row.fault == "" && err != nil:
				t.Fatal(err)
			case row.fault != "" && (err == nil || !strings.Contains(err.Error(), row.fault) || strings.Contains(err.Error(), "s3cret")):
				t.Fatalf("error %v; want one that names %s and no value", err, row.fault)
			}
		})
	}
}

func TestOptions_SecretsNeverPrinted(t *testing.T) {
	const token, header, password = "tok-3n-aaaa", "hdr-v4lue-bbbb", "pr0xy-cccc"
	o := Options{
		URL: "http://user:" + password + "@host", Token: StaticToken(token), Scheme: "Bearer ",
		Headers: map[string]string{"X-Key": header}, ProxyURL: "http://u:" + password + "@proxy:3128",
	}
	good := o
	good.URL = "http://host/prefix"
	c, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(envToken, token)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	read := FileToken(file)
	if got, err := read.Token(); got != token || err != nil {
		t.Fatalf("the file's token is %q, %v", got, err)
	}
	outer := struct {
		c    *Client
		by   Client
		t    TokenSource
		file TokenSource
	}{c, *c, StaticToken(token), read}
	values := []any{o, &o, c, *c, outer, &outer, StaticToken(token), EnvToken(), read}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			text := fmt.Sprintf(verb, v)
			checkNoSecret(t, fmt.Sprintf("%s of %T", verb, v), text, token, header, password)
		}
		if b, err := json.Marshal(v); err == nil {
			checkNoSecret(t, fmt.Sprintf("JSON of %T", v), string(b), token, header, password)
		}
	}
	if _, err := New(o); err == nil {
		t.Fatal("credentials in the URL were accepted")
	} else {
		checkNoSecret(t, "error", fmt.Sprintf("%+v", err), token, header, password)
	}
}

func checkNoSecret(t *testing.T, what, text string, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		if strings.Contains(text, s) || strings.Contains(text, fmt.Sprintf("%x", s)) {
			t.Errorf("%s shows a secret: %s", what, text)
		}
	}
}

func TestFileToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	src := FileToken(path)
	if _, err := src.Token(); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "does not exist") {
		t.Fatalf("missing file: %v", err)
	}
	write := func(text string) {
		t.Helper()
		// Replaced, as a mounted secret is: another file under the same name.
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	want := func(token string) {
		t.Helper()
		if got, err := src.Token(); err != nil || got != token {
			t.Fatalf("token is %q, %v; want %q", got, err, token)
		}
	}
	write(" one\n")
	want("one")
	want("one")
	write("two\r\n")
	want("two")
	if err := os.WriteFile(path, []byte("longer"), 0o600); err != nil { // in place
		t.Fatal(err)
	}
	want("longer")
	write(" \n")
	if _, err := src.Token(); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Fatalf("empty file: %v", err)
	}
	write("three")
	want("three")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got, err := src.Token(); err == nil {
		t.Fatalf("removed file: got the token %q", got)
	}
	write(strings.Repeat("x", maxTokenFile+1))
	if _, err := src.Token(); err == nil || !strings.Contains(err.Error(), "64 KiB") {
		t.Fatalf("huge file: %v", err)
	}
}

func TestEnvToken(t *testing.T) {
	home := t.TempDir()
	named := filepath.Join(t.TempDir(), "named")
	if err := os.WriteFile(named, []byte("from-path\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	set := func(token, path string) TokenSource {
		t.Setenv("HOME", home)
		t.Setenv(envToken, token)
		t.Setenv(envTokenPath, path)
		return EnvToken()
	}
	want := func(name string, src TokenSource, token string) {
		t.Helper()
		if got, err := src.Token(); err != nil || got != token {
			t.Errorf("%s: token is %q, %v; want %q", name, got, err, token)
		}
	}
	src := set("", "")
	want("no token", src, "")
	if err := os.MkdirAll(filepath.Join(home, ".ray"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".ray", "auth_token"), []byte("from-home"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("a home file that was created later", src, "from-home")
	want("a named file precedes the home file", set("", named), "from-path")
	want("the variable precedes all", set("from-env", named), "from-env")
	if got, err := set("", named+".gone").Token(); err == nil {
		t.Errorf("missing named file: got the token %q", got)
	}
}

func TestClient_NoRequestWithoutToken(t *testing.T) {
	c, requests := testClient(t, Options{Token: FileToken(filepath.Join(t.TempDir(), "gone"))}, func(w http.ResponseWriter, _ *http.Request) {})
	err := c.GetJSON(t.Context(), "list jobs", "/x", "/x", nil, new(any))
	if err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("error is %v", err)
	}
	if n := requests.Load(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestClient_TokenHeaders(t *testing.T) {
	file := filepath.Join(t.TempDir(), "user")
	if err := os.WriteFile(file, []byte("first-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Synapse-User")+"|"+strings.Join(r.Header.Values("Synapse-Tenant"), ","))
		http.Error(w, `{"detail":[{"loc":["header",0],"msg":"not `+r.Header.Get("Synapse-User")+`"},{"loc":["q"],"msg":"missing"}]}`, http.StatusUnprocessableEntity)
	}))
	defer srv.Close()
	c, err := New(Options{URL: srv.URL, TokenHeaders: map[string]TokenSource{
		"SYNAPSE-User": FileToken(file), "SYNAPSE-Tenant": StaticToken(""),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	request := func() error { return c.GetJSON(t.Context(), "get x", "/x", "/x", nil, new(any)) }
	err = request()
	if text := fmt.Sprint(err); strings.Contains(text, "first-token") || !strings.Contains(text, "header.0: not <secret>; q: missing") {
		t.Errorf("the error is %q", text)
	}
	if err := os.WriteFile(file, []byte("second-token-longer"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = request()
	if want := []string{"first-token|", "second-token-longer|"}; !slices.Equal(got, want) {
		t.Errorf("the server got %q, want %q", got, want)
	}
}
