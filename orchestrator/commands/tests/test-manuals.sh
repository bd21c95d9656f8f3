#!/bin/bash
# The options that --help lists are those that the manual explains, and no others are taken; the
# manual of vmferry.conf has the keys that are read; each command's has exit statuses and examples.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"
cd "$top" || exit 1
export VMFERRY_STATE=$tmp/state VMFERRY_CONFIG=/dev/null

options() { # on stdin; without those that vmferry(1) explains for all commands
    grep -oE -- '--[a-z][a-z-]*' | grep -vxE -- '--(state|json|help|progress)' | sort -u | xargs
}

for command in $(vmferry --help | sed -n 's/^  \([a-z][a-z-]*\)  .*/\1/p'); do
    pod=docs/man/vmferry-$command.pod
    vmferry "$command" --help >"$tmp/help"
    cat "$tmp/help" >>"$tmp/all"
    is "$(grep '^=item' "$pod" | options)" "$(options <"$tmp/help")" "$command: options of manual and help"
    is "$(grep -cE '^=head1 (SYNOPSIS|EXIT STATUS|EXAMPLES)$' "$pod")" 3 "$command: the manual is whole"
done

known=" $(options <"$tmp/all") "
unknown=''
for option in $(grep -ohE '"[a-z-]+", *(no|required|optional)_argument' orchestrator/commands/*.c |
    sed 's/^"/--/; s/".*//' | options); do
    case $known in *" $option "*) ;; *) unknown+="$option " ;; esac
done
is "$unknown" "" "no option is taken that no help lists"

is "$(awk '/^=head1 \[/ { gsub(/\]/, ""); section = substr($2, 2) }
           /^=item B</ && section { gsub(/B<|>/, ""); print section, $2 }' docs/man/vmferry.conf.pod | sort)" \
    "$(sed -n 's/^ *{ "\([a-z]*\)", "\([a-z_]*\)", [A-Z]*, FIELD.*/\1 \2/p' orchestrator/commands/config.c | sort)" \
    "keys of vmferry.conf"
done_testing
