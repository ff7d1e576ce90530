# fish completion for qsup: qsup completion fish | source

function __qsup_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    set -l prefix (string match -r '^[^=]*=' -- "$typed")
    for line in ($words[1] __complete $words "$typed" 2>/dev/null)
        switch $line
            case ':files*'
                printf '%s\n' "$prefix"(__fish_complete_path (string replace -- "$prefix" '' "$typed"))
            case ':directories*'
                printf '%s\n' "$prefix"(__fish_complete_directories (string replace -- "$prefix" '' "$typed"))
            case '*'
                printf '%s\n' $line
        end
    end
end

complete -c qsup -f -a '(__qsup_complete)'
