#!/usr/bin/env bash
# Takes svs-bot off a box; settings and data stay unless told otherwise.
set -euo pipefail

SCRIPT=uninstall.sh
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<'TEXT'
use: uninstall.sh HOST|--local [OPTION…]

Stops and removes the service and the program. Settings, data and backups stay.

  --purge      also remove settings, data and the user; backups stay; asks first
  --yes        do not ask
  --root DIR   under DIR instead of /
  --help       this text
TEXT
}

host='' purge=no yes=no root='' local=no
pass=()
while [ $# -gt 0 ]; do
    case $1 in
        --local) local=yes ;;
        --purge) purge=yes && pass+=(--purge) ;;
        --yes) yes=yes && pass+=(--yes) ;;
        --root)
            [ $# -ge 2 ] || { echo "$SCRIPT: --root: needs a folder" >&2 && exit 2; }
            root=${2%/} && pass+=(--root "$2") && shift
            ;;
        -h | --help) usage && exit 0 ;;
        -*) echo "$SCRIPT: $1: unknown option: see --help" >&2 && exit 2 ;;
        *) host=$1 ;;
    esac
    shift
done
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$HERE/common.sh"
if [ "$local" = yes ] && [ -n "$host" ]; then misuse "$host: --local or a host, not both"; fi
if [ "$local" = no ] && [ -z "$host" ]; then misuse 'where from: name a host, or say --local: see --help'; fi

if [ "$purge" = yes ] && [ "$yes" = no ]; then
    [ -t 0 ] || misuse 'purge: would remove settings and data: say --yes where nobody can be asked'
    read -r -p 'Remove settings and data for good? Type yes: ' answer
    [ "$answer" = yes ] || fail 'nothing removed'
    pass+=(--yes)
fi
if [ -n "$host" ]; then
    on_host "$host" "$HERE/uninstall.sh" "$HERE/common.sh"
    exit
fi
need_root

if [ "$(manager)" != none ]; then
    for unit in svs-bot-backup.timer svs-bot-sync.timer "$UNIT"; do
        service stop "$unit" 2>/dev/null || true
        service disable "$unit" 2>/dev/null || true
    done
    ! service is-active "$UNIT" 2>/dev/null || fail "$UNIT: still running: stop it first"
fi
rm -f "$root"/etc/systemd/system/svs-bot{,@,-backup,-sync}.service "$root"/etc/systemd/system/svs-bot-{backup,sync}.timer \
    "$root/etc/init.d/$UNIT" "$root"/etc/cron.d/svs-bot-{backup,sync} "$BIN"
rm -rf "$LIB"
reload_units
say 'removed the service and the program'
if [ "$purge" = yes ]; then
    rm -rf "$ETC" "$DATA"
    if [ -z "$root" ] && id "$USER_NAME" >/dev/null 2>&1; then userdel "$USER_NAME" 2>/dev/null || deluser "$USER_NAME"; fi
    say "removed settings and data; backups, if any, are still in $BACKUPS"
else
    say "kept $ETC, $DATA and $BACKUPS"
fi
