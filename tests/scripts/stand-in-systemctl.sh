#!/usr/bin/env bash
# Plays systemctl for the tests: units are files under $FAKE; every call is written down.
set -euo pipefail
verb='' units=()
for word in "$@"; do
    case $word in
        -*) ;;
        *) if [ -z "$verb" ]; then verb=$word; else units+=("$word"); fi ;;
    esac
done
printf '%s %s\n' "$verb" "${units[*]-}" >>"$FAKE/systemctl.calls"
unit=${units[0]:-}
unit=${unit%.service}
case $verb in
    is-active) [ -e "$FAKE/active.$unit" ] ;;
    is-enabled) [ -e "$FAKE/enabled.$unit" ] ;;
    start | restart)
        [ ! -e "$FAKE/start-fails.$unit" ] || exit 1
        touch "$FAKE/active.$unit"
        ;;
    stop)
        [ ! -e "$FAKE/stop-fails.$unit" ] || exit 1
        rm -f "$FAKE/active.$unit"
        ;;
    enable) touch "$FAKE/enabled.$unit" ;;
    disable) rm -f "$FAKE/enabled.$unit" ;;
    cat) [ -e "$FAKE/known.$unit" ] ;;
    daemon-reload) ;;
    *) echo "stand-in: systemctl $verb: not played" >&2 && exit 64 ;;
esac
