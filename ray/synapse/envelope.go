package synapse

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"raytap/ray/internal/pyjson"
)

// This file decodes one frame or one SSE event. An agent sends
// {"type":"log","message":"…"}, error and complete events; others send the plain
// text of the log, which may itself be JSON.

type kind int

const (
	kindNone     kind = iota // a keep-alive
	kindMessage              // bytes of the log
	kindComplete             // the log is complete
	kindError                // the server failed; text is its message
)

type event struct {
	kind kind
	text []byte // valid until the next call of decode
}

// decoder decodes payloads. Its results are in buffers that it reuses.
type decoder struct {
	out   []byte
	queue []event // further events of the last payload
}

// next returns the next queued event of the last payload.
func (d *decoder) next() (event, bool) {
	if len(d.queue) == 0 {
		return event{}, false
	}
	e := d.queue[0]
	d.queue = d.queue[1:]
	return e, true
}

// decode decodes one payload; name is the event's name, if the transport has one.
func (d *decoder) decode(b []byte, name string) event {
	if text, ok := plainLog(b, d.out[:0]); ok {
		if d.out = text; len(text) == 0 {
			return event{}
		}
		return event{kindMessage, text}
	}
	return d.decodeOther(b, name, true)
}

// logPrefixes start almost every log message.
var logPrefixes = []string{`{"type":"log","message":"`, `{"type": "log", "message": "`}

// plainLog decodes a log message with one of the common prefixes into out; false for
// any other payload, and for one that needs the full decoder. It returns the same
// text as encoding/json.
func plainLog(b, out []byte) ([]byte, bool) {
	for _, prefix := range logPrefixes {
		if len(b) > len(prefix) && string(b[:len(prefix)]) == prefix {
			return unescape(b[len(prefix):], out)
		}
	}
	return nil, false
}

// plainPrefix returns the number of bytes of a JSON string before the next quote,
// backslash or control character. It compares eight bytes at a time, because most of
// the cost of a replay is here.
func plainPrefix(b []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(b)-n >= 8; n += 8 {
		w := binary.LittleEndian.Uint64(b[n:])
		quote, slash := w^ones*'"', w^ones*'\\'
		if found := ((w-ones*0x20)&^w | (quote-ones)&^quote | (slash-ones)&^slash) & highs; found != 0 {
			return n + bits.TrailingZeros64(found)/8
		}
	}
	for n < len(b) && b[n] >= 0x20 && b[n] != '"' && b[n] != '\\' {
		n++
	}
	return n
}

var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unescape decodes the rest of a JSON string and the end of its object; false if
// anything else follows, and for invalid UTF-8.
func unescape(b, out []byte) ([]byte, bool) {
	for {
		n := plainPrefix(b)
		out = append(out, b[:n]...)
		if b = b[n:]; len(b) < 2 {
			return nil, false
		}
		switch {
		case b[0] == '"':
			rest := b[1:]
			return out, rest[0] == '}' && len(bytes.TrimLeft(rest[1:], " \t\r\n")) == 0 && utf8.Valid(out)
		case b[0] != '\\':
			return nil, false
		case b[1] == 'u':
			r, size := hexRune(b)
			if size == 0 {
				return nil, false
			}
			out, b = utf8.AppendRune(out, r), b[size:]
		case escapes[b[1]] != 0:
			out, b = append(out, escapes[b[1]]), b[2:]
		default:
			return nil, false
		}
	}
}

// hexRune decodes \uXXXX, or two of them that make one character; the size is 0 if
// it is invalid.
func hexRune(b []byte) (rune, int) {
	r := pyjson.Hex4(b)
	if r < 0 {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if pair := utf16.DecodeRune(r, pyjson.Hex4(b[6:])); pair != utf8.RuneError {
		return pair, 12
	}
	return utf8.RuneError, 6
}

// decodeOther decodes a payload that is not a common log message; deep: it may
// contain another server's event.
func (d *decoder) decodeOther(b []byte, name string, deep bool) event {
	if len(b) == 0 {
		return applyName(event{}, name)
	}
	bare := event{kindMessage, b}
	var object map[string]json.RawMessage
	if trimmed := bytes.TrimLeft(b, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' || !readObject(b, &object) {
		return applyName(bare, name)
	}
	kindName, isText := name, true
	if raw, ok := object["type"]; ok {
		kindName, isText = jsonText(raw)
	}
	if !isText {
		return bare
	}
	switch kindName {
	case "complete":
		return event{kind: kindComplete}
	case "error":
		return event{kindError, errorText(object)}
	}
	message, hasMessage := object["message"]
	if text, ok := jsonText(message); ok {
		return textEvent(text)
	}
	if hasMessage = hasMessage && string(message) != "null"; hasMessage {
		return bare
	}
	if data, ok := jsonText(object["data"]); ok {
		return d.decodeNested(data, deep)
	}
	switch kindName {
	case "connected", "heartbeat", "ping", "keepalive", "keep-alive":
		return event{}
	}
	return bare
}

// readObject decodes an object as Python writes it, which may contain NaN.
func readObject(b []byte, object *map[string]json.RawMessage) bool {
	if json.Unmarshal(b, object) == nil {
		return true
	}
	d := pyjson.NewDecoder(bytes.NewReader(b))
	plain, err := d.Raw()
	*object = nil
	return err == nil && d.Skipped.Inexact > 0 && d.End() && json.Unmarshal(plain, object) == nil
}

// applyName applies an SSE event's name to a payload that is plain text.
func applyName(e event, name string) event {
	switch name {
	case "complete":
		return event{kind: kindComplete}
	case "error":
		e.kind = kindError
	}
	return e
}

func textEvent(s string) event {
	if s == "" {
		return event{}
	}
	return event{kindMessage, []byte(s)}
}

// decodeNested decodes the data of an event: text, or the lines of another server's
// event stream that was forwarded unchanged.
func (d *decoder) decodeNested(data string, deep bool) event {
	if !deep || !strings.HasPrefix(data, "data:") {
		return textEvent(data)
	}
	var all []event
	for line := range strings.Lines(data) {
		if payload, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "data:"); ok {
			if e := d.decodeOther([]byte(strings.TrimPrefix(payload, " ")), "", false); e.kind != kindNone {
				all = append(all, e)
			}
		}
	}
	if len(all) == 0 {
		return event{}
	}
	d.queue = all[1:]
	return all[0]
}

// errorText returns the text of an error event.
func errorText(object map[string]json.RawMessage) []byte {
	for _, key := range []string{"message", "error", "detail", "data"} {
		if s, ok := jsonText(object[key]); ok && s != "" {
			return []byte(s)
		}
	}
	return nil
}

// jsonText decodes a JSON string; false for any other value.
func jsonText(raw json.RawMessage) (string, bool) {
	var s string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return "", false
	}
	return s, true
}
