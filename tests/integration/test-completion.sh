#!/bin/bash
# bash completion of vmferry, as bash calls it.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=completions/vmferry
. "$top/completions/vmferry"

completes() { # WORD… : what is offered for the last one, on one line
    # shellcheck disable=SC2034 # _vmferry reads them
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _vmferry
    printf '%s\n' "${COMPREPLY[@]}" | sort | paste -sd' '
}

like "$(completes vmferry '')" '(^| )copy( |$).* ?vm$' 'commands'
is "$(completes vmferry cop)" copy 'a command'
is "$(completes vmferry --v)" --version 'an option of vmferry itself'
like "$(completes vmferry copy --)" '--changes= .*--connections= .*--help .*--json .*--rate= ' 'options'
is "$(completes vmferry copy --targ)" --target-zero 'an option'
is "$(completes vmferry copy --progress =)" 'auto json none' 'values of an option'
is "$(completes vmferry copy --progress = j)" json 'a value of an option'
is "$(completes vmferry vm '')" 'list set show' 'subcommands'
is "$(completes vmferry source re)" 'refresh remove' 'some subcommands'

is "$(completes vmferry --log = j)" 'journal json' "values of the log's option"
is "$(completes vmferry --log-json cop)" copy 'a command behind it'
is "$(completes vmferry --log = json --log-level debug source re)" 'refresh remove' '... and what belongs to it'
is "$(completes vmferry copy --log-l)" --log-level= "the log's options behind a command"

mkdir "$tmp/dir with space"
touch "$tmp/disk.img" "$tmp/dir with space/a"
is "$(completes vmferry copy "$tmp/di")" "$tmp/dir with space $tmp/disk.img" 'files'
is "$(completes vmferry copy --changes = "$tmp/disk")" "$tmp/disk.img" 'a file as the value of an option'

# VM names come from the store.
cat >"$tmp/vmferry" <<'PROGRAM'
#!/bin/bash
case "$*" in
'vm list') printf 'NAME UUID\napp01 u1\napp02 u2\ndb01 u3\n' ;;
'point --help') echo 'usage: vmferry point list VM [--json]' ;;
esac
PROGRAM
chmod +x "$tmp/vmferry"
is "$(completes "$tmp/vmferry" point list ap)" 'app01 app02' 'VM names'

# All commands have help that can be completed from.
COMP_WORDS=(vmferry)
for command in $(_vmferry_commands); do
    like "$(vmferry "$command" --help)" "^usage: vmferry $command" "vmferry $command --help"
done
ok bash -n "$top/completions/vmferry" -- 'syntax'
done_testing
