package secret

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

func TestText_NeverPrinted(t *testing.T) {
	const value = "hunter2"
	text := Text(value)
	inner := struct{ text *Text }{&text}
	var all []string
	for _, v := range []any{text, &text, []Text{text}, struct{ S Text }{text}, map[string]Text{"a": text}, inner, &inner} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			all = append(all, fmt.Sprintf(verb, v))
		}
	}
	for _, v := range []any{text, struct{ S Text }{text}, map[string]Text{"a": text}} {
		js, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		ym, err := yaml.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(js), string(ym))
	}
	for _, s := range all {
		if strings.Contains(s, value) || strings.Contains(s, fmt.Sprintf("%x", value)) {
			t.Errorf("the secret is in %s", s)
		}
	}
}

func TestText_Values(t *testing.T) {
	if s := Text("hunter2"); s.String() != Placeholder || string(s) != "hunter2" {
		t.Errorf("got %q and %q", s.String(), string(s))
	}
	if s := Text(""); s.String() != "" || s.GoString() != `""` {
		t.Errorf("an empty secret shows as %s", s.GoString())
	}
}
