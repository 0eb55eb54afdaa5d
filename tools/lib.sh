# Shared by tools/up, tools/check and tools/bench. POSIX sh; sourced from the root of the checkout.

say() { printf '%s\n' "$*" >&2; }

# usage FILE: what the comment at its head says.
usage() { sed -n '2,/^set /s/^# //p' "$1"; }

# env_file FILE: sets what its lines NAME=VALUE say and the environment does not. Values are taken as they stand: nothing in them is
# expanded or run, quotes around them go. A name that stands twice has its last value.
env_file() {
    here=" $(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p' | tr '\n' ' ')"
    number=0
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        case $line in "#"*) continue ;; esac
        line=$(printf '%s' "$line" | sed "1s/^$(printf '\357\273\277')//; s/$(printf '\r')\$//; s/^[[:blank:]]*//; s/[[:blank:]]*\$//; s/^export[[:blank:]]*//; s/=[[:blank:]]*/=/")
        case $line in "" | "#"*) continue ;; esac
        name=${line%%=*}
        case $line in *=*) ;; *) name=- ;; esac
        case $name in "" | [0-9]* | *[!A-Za-z0-9_]*) say "$1, line $number: NAME=VALUE is needed"; return 2 ;; esac
        value=${line#*=}
        case $value in
        \"*\") value=${value#?} value=${value%?} ;;
        \'*\') value=${value#?} value=${value%?} ;;
        \"* | \'*) value=$(printf '%s' "$value" | sed "s/^\([\"']\)\(.*\)\1[[:blank:]]\{1,\}#.*\$/\2/") ;;
        *) value=$(printf '%s' "$value" | sed 's/^#.*$//; s/[[:blank:]]\{1,\}#.*$//') ;;
        esac
        case $here in *" $name "*) ;; *) export "$name=$value" ;; esac
    done <"$1"
}

# release: the number of this Debian.
release() { (. /etc/os-release && echo "${VERSION_ID:-}") 2>/dev/null || :; }

# packages SECTION...: installs what is missing of these sections of tools/packages.txt.
packages() {
    missing=
    for section in "$@"; do
        for name in $(sed -n "s/^$section\($(release)\)\{0,1\} //p" tools/packages.txt); do
            # A command that is there already serves as well as Debian's package of that name.
            case $name in nodejs) command -v node >/dev/null && continue ;; npm) command -v npm >/dev/null && continue ;; esac
            state=$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null) || state=
            [ "$state" = installed ] || missing="$missing $name"
        done
    done
    [ -n "$missing" ] || return 0
    say "installing:$missing"
    root=
    [ "$(id -u)" = 0 ] || root=sudo
    # shellcheck disable=SC2086
    { $root apt-get update -q && $root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing; } >"$log_dir/apt.log" 2>&1 || {
        tail -n 20 "$log_dir/apt.log" >&2
        ! grep -q "locate package libh2o" "$log_dir/apt.log" || say "Debian 13 has no h2o: README.md says where to take it from"
        say "installing packages failed; the whole log is $log_dir/apt.log"
        return 1
    }
}

# build PRESET [TARGET...]: configures when needed (with $KERVAN_CMAKE) and builds; quiet unless it fails. One at a time: two would
# write the same files.
build() (
    preset=$1
    shift
    exec 9>build/lock
    flock -n 9 || { say "waiting for another build"; flock 9; }
    if [ ! -f "build/$preset/build.ninja" ]; then
        # shellcheck disable=SC2086
        cmake --preset "$preset" ${KERVAN_CMAKE:-} >"$log_dir/configure-$preset.log" 2>&1 9>&- || { cat "$log_dir/configure-$preset.log" >&2; return 1; }
    fi
    ninja -C "build/$preset" "$@" >"$log_dir/build-$preset.log" 2>&1 9>&- || { tail -n 60 "$log_dir/build-$preset.log" >&2; return 1; }
)

log_dir=${KERVAN_BUILD_LOGS:-build/logs}
mkdir -p build "$log_dir"
# npm writes below HOME, and a service's user has none.
[ -w "${HOME:-}" ] || export npm_config_cache="${npm_config_cache:-$PWD/build/npm}"
