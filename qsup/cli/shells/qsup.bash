# shellcheck shell=bash
# bash completion for qsup: source <(qsup completion bash)

_qsup() {
    local rest=${COMP_LINE:0:COMP_POINT} program=${COMP_WORDS[0]} words=() word i
    # bash also splits at signs as = : and @, which stand inside words here: what no blank parts belongs together.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${rest#"${rest%%[![:blank:]]*}"}
        if ((i == 0)) || [[ $word != "$rest" ]]; then
            words+=('')
        fi
        [[ $word == "${COMP_WORDS[i]}"* ]] && word=${COMP_WORDS[i]}
        rest=${rest#"${rest%%[![:blank:]]*}"}
        rest=${rest#"$word"}
        words[-1]+=$word
    done
    type -P "$program" >/dev/null || program=qsup
    # What stands before the part that bash replaces is not repeated to it.
    local typed=${words[-1]} part=$word
    local before=${typed%"$part"}

    COMPREPLY=()
    while IFS=$'\t' read -r word _; do
        case $word in
            :files) compopt -o default ;;
            :directories) compopt -o dirnames ;;
            *)
                [[ $word == *[=.@] ]] && compopt -o nospace
                COMPREPLY+=("${word#"$before"}")
                ;;
        esac
    done < <("$program" __complete "${words[@]}" 2>/dev/null)
}
complete -F _qsup qsup
