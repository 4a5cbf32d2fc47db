//go:build e2e && linux

package page

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"raytap/test/program"
)

// browser is a headless Chromium, controlled through its DevTools protocol, which can
// evaluate scripts even if the page's content security policy forbids them.
type browser struct {
	t       *testing.T
	conn    *websocket.Conn
	id      int
	session string // of the current tab; "": of the browser itself
	// problems are messages about the page: from its console and the browser's log, and
	// failed requests.
	problems []string
}

// message is a message from the browser: the response to a command, or an event.
type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// browserTimeout limits each wait for the browser.
const browserTimeout = time.Minute

func newBrowser(t *testing.T) *browser {
	t.Helper()
	profile := t.TempDir()
	args := []string{"--headless", "--remote-debugging-port=0", "--user-data-dir=" + profile, "--disable-gpu",
		"--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run", "--hide-scrollbars"}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox") // required for root
	}
	p := program.Start(t, exec.Command(program.Tool(t, "bin/chromium"), append(args, "about:blank")...))
	var port, path string
	p.Until(browserTimeout, "the DevTools port is open", func() bool {
		b, _ := os.ReadFile(filepath.Join(profile, "DevToolsActivePort")) // it does not exist immediately
		var ok bool
		port, path, ok = strings.Cut(strings.TrimSpace(string(b)), "\n")
		return ok
	})
	conn, _, err := websocket.DefaultDialer.Dial("ws://127.0.0.1:"+port+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, conn: conn}
	t.Cleanup(func() { // the browser must exit before its profile is removed
		_ = conn.WriteJSON(map[string]any{"id": 0, "method": "Browser.close"})
		p.Wait(browserTimeout)
		conn.Close()
	})
	return b
}

// do sends a command and decodes its result into v, unless v is nil.
func (b *browser) do(v any, method string, params map[string]any) {
	b.t.Helper()
	b.id++
	command := map[string]any{"id": b.id, "method": method, "params": params}
	if b.session != "" {
		command["sessionId"] = b.session
	}
	if err := b.conn.WriteJSON(command); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	id := b.id
	m := b.next(method, func(m message) bool { return m.ID == id })
	if m.Error != nil {
		b.t.Fatalf("%s: %s", method, m.Error.Message)
	}
	if v == nil {
		return
	}
	if err := json.Unmarshal(m.Result, v); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
}

// next reads messages until is returns true, and records problems.
func (b *browser) next(what string, is func(message) bool) message {
	b.t.Helper()
	for {
		var m message
		if err := b.conn.SetReadDeadline(time.Now().Add(browserTimeout)); err != nil {
			b.t.Fatal(err)
		}
		if err := b.conn.ReadJSON(&m); err != nil {
			b.t.Fatalf("%s: read from the browser: %v", what, err)
		}
		switch m.Method {
		case "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed":
			b.problems = append(b.problems, fmt.Sprintf("%s %s", m.Method, m.Params))
		}
		if is(m) {
			return m
		}
	}
}

// open opens a page in a new tab with the size and colour scheme of a screen. Later
// commands go to this tab.
func (b *browser) open(url string, screen screen) {
	b.t.Helper()
	b.session, b.problems = "", nil
	var tab struct {
		ID string `json:"targetId"`
	}
	b.do(&tab, "Target.createTarget", map[string]any{"url": "about:blank"})
	var attached struct {
		ID string `json:"sessionId"`
	}
	b.do(&attached, "Target.attachToTarget", map[string]any{"targetId": tab.ID, "flatten": true})
	b.session = attached.ID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.do(nil, domain+".enable", nil)
	}
	b.do(nil, "Emulation.setDeviceMetricsOverride", map[string]any{"width": screen.width, "height": screen.height, "deviceScaleFactor": 1, "mobile": screen.phone})
	b.do(nil, "Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": screen.colours}}})
	var failure struct {
		Error string `json:"errorText"`
	}
	b.do(&failure, "Page.navigate", map[string]any{"url": url})
	if failure.Error != "" {
		b.t.Fatalf("open %s: %s", url, failure.Error)
	}
	var ready string
	for deadline := time.Now().Add(browserTimeout); ready != "complete "+url; {
		if time.Now().After(deadline) {
			b.t.Fatalf("%s is not loaded: %q", url, ready)
		}
		b.eval(&ready, "document.readyState + ' ' + location.href")
	}
}

// eval evaluates a JavaScript expression and decodes its value into v.
func (b *browser) eval(v any, expression string) {
	b.t.Helper()
	var res struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception json.RawMessage `json:"exceptionDetails"`
	}
	b.do(&res, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true})
	if res.Exception != nil {
		b.t.Fatalf("%s: %s", expression, res.Exception)
	}
	if err := json.Unmarshal(res.Result.Value, v); err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
}

// screenshot writes a picture of the whole page, not only of the window.
func (b *browser) screenshot(file string) {
	b.t.Helper()
	var shot struct {
		Data string `json:"data"`
	}
	b.do(&shot, "Page.captureScreenshot", map[string]any{"captureBeyondViewport": true})
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(file, png, 0o600); err != nil {
		b.t.Fatal(err)
	}
}
