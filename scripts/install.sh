#!/usr/bin/env bash
# Puts svs-bot on a box, or a newer one over it, and sees that it runs.
set -euo pipefail

SCRIPT=install.sh
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
START_SECONDS_MAX=90

usage() {
    cat <<'TEXT'
use: install.sh HOST|--local [OPTION…]

Installs the binary, its user, folders and service, and starts it. HOST is anything ssh understands.
Run again it upgrades: the database is copied and the old binary kept first, and when the new one
does not run, the old one comes back by itself.

  --binary FILE   the program (default: the one in dist/ that fits the machine)
  --env FILE      settings to install where there are none yet (default: the example, to be filled in)
  --rollback      swap the binary with the one before; twice is forward again
  --no-start      install only
  --no-backup     upgrade without a copy of the database
  --root DIR      under DIR instead of /, without user and owner; to try it out
  --help          this text

SSH, SCP and SYSTEMCTL name other programs to use.
TEXT
}

host='' binary='' env='' rollback=no start=yes backup=yes root='' local=no
pass=()
while [ $# -gt 0 ]; do
    case $1 in
        --binary | --env | --root) [ $# -ge 2 ] || { echo "$SCRIPT: $1: needs a value: see --help" >&2 && exit 2; } ;;
    esac
    case $1 in
        --local) local=yes ;;
        --binary) binary=$2 && shift ;;
        --env) env=$2 && shift ;;
        --root) root=${2%/} && pass+=(--root "$2") && shift ;;
        --rollback) rollback=yes && pass+=(--rollback) ;;
        --no-start) start=no && pass+=(--no-start) ;;
        --no-backup) backup=no && pass+=(--no-backup) ;;
        -h | --help) usage && exit 0 ;;
        -*) echo "$SCRIPT: $1: unknown option: see --help" >&2 && exit 2 ;;
        *) host=$1 ;;
    esac
    shift
done
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$HERE/common.sh"
if [ "$local" = yes ] && [ -n "$host" ]; then misuse "$host: --local or a host, not both"; fi
if [ "$local" = no ] && [ -z "$host" ]; then misuse 'where to: name a host, or say --local: see --help'; fi

SHARED=(common.sh backup.sh cutover.sh rollback.sh uninstall.sh litestream.yml svs-bot.env.example
    svs-bot.service svs-bot@.service svs-bot-backup.service svs-bot-backup.timer svs-bot-sync.service
    svs-bot-sync.timer svs-bot.openrc svs-bot-sync.cron svs-bot-backup.cron svs-bot.logrotate)

# The binary for a machine name of uname, from the build's folder or from beside this script.
binary_for() {
    local target found
    case $1 in
        x86_64 | aarch64) target=$1-unknown-linux-musl ;;
        armv7l | armv8l) target=armv7-unknown-linux-musleabihf ;;
        *) fail "$1: no build for this machine: x86_64, aarch64 and armv7 there are" ;;
    esac
    found=$(find "$HERE" "$HERE/../dist" -maxdepth 1 -name "svs-bot-*-$target" -type f 2>/dev/null | sort -V | tail -n 1)
    [ -n "$found" ] || fail "$target: not built yet: run cross/build.sh $1, or name the program with --binary"
    printf '%s\n' "$found"
}

to_host() {
    local files=("$HERE/install.sh") name
    if [ "$rollback" = no ]; then
        [ -n "$binary" ] || binary=$(binary_for "$("${SSH:-ssh}" "$host" uname -m)")
        files+=("$binary")
        [ -z "$env" ] || files+=("$env")
    fi
    for name in "${SHARED[@]}"; do [ ! -f "$HERE/$name" ] || files+=("$HERE/$name"); done
    # On the host both lie beside the script, where it looks too.
    [ -z "$binary" ] || pass+=(--binary "$(basename "$binary")")
    [ -z "$env" ] || pass+=(--env "$(basename "$env")")
    on_host "$host" "${files[@]}"
}

make_user() {
    [ -z "$root" ] || return 0
    id "$USER_NAME" >/dev/null 2>&1 && return 0
    if command -v useradd >/dev/null; then
        useradd --system --user-group --home-dir "$DATA" --no-create-home --shell /usr/sbin/nologin "$USER_NAME"
    else
        addgroup -S "$USER_NAME" && adduser -S -D -H -h "$DATA" -s /sbin/nologin -G "$USER_NAME" "$USER_NAME"
    fi
}

# owned OWNER:GROUP MODE PATH
owned() {
    [ -n "$root" ] || chown "$1" "$3"
    chmod "$2" "$3"
}

make_places() {
    mkdir -p "$(dirname "$BIN")" "$LIB" "$ETC" "$DATA" "$BACKUPS"
    owned "root:$USER_NAME" 0750 "$ETC"
    owned "$USER_NAME:$USER_NAME" 0700 "$DATA"
    owned "$USER_NAME:$USER_NAME" 0700 "$BACKUPS"
}

put_settings() {
    if [ -e "$ETC/env" ]; then
        say "kept     $ETC/env"
    else
        install -m 0600 "${env:-$HERE/svs-bot.env.example}" "$ETC/env"
        # So that commands typed by a person find the same data as the service does.
        if ! grep -qE '^(export )?DATA_DIR=' "$ETC/env"; then
            printf '\n# where the service keeps its data\nDATA_DIR=%s\n' "$DATA" >>"$ETC/env"
        fi
        say "made     $ETC/env"
    fi
    owned "root:$USER_NAME" 0640 "$ETC/env"
}

put_service() {
    local name mode
    for name in "${SHARED[@]}" install.sh; do
        case $name in *.service | *.timer) continue ;; *.sh) mode=0755 ;; *) mode=0644 ;; esac
        [ ! -f "$HERE/$name" ] || [ "$HERE" -ef "$LIB" ] || install -m "$mode" "$HERE/$name" "$LIB/$name"
    done
    if [ "$(manager)" = openrc ]; then
        install -D -m 0755 "$HERE/svs-bot.openrc" "$root/etc/init.d/$UNIT"
        return
    fi
    for name in "${SHARED[@]}"; do
        case $name in *.service | *.timer) ;; *) continue ;; esac
        [ ! -f "$HERE/$name" ] || install -D -m 0644 "$HERE/$name" "$root/etc/systemd/system/$name"
    done
    reload_units
}

# Swaps the program in one step: a start in between finds the old or the new one, never half of one.
put_binary() {
    install -m 0755 "$1" "$BIN.new"
    mv -f "$BIN.new" "$BIN"
}

copy_database() {
    [ "$backup" = yes ] && [ -f "$DATA/svs-bot.db" ] || return 0
    local copy
    copy=$BACKUPS/before-upgrade-$(date -u +%Y%m%dT%H%M%SZ).db
    as_bot "$BIN" backup --data-dir "$DATA" "$copy" >/dev/null ||
        fail "upgrade: no copy of the database could be made: see above, then say it again, or --no-backup"
    say "copied   the database to $copy"
}

settings_complete() { bot check --offline >/dev/null 2>&1; }

swap_back() {
    install -m 0755 "$PREVIOUS" "$PREVIOUS.next"
    install -m 0755 "$BIN" "$PREVIOUS"
    put_binary "$PREVIOUS.next"
    rm -f "$PREVIOUS.next"
}

start_and_see() {
    service enable "$UNIT"
    service restart "$UNIT" && running_within "$START_SECONDS_MAX"
}

version_of() { "$1" --version 2>/dev/null | head -n 1; }

roll_back() {
    [ -f "$PREVIOUS" ] || fail "rollback: there is no binary of before: $PREVIOUS is missing"
    swap_back
    say "now      $(version_of "$BIN")"
    [ "$start" = yes ] && [ "$(manager)" != none ] || return 0
    start_and_see && say 'running' && return 0
    fail "rollback: it does not start: if the log names a newer database, put the copy of before the upgrade back:" \
        "$LIB/backup.sh restore --force --from FILE of $BACKUPS"
}

install_here() {
    local upgrade=no
    [ -n "$binary" ] || binary=$(binary_for "$(uname -m)")
    [ -f "$binary" ] || binary=$HERE/$binary
    [ -z "$env" ] || [ -f "$env" ] || env=$HERE/$env
    [ -f "$binary" ] || fail "$binary: no such program"
    binary=$(realpath "$binary")
    [ -n "$(version_of "$binary")" ] || fail "$binary: does not start here: is it for $(uname -m)?"
    [ -z "$env" ] || [ -f "$env" ] || fail "$env: no such settings file"
    make_user
    make_places
    if [ -f "$BIN" ] && ! cmp -s "$binary" "$BIN"; then
        upgrade=yes
        copy_database
        install -m 0755 "$BIN" "$PREVIOUS"
        say "kept     $(version_of "$PREVIOUS")"
    fi
    put_binary "$binary"
    say "put      $(version_of "$BIN")"
    put_settings
    put_service
    if [ "$start" = no ] || [ "$(manager)" = none ]; then
        say "not started; start it with: $BIN run --env-file $ETC/env --data-dir $DATA"
        return
    fi
    if ! settings_complete && [ "$upgrade" = no ]; then
        say "not started: the settings are not complete yet. Next:"
        say "  edit $ETC/env, see with: svs-bot check --env-file $ETC/env, then run this again"
        return
    fi
    if start_and_see; then
        say 'running'
        return
    fi
    [ "$upgrade" = yes ] || fail "it does not start: see journalctl --unit $UNIT (or /var/log/svs-bot.log)"
    swap_back
    start_and_see || fail "upgrade: neither the new nor the old one starts: see journalctl --unit $UNIT"
    fail "upgrade: the new one does not start, the old one runs again: see journalctl --unit $UNIT"
}

if [ -n "$host" ]; then
    to_host
    exit
fi
need_root
if [ "$rollback" = yes ]; then roll_back; else install_here; fi
