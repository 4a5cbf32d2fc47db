package synapse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// eventText is an event as text, independent of the decoder's buffers.
func eventText(e event) string {
	return fmt.Sprintf("%s %q", [...]string{"none", "message", "complete", "error"}[e.kind], e.text)
}

func TestDecoder_Payloads(t *testing.T) {
	for _, row := range []struct{ name, payload, event, want string }{
		{"a log message", `{"type":"log","message":"a\n"}`, "", `message "a\n"`},
		{"as Python spells it", `{"type": "log", "message": "a\n"}`, "", `message "a\n"`},
		{"keys in another order", `{"message":"a","type":"log"}`, "", `message "a"`},
		{"no type", `{"message":"a"}`, "", `message "a"`},
		{"another type", `{"type":"stdout","message":"a"}`, "", `message "a"`},
		{"more keys", `{"type":"log","message":"a","ts":1}`, "", `message "a"`},
		{"escapes", `{"type":"log","message":"\" \\ \/ \b \f \n \r \t \u00fc \ud83d\ude00 \ud83d x"}`, "", `message "\" \\ / \b \f \n \r \t ü 😀 ` + "\ufffd" + ` x"`},
		{"an empty message", `{"type":"log","message":""}`, "", `none ""`},
		{"data instead of a message", `{"type":"log","data":"a\n"}`, "", `message "a\n"`},
		{"data and a null message", `{"message":null,"data":"a"}`, "", `message "a"`},
		{"data that is an event of another server", `{"type":"log","data":"data: {\"type\":\"log\",\"message\":\"a\\n\"}\n"}`, "", `message "a\n"`},
		{"two of them", `{"data":"data: {\"message\":\"a\"}\n\ndata: {\"type\":\"complete\"}\n"}`, "", `message "a", complete ""`},
		{"a wrapped error", `{"type":"log","data":"data: {\"type\":\"error\",\"message\":\"x\"}\n"}`, "", `error "x"`},
		{"an error", `{"type":"error","message":"no file"}`, "", `error "no file"`},
		{"an error in detail", `{"type":"error","detail":"no file"}`, "", `error "no file"`},
		{"an error without text", `{"type":"error"}`, "", `error ""`},
		{"complete", `{"type":"complete","message":"done"}`, "", `complete ""`},
		{"connected", `{"type":"connected","job_id":"j"}`, "", `none ""`},
		{"a heartbeat", `{"type":"heartbeat"}`, "", `none ""`},
		{"an empty frame", ``, "", `none ""`},
		{"bare text", "hello\n", "", `message "hello\n"`},
		{"a job's own JSON", `{"level":"info","msg":"x"}`, "", `message "{\"level\":\"info\",\"msg\":\"x\"}"`},
		{"a job's own JSON with a type", `{"type":"step","loss":1}`, "", `message "{\"type\":\"step\",\"loss\":1}"`},
		{"a type that is no text", `{"type":1,"message":"x"}`, "", `message "{\"type\":1,\"message\":\"x\"}"`},
		{"a message that is no text", `{"message":{"a":1},"data":"x"}`, "", `message "{\"message\":{\"a\":1},\"data\":\"x\"}"`},
		{"a number", "42", "", `message "42"`},
		{"a string", `"x"`, "", `message "\"x\""`},
		{"null", "null", "", `message "null"`},
		{"a value that JSON does not have", `{"type":"log","message":"a\n","lag":NaN,"more":[-Infinity]}`, "", `message "a\n"`},
		{"text of a job that looks like JSON", `{"loss":NaN`, "", `message "{\"loss\":NaN"`},
		{"broken JSON", `{"type":"log","message":"x"`, "", `message "{\"type\":\"log\",\"message\":\"x\""`},
		{"a control character within", "{\"type\":\"log\",\"message\":\"a\tb\"}", "", `message "{\"type\":\"log\",\"message\":\"a\tb\"}"`},
		{"an event's name for a type", `{"message":"x"}`, "error", `error "x"`},
		{"an event's name and text", "gone", "error", `error "gone"`},
		{"only an event name", "", "complete", `complete ""`},
		{"a type before a name", `{"type":"log","message":"x"}`, "error", `message "x"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			var d decoder
			got := eventText(d.decode([]byte(row.payload), row.event))
			for e, ok := d.next(); ok; e, ok = d.next() {
				got += ", " + eventText(e)
			}
			if got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

// plainLog returns the same text as encoding/json, or false.
func FuzzPlainLog(f *testing.F) {
	for _, s := range []string{`a\n"}`, `\ud83d\ude00"}`, `\ud83dx"}`, `\ud83d\u0041"}`, `\uD83D\ude0"}`, "\xff\"}", `x"} `, `x"}}`, `x`, `\`, `"`, `\u12`, `\q"}`, "\x01\"}", `a","b":1}`, "\u2028\"}"} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, rest []byte, spaced bool) {
		prefix := logPrefixes[0]
		if spaced {
			prefix = logPrefixes[1]
		}
		payload := append([]byte(prefix), rest...)
		kept := bytes.Clone(payload)
		got, ok := plainLog(payload, nil)
		if !bytes.Equal(payload, kept) {
			t.Fatal("the payload was changed")
		}
		var want struct {
			Type    string
			Message string
		}
		var whole map[string]json.RawMessage
		err := json.Unmarshal(payload, &want)
		if ok && (err != nil || string(got) != want.Message || json.Unmarshal(payload, &whole) != nil || len(whole) != 2) {
			t.Errorf("%q: got %q, encoding/json returns %q, %v", payload, got, want.Message, err)
		}
		// Common form and valid: plainLog must accept it.
		spelled, _ := json.Marshal(want.Message)
		if again := prefix + string(spelled[1:]) + "}"; err == nil && utf8.ValidString(want.Message) {
			if got, ok := plainLog([]byte(again), nil); !ok || string(got) != want.Message {
				t.Errorf("%q: %q, %t", again, got, ok)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	line := strings.Repeat("step 12345 loss 0.123 ", 9)[:190]
	for _, row := range []struct{ name, payload string }{
		{"plain", `{"type": "log", "message": "` + line + `\n"}`},
		{"escaped", `{"type": "log", "message": "` + strings.Repeat(`\u00fc\"a`, 20) + `\n"}`},
		{"slow", `{"message": "` + line + `\n", "type": "log"}`},
	} {
		b.Run(row.name, func(b *testing.B) {
			var d decoder
			payload := []byte(row.payload)
			b.ReportAllocs()
			b.SetBytes(int64(len(payload)))
			for b.Loop() {
				d.decode(payload, "")
			}
		})
	}
}
