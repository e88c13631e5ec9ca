#!/usr/bin/env bash
# Plays svs-bot for the tests of the scripts: its moods are files under $FAKE; every call is written down.
set -euo pipefail
VERSION=1.0.0
[ "$#" -gt 0 ] || exit 2
printf '%s %s\n' "$VERSION" "$*" >>"$FAKE/bot.calls"
command=$1
shift
env='' data='' out='' rest=()
while [ $# -gt 0 ]; do
    case $1 in
        --env-file) env=$2 && shift ;;
        --data-dir) data=$2 && shift ;;
        --out) out=$2 && shift ;;
        --within) shift ;;
        --*) ;;
        *) rest+=("$1") ;;
    esac
    shift
done
mood() { [ -e "$FAKE/$1" ]; }
case $command in
    --version) echo "svs-bot $VERSION stand-in" ;;
    check)
        if mood check-fails; then echo 'fail telegram: 401' && exit 1; fi
        grep -q '^TELEGRAM_BOT_TOKEN=.' "$env"
        ;;
    status)
        running=false ready=false
        if mood active.svs-bot && ! mood "sick.$VERSION"; then
            running=true
            if ! mood unready; then ready=true; fi
        fi
        # A bot that falls ill after so many looks.
        if [ -s "$FAKE/ill-after" ]; then
            left=$(($(cat "$FAKE/ill-after") - 1))
            echo "$left" >"$FAKE/ill-after"
            [ "$left" -gt 0 ] || rm -f "$FAKE/active.svs-bot" "$FAKE/ill-after"
        fi
        printf '{"running": %s, "ready": %s}\n' "$running" "$ready"
        ;;
    backup) cp "$data/svs-bot.db" "${rest[0]}" ;;
    drain)
        rc=$(cat "$FAKE/drain-exit" 2>/dev/null || echo 0)
        [ "$rc" != 0 ] || rm -f "$FAKE/active.svs-bot"
        exit "$rc"
        ;;
    import) ! mood import-fails ;;
    env) printf 'TELEGRAM_BOT_TOKEN=carried\n' >"$out" ;;
    sync) exit "$(cat "$FAKE/sync-exit" 2>/dev/null || echo 0)" ;;
    *) echo "stand-in: svs-bot $command: not played" >&2 && exit 64 ;;
esac
