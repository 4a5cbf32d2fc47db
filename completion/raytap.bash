# Completion of raytap for bash (3.2 or later). raytap's suggestions, such as cluster
# names from a file, are data: they are compared and quoted, and never evaluated.

# _raytap_word sets raytap_word to the word "$1" without quotes, expanding only a
# leading ~/, and raytap_quote to the quote that is still open in it.
_raytap_word() {
    local rest=$1 char
    raytap_word='' raytap_quote=''
    if [[ $rest == '~/'* ]]; then
        raytap_word=$HOME rest=${rest:1}
    fi
    while [[ -n $rest ]]; do
        char=${rest:0:1} rest=${rest:1}
        case $raytap_quote$char in
            "'" | '"') raytap_quote=$char ;;
            "''" | '""') raytap_quote='' ;;
            \\) raytap_word+=${rest:0:1} rest=${rest:1} ;;
            '"\')
                case ${rest:0:1} in
                    [\"\$\`\\]) raytap_word+=${rest:0:1} rest=${rest:1} ;;
                    *) raytap_word+=$char ;;
                esac ;;
            *) raytap_word+=$char ;;
        esac
    done
}

# _raytap_quoted sets raytap_word to the text "$1", quoted so that it can follow the
# open quote "$2"; "" if no quote is open.
_raytap_quoted() {
    local rest=$1 char
    case $2 in
        '') printf -v raytap_word %q "$1"; return ;;
    esac
    raytap_word=''
    while [[ -n $rest ]]; do
        char=${rest:0:1} rest=${rest:1}
        case $2$char in
            "''") raytap_word+="'\\''" ;;
            '"!') raytap_word+="\"'!'\"" ;;
            '"'[\"\$\`\\]) raytap_word+=\\$char ;;
            *) raytap_word+=$char ;;
        esac
    done
}

_raytap_bash_autocomplete() {
    local raytap_word raytap_quote quote before='' typed strip line i
    local -a raw words
    COMPREPLY=()

    # Readline splits words at : and =; raytap needs them joined.
    for ((i = 1; i <= COMP_CWORD; i++)); do
        if ((${#raw[@]} > 0)) && [[ ${COMP_WORDS[i]} == [:=]* || ${COMP_WORDS[i - 1]} == *[:=] && $i -gt 1 ]] &&
            [[ -n ${COMP_WORDS[i]} ]]; then
            before=${raw[${#raw[@]} - 1]}
            raw[${#raw[@]} - 1]+=${COMP_WORDS[i]}
        else
            before=''
            raw+=("${COMP_WORDS[i]}")
        fi
    done
    typed=${raw[${#raw[@]} - 1]}
    if [[ ${COMP_WORDS[COMP_CWORD]} == [:=] ]]; then # nothing follows it yet
        before=$typed
    fi
    for line in "${raw[@]}"; do
        _raytap_word "$line"
        if [[ $raytap_word == --*=* ]]; then
            words+=("${raytap_word%%=*}" "${raytap_word#*=}")
        else
            words+=("$raytap_word")
        fi
    done
    typed=${words[${#words[@]} - 1]} quote=$raytap_quote

    # Readline replaces only the part of the word after the last : or =.
    _raytap_word "$before"
    if [[ $raytap_word == --*=* ]]; then
        raytap_word=${raytap_word#*=}
    fi
    strip=${#raytap_word}

    _raytap_word "${COMP_WORDS[0]}"
    while IFS= read -r line || [[ -n $line ]]; do
        if [[ ${line:0:${#typed}} == "$typed" ]]; then
            _raytap_quoted "${line:strip}" "$quote"
            COMPREPLY+=("$raytap_word")
        fi
    done < <("$raytap_word" --completion-bash "${words[@]}" 2>/dev/null)
    return 0
}
complete -F _raytap_bash_autocomplete -o default raytap
