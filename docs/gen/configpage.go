package main

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"

	"raytap/config"
)

const configHead = `# Configuration

Every key of the file, with its default. Made from the code by ` + "`make docs`" + `; do not edit.
[config.example.yaml](../config.example.yaml) is the same as a file to start from, with
the reasons. ` + "`raytap config check FILE`" + ` tells all that is wrong with a file, and
` + "`raytap config show --config.file FILE`" + ` shows the configuration with all defaults and
without secrets.

- Every key may be left out, but for those that are *required*, and ` + "`clusters`" + ` unless
  clusters come from elsewhere ([multi-cluster.md](multi-cluster.md)). Without a file raytap watches
  a Ray on this machine ([getting-started.md](getting-started.md)).
- Any value may hold ` + "`${VAR}`" + `, filled in from the environment. A variable that is not set
  is an error; ` + "`$${`" + ` stands for a plain ` + "`${`" + `.
- A duration carries a unit: ` + "`500ms`, `10s`, `1h30m`, `7d`" + `. A size may: ` + "`8MiB`, `100MB`, `4096`" + `.
- A file's name is taken from the folder of the configuration unless it begins with a slash.
  A leading ` + "`~/`" + ` is refused, for only a shell replaces it: write ` + "`${HOME}/`" + `.
- A list or a table replaces the default as a whole.

## Reload

SIGHUP or ` + "`POST /-/reload`" + ` reads the file again and opens the sink's file anew. If anything
in it is wrong, nothing changes: the log tells what, and
` + "`raytap_config_last_reload_successful`" + ` is 0.

- A change in ` + "`clusters`" + ` or ` + "`modules`" + ` makes the clusters concerned anew; the others are
  not disturbed. So does a certificate whose file changed. Token files are read again as
  they change, without a reload.
- A change in ` + "`collector`" + ` or ` + "`shipper`" + ` makes all clusters anew: logs go on where they
  stood, and no line is lost or doubled in a file.
- Keys with **restart** are looked at when raytap starts. A reload that changes one says
  so in the log and goes on with the old value.
`

// renderConfiguration gives the text of the reference of the configuration.
func renderConfiguration(root string) ([]byte, error) {
	sections, err := listKeys(root)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString(configHead)
	for _, s := range sections {
		title := "`" + s.name + "`"
		if s.name == "" {
			title = "The file"
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| key | value | default | meaning |\n|---|---|---|---|\n", title, cell(s.about))
		for _, k := range s.keys {
			about, required := strings.CutSuffix(k.about, " Required.")
			if k.restart {
				about += " **restart**"
			}
			value := ""
			switch {
			case required:
				value = "*required*"
			case k.value != "" && k.value != placeholder:
				value = "`" + k.value + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.path, k.kind, value, cell(about))
		}
	}
	return b.Bytes(), nil
}

// cell keeps text from ending a cell of a table, or from being read as markup.
func cell(s string) string {
	s = strings.NewReplacer("_", `\_`, "<", "&lt;", "|", `\|`, "(* ?", `(\* ?`).Replace(s)
	// What is code already needs no backslash.
	parts := strings.Split(s, "`")
	for i := 1; i < len(parts); i += 2 {
		parts[i] = strings.ReplaceAll(parts[i], `\_`, "_")
	}
	return strings.Join(parts, "`")
}

// kinds are the types that have a form of their own.
var kinds = map[reflect.Type]string{
	reflect.TypeFor[config.Duration]():      "duration",
	reflect.TypeFor[config.Size]():          "size",
	reflect.TypeFor[config.Path]():          "file",
	reflect.TypeFor[config.URL]():           "URL",
	reflect.TypeFor[config.Secret]():        "secret",
	reflect.TypeFor[config.CIDR]():          "network",
	reflect.TypeFor[config.Pattern]():       "regular expression",
	reflect.TypeFor[config.TargetPattern](): "pattern of addresses",
	reflect.TypeFor[config.Fsync]():         "`always`, `never` or duration",
	reflect.TypeFor[config.Stdout]():        "`{}`",
}

// kind says what a value of a type is.
func kind(t reflect.Type) string {
	if k, ok := kinds[t]; ok {
		return k
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kind(t.Elem())
	case reflect.Slice:
		return "list: " + kind(t.Elem())
	case reflect.Map:
		return "table: " + kind(t.Elem())
	case reflect.Struct:
		return "keys"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "number"
	}
	return "text"
}

// value shows a default; nothing where it is empty.
func value(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Slice:
		if v.Len() > 0 {
			return fmt.Sprintf("%q", v.Interface())
		}
		return ""
	case reflect.Map:
		return ""
	}
	return fmt.Sprint(v.Interface())
}
