package main

import (
	_ "embed"

	"github.com/alecthomas/kingpin/v2"
)

// The scripts ask raytap itself (--completion-bash) what may follow. Its answer
// can hold text of a file, such as names of clusters, which no shell may
// evaluate.
var (
	//go:embed completion/raytap.bash
	bashCompletion string
	//go:embed completion/raytap.zsh
	zshCompletion string
	//go:embed completion/raytap.fish
	fishCompletion string
)

func (f *flags) addCompletion() {
	// The parser has scripts of its own behind hidden flags
	// (--completion-script-bash), and that of bash evaluates what it is offered.
	kingpin.BashCompletionTemplate, kingpin.ZshCompletionTemplate = bashCompletion, zshCompletion
	cmd := f.app.Command("completion", "Print what makes a shell complete raytap's commands, flags and clusters.").
		HelpLong("Examples:\n\n  source <(raytap completion bash)\n  source <(raytap completion zsh)\n  raytap completion fish > ~/.config/fish/completions/raytap.fish")
	cmd.Arg("shell", "bash, zsh or fish.").Required().HintOptions("bash", "zsh", "fish").EnumVar(&f.shell, "bash", "zsh", "fish")
}

// completion returns the script for a shell.
func (f *flags) completion() string {
	return map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[f.shell]
}
