package main

import (
	"bytes"
	"text/template"

	"github.com/alecthomas/kingpin/v2"
)

// fishCompletion asks raytap itself, as the scripts for bash and zsh do that
// kingpin brings along; where it has nothing to say, files are completed.
const fishCompletion = `function __raytap_complete
    set -l word (commandline -ct)
    set -l words (commandline -opc) $word
    set -l found ($words[1] --completion-bash $words[2..-1] | string match -- "$word*")
    if test -n "$found"
        printf '%s\n' $found
    else
        __fish_complete_path $word
    end
end
complete -c raytap -f -a '(__raytap_complete)'
`

func (f *flags) addCompletion() {
	cmd := f.app.Command("completion", "Print what makes a shell complete raytap's commands, flags and clusters.").
		HelpLong("Examples:\n\n  source <(raytap completion bash)\n  source <(raytap completion zsh)\n  raytap completion fish > ~/.config/fish/completions/raytap.fish")
	cmd.Arg("shell", "bash, zsh or fish.").Required().HintOptions("bash", "zsh", "fish").EnumVar(&f.shell, "bash", "zsh", "fish")
}

// completion gives the script for a shell.
func (f *flags) completion() string {
	script := map[string]string{"bash": kingpin.BashCompletionTemplate, "zsh": kingpin.ZshCompletionTemplate, "fish": fishCompletion}[f.shell]
	var b bytes.Buffer
	// The templates are constants that need no more than the name.
	_ = template.Must(template.New("").Parse(script)).Execute(&b, map[string]any{"App": f.app.Model()})
	return b.String()
}
