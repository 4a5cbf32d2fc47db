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

// browser is a headless Chromium, driven through its DevTools protocol, which
// measures a page also where the page's own policy allows no script.
type browser struct {
	t       *testing.T
	conn    *websocket.Conn
	id      int
	session string // of the tab that is driven; "": of the browser itself
	// complaints are what the browser had to say of pages: of their console, of
	// its own log, and what could not be loaded.
	complaints []string
}

// message is what the browser sends: the answer to a command, or an event.
type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// patience bounds each wait for the browser.
const patience = time.Minute

func newBrowser(t *testing.T) *browser {
	t.Helper()
	profile := t.TempDir()
	args := []string{"--headless", "--remote-debugging-port=0", "--user-data-dir=" + profile, "--disable-gpu",
		"--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run", "--hide-scrollbars"}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox") // it refuses root otherwise
	}
	p := program.Start(t, exec.Command(program.Tool(t, "bin/chromium"), append(args, "about:blank")...))
	var port, path string
	p.Until(patience, "the browser says where its DevTools are", func() bool {
		b, _ := os.ReadFile(filepath.Join(profile, "DevToolsActivePort")) // it is not there at once
		var ok bool
		port, path, ok = strings.Cut(strings.TrimSpace(string(b)), "\n")
		return ok
	})
	conn, _, err := websocket.DefaultDialer.Dial("ws://127.0.0.1:"+port+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, conn: conn}
	t.Cleanup(func() { // it takes its processes along, and has let go of its profile
		_ = conn.WriteJSON(map[string]any{"id": 0, "method": "Browser.close"})
		p.Wait(patience)
		conn.Close()
	})
	return b
}

// do sends a command and gives its result into v, where v is not nil.
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

// next reads to the message that is waited for, and notes complaints before it.
func (b *browser) next(what string, is func(message) bool) message {
	b.t.Helper()
	for {
		var m message
		if err := b.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			b.t.Fatal(err)
		}
		if err := b.conn.ReadJSON(&m); err != nil {
			b.t.Fatalf("%s: the browser does not answer: %v", what, err)
		}
		switch m.Method {
		case "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed":
			b.complaints = append(b.complaints, fmt.Sprintf("%s %s", m.Method, m.Params))
		}
		if is(m) {
			return m
		}
	}
}

// open opens a page in a tab of its own, of a screen so many pixels wide and
// with the colours that its user prefers, "light" or "dark". The tab is driven
// from then on.
func (b *browser) open(url string, screen screen) {
	b.t.Helper()
	b.session, b.complaints = "", nil
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
	var gone struct {
		Error string `json:"errorText"`
	}
	b.do(&gone, "Page.navigate", map[string]any{"url": url})
	if gone.Error != "" {
		b.t.Fatalf("open %s: %s", url, gone.Error)
	}
	var ready string
	for over := time.Now().Add(patience); ready != "complete "+url; {
		if time.Now().After(over) {
			b.t.Fatalf("%s is not loaded: %q", url, ready)
		}
		b.eval(&ready, "document.readyState + ' ' + location.href")
	}
}

// eval gives the value of an expression of JavaScript into v.
func (b *browser) eval(v any, expression string) {
	b.t.Helper()
	var answer struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception json.RawMessage `json:"exceptionDetails"`
	}
	b.do(&answer, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true})
	if answer.Exception != nil {
		b.t.Fatalf("%s: %s", expression, answer.Exception)
	}
	if err := json.Unmarshal(answer.Result.Value, v); err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
}

// screenshot writes a picture of the whole page, beyond the window too.
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
