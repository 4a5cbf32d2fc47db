#compdef raytap
# Completion of raytap for zsh. raytap's suggestions, such as cluster names from a file,
# are split at line ends only and quoted by zsh.

_raytap() {
    local -a line matches
    line=("${(@Q)words[2,$CURRENT]}")
    if [[ $line[-1] == --*=* ]]; then
        compset -P 1 '*='
        line[-1]=("${line[-1]%%=*}" "${line[-1]#*=}")
    fi
    matches=(${(f)"$("${(Q)words[1]/#\~\//$HOME/}" --completion-bash "${(@)line}" 2>/dev/null)"})
    compadd -a matches

    if [[ $compstate[nmatches] -eq 0 && $words[$CURRENT] != -* ]]; then
        _files
    fi
}

if [[ "$(basename -- ${(%):-%x})" != "_raytap" ]]; then
    compdef _raytap raytap
fi
