// Package completion has the scripts with which shells complete raytap's command
// line. They call raytap itself (--completion-bash) for suggestions. These can contain
// text of a file, such as cluster names, which a shell must never evaluate.
package completion

import _ "embed"

var (
	//go:embed raytap.bash
	bash string
	//go:embed raytap.zsh
	zsh string
	//go:embed raytap.fish
	fish string
)

// Script returns the script for bash, zsh or fish; "" for another shell.
func Script(shell string) string {
	return map[string]string{"bash": bash, "zsh": zsh, "fish": fish}[shell]
}
