# Completion of raytap for fish. raytap's suggestions, such as cluster names from a
# file, are split at line ends only and quoted by fish. If none matches, files are
# completed.
function __raytap_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    # The word without quotes, also while a quote is still open.
    set -l bare (string unescape -- "$word"; or string replace -r -- '^["\']' '' "$word")
    set -l found
    for suggestion in ($words[1] --completion-bash $words[2..-1] "$bare" 2>/dev/null)
        if test (string sub -l (string length -- "$bare") -- "$suggestion") = "$bare"
            set -a found $suggestion
        end
    end
    if test -n "$found"
        printf '%s\n' $found
    else
        __fish_complete_path $word
    end
end
complete -c raytap -f -a '(__raytap_complete)'
