package main

import (
	"os"
	"strings"
	"text/template"

	"github.com/alecthomas/kingpin/v2"

	"raytap/config"
)

// usage is the template of --help: a command's own flags come before the shared ones,
// and examples are not wrapped.
const usage = `{{define "Command"}}{{if .FlagSummary}} {{.FlagSummary}}{{end}}{{range .Args}} {{if not .Required}}[{{end}}<{{.Name}}>{{if not .Required}}]{{end}}{{end}}{{end -}}
{{$cmd := .Context.SelectedCommand -}}
usage: {{.App.Name}}{{if $cmd}} {{$cmd}}{{template "Command" $cmd}}{{if $cmd.Commands}} <command> [<args> ...]{{end}}{{else}}{{template "Command" .App}} [<command> [<args> ...]]{{end}}

{{if $cmd}}{{$cmd.Help|Wrap 0}}{{if $cmd.HelpLong}}
{{$cmd.HelpLong|Wrap 0}}{{end}}{{else}}{{.App.Help|Wrap 0}}{{end}}
{{- if .Context.Args}}
Args:
{{.Context.Args|ArgsToTwoColumns|FormatTwoColumns}}{{end}}
{{- with Commands .App $cmd}}
Commands:
{{FormatTwoColumns .}}{{end}}
{{- with $cmd}}{{with $cmd.Flags}}
Flags:
{{.|FlagsToTwoColumns|FormatTwoColumns}}{{end}}{{end}}
{{- with .App.Flags}}
{{if $cmd}}Global flags{{else}}Flags{{end}}:
{{.|FlagsToTwoColumns|FormatTwoColumns}}{{end}}
{{- if not $cmd}}
Daemon flags:
{{Daemon|FlagsToTwoColumns|FormatTwoColumns}}{{end -}}
`

func usageFuncs(app *kingpin.Application) template.FuncMap {
	return template.FuncMap{
		"Commands": commandRows,
		"Daemon":   func() []*kingpin.FlagModel { return app.GetCommand(daemonCommand).Model().Flags },
	}
}

// commandRows returns the subcommands of a command with their help, or all commands if cmd is nil.
func commandRows(app *kingpin.ApplicationModel, cmd *kingpin.CmdModel) [][2]string {
	var out [][2]string
	list := app.FlattenedCommands()
	if cmd != nil {
		list = cmd.FlattenedCommands()
		if len(cmd.Commands) == 0 {
			return nil
		}
	}
	for _, c := range list {
		if !c.Hidden {
			name := c.FullCommand
			for _, arg := range c.Args {
				if arg.Required {
					name += " <" + arg.Name + ">"
				} else {
					name += " [<" + arg.Name + ">]"
				}
			}
			out = append(out, [2]string{name, c.Help})
		}
	}
	return out
}

// clusterNames returns the clusters of the configuration file that a command line
// names, for completion; none if the file cannot be read.
func clusterNames(args []string) []string {
	file := ""
	for i, arg := range args {
		if v, ok := strings.CutPrefix(arg, "--config.file="); ok {
			file = v
		} else if arg == "--config.file" && i+1 < len(args) {
			file = args[i+1]
		}
	}
	if file == "" {
		return nil
	}
	c, err := config.Load(file, os.LookupEnv)
	if err != nil {
		return nil
	}
	return c.Names()
}
