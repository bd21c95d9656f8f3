#!/bin/bash
# make install into a DESTDIR, what is there works, make uninstall removes it.
# shellcheck source=tests/lib.sh
# shellcheck disable=SC2016 # $uri is for nbdkit --run
. "$(dirname "$0")/../lib.sh"

build=$(realpath --relative-to="$top" "$BUILD")
root=$tmp/root
# shellcheck disable=SC2317 # `ok` calls it
make_install() { # TARGET PREFIX
    MAKEFLAGS='' make -C "$top" --no-print-directory "$1" BUILD="$build" DESTDIR="$root" PREFIX="$2"
}
filters=$root$(pkg-config --variable=filterdir nbdkit)
plugins=$root$(pkg-config --variable=plugindir nbdkit)

ok make_install install /usr -- 'make install'
is "$("$root/usr/bin/vmferry" --version)" "vmferry $(sed 's/.*"\(.*\)"/\1/' "$BUILD/version.h")" \
    'vmferry --version is the version of the build'
like "$("$root/usr/bin/vmferry" --help)" '^usage: vmferry' 'vmferry runs'

# The modules from where they are, all in one nbdkit.
for filter in progress cbt; do
    [ -f "$BUILD/nbdkit-$filter-filter.so" ] || continue
    ok nbdkit -U - --filter="$filters/nbdkit-$filter-filter.so" memory 1M --run 'nbdinfo "$uri"' -- \
        "the $filter filter serves a disk"
done
ok nbdkit --dump-plugin "$plugins/nbdkit-exportmap-plugin.so" -- 'nbdkit loads the plugin'
is "$(find "$filters" "$plugins" ! -type d ! -perm 755)" '' 'modules are readable by everybody'

for page in "$root"/usr/share/man/man1/*.1.gz; do
    name=$(basename "$page" .1.gz)
    like "$(gzip -dc "$page" | tr -d '\134' | grep -a -A2 '^.SH "*NAME')" "$name - ." "the manual $name"
done
ok test -f "$root/usr/share/man/man1/nbdkit-progress-filter.1.gz" -- 'manuals of filters are there'

like "$(PATH=$root/usr/bin:$PATH bash -c '. "$1"; COMP_WORDS=(vmferry --ver) COMP_CWORD=1; _vmferry; echo "${COMPREPLY[@]}"' \
    - "$root/usr/share/bash-completion/completions/vmferry")" '^--version$' 'completion'

for unit in "$top"/plugins/*/server/*.{service,socket}; do
    [ -f "$unit" ] || continue
    ok cmp "$unit" "$root/usr/lib/systemd/system/$(basename "$unit")" -- "the unit $(basename "$unit")"
done
for file in "$top"/share/vmferry/* "$top"/scripts/vmferry-*; do
    found=$(find "$root/usr" -name "$(basename "$file")" -type f)
    like "$found" . "$(basename "$file") is installed"
done

ok make_install uninstall /usr -- 'make uninstall'
is "$(find "$root" ! -type d)" '' 'nothing is left'

ok make_install install /opt/v -- 'make install with another PREFIX'
ok test -x "$root/opt/v/bin/vmferry" -- 'programs go there'
ok test -f "$filters/nbdkit-progress-filter.so" -- "modules go where nbdkit looks all the same"

# For editors: one entry a source file, and it is the command that compiles it.
(cd "$top" && scripts/compile-commands) >"$tmp/commands.json"
is "$(jq -r '.[].file' "$tmp/commands.json" | grep -c '^common/')" \
    "$(find "$top/common" -name '*.c' | wc -l)" 'compile_commands.json has every file'
like "$(jq -r '.[] | select(.file == "common/error.c").command' "$tmp/commands.json")" \
    '-std=gnu17 .* -c -o .*error.o common/error.c$' 'and its command'

# The packages' flags are there whatever stands beside the goal, and objects stay for the next make.
like "$(MAKEFLAGS='' make -C "$top" -n V=1 clean all BUILD="$tmp/fresh")" ' -lsqlite3 .*-lvirt' 'make clean all knows the packages'
ok test -f "$BUILD/filters/cbt/cbt.o" -- 'the objects of modules stay'
like "$(make -C "$top" --no-print-directory help)" 'make check .*make install ' 'make help'
done_testing
