package main

import (
	"bytes"
	"text/template"

	"github.com/alecthomas/kingpin/v2"
)

// fishCompletion asks raytap itself, as the scripts for bash and zsh do that
// kingpin brings along.
const fishCompletion = `function __raytap_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] --completion-bash $words[2..-1]
end
complete -c raytap -a '(__raytap_complete)'
`

func (f *flags) addCompletion() {
	cmd := f.app.Command("completion", "Print what makes a shell complete raytap's commands, flags and clusters.").
		HelpLong("Examples:\n\n  source <(raytap completion bash)\n  raytap completion zsh > ~/.zfunc/_raytap\n  raytap completion fish > ~/.config/fish/completions/raytap.fish")
	cmd.Arg("shell", "bash, zsh or fish.").Required().EnumVar(&f.shell, "bash", "zsh", "fish")
}

// completion gives the script for a shell.
func (f *flags) completion() string {
	script := map[string]string{"bash": kingpin.BashCompletionTemplate, "zsh": kingpin.ZshCompletionTemplate, "fish": fishCompletion}[f.shell]
	var b bytes.Buffer
	// The templates are constants that need no more than the name.
	_ = template.Must(template.New("").Parse(script)).Execute(&b, map[string]any{"App": f.app.Model()})
	return b.String()
}
