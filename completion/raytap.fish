# Completion of raytap for fish. What raytap offers, such as names of clusters
# from a file, is split at line ends alone and is quoted by fish. Where raytap
# offers nothing that fits, files are completed.
function __raytap_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    # What the word stands for, also while its quote is still open.
    set -l bare (string unescape -- "$word"; or string replace -r -- '^["\']' '' "$word")
    set -l found
    for offer in ($words[1] --completion-bash $words[2..-1] "$bare" 2>/dev/null)
        if test (string sub -l (string length -- "$bare") -- "$offer") = "$bare"
            set -a found $offer
        end
    end
    if test -n "$found"
        printf '%s\n' $found
    else
        __fish_complete_path $word
    end
end
complete -c raytap -f -a '(__raytap_complete)'
