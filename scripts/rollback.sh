#!/usr/bin/env bash
# Back to the old bot in under a minute: what was taken from Telegram is answered and synchronised first.
set -euo pipefail

SCRIPT=rollback.sh
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# A program that says nothing this long after its time is hung; the old bot does not wait for it.
HUNG_SECONDS=5

usage() {
    cat <<'TEXT'
use: rollback.sh --old UNIT [OPTION…]

Drains svs-bot (the old bot will not see again what this one has taken), stops it, starts the old bot.

  --old UNIT       the old bot's unit, like svs-bot-python or svs-bot-go
  --within TIME    how long draining may take (default: 40s); then the old bot is started all the same
  --dry-run        print the plan and change nothing
  --root DIR       under DIR instead of /, for tests
  --help           this text

Exit 0: the old bot runs, nothing is left behind. 75: it runs, but something is still stored here,
which `svs-bot sync` sends later. 1: it does not run. SYSTEMCTL names another systemctl.
TEXT
}

old='' within=40s dry=no root=''
while [ $# -gt 0 ]; do
    case $1 in
        --old | --within | --root) [ $# -ge 2 ] || { echo "$SCRIPT: $1: needs a value: see --help" >&2 && exit 2; } ;;
    esac
    case $1 in
        --old) old=${2%.service} && shift ;;
        --within) within=$2 && shift ;;
        --dry-run) dry=yes ;;
        --root) root=${2%/} && shift ;;
        -h | --help) usage && exit 0 ;;
        *) echo "$SCRIPT: $1: unknown option: see --help" >&2 && exit 2 ;;
    esac
    shift
done
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$HERE/common.sh"
[ -n "$old" ] || misuse 'the old bot: name its unit with --old, like svs-bot-python'
[ "$old" != "$UNIT" ] || misuse "--old $old: is the new one's own unit: name the old bot's"
seconds=$(seconds_of --within "$within")
need_root
need_manager

if [ "$dry" = yes ]; then
    say 'the plan; nothing is changed:'
    say "    would: drain $UNIT within $within: stop polling, answer and synchronise what is stored"
    say "    would: stop and disable $UNIT"
    say "    would: enable and start $old, see that it runs"
    exit 0
fi

left=no
if service is-active "$UNIT"; then
    rc=0
    bot_within $((seconds + HUNG_SECONDS)) drain --within "$within" || rc=$?
    if [ "$rc" = 0 ]; then
        say "[x] drained $UNIT: everything answered and synchronised"
    else
        left=yes
        say "[ ] $UNIT could not be drained within $within (exit $rc): what is stored stays stored"
    fi
elif [ -f "$DATA/svs-bot.db" ]; then
    bot_within "$seconds" sync || left=yes
    say "[x] $UNIT does not run; sent what was left to synchronise$([ "$left" = no ] || echo ', but not all')"
fi
service stop "$UNIT" || true
service disable "$UNIT" 2>/dev/null || true
if service is-active "$UNIT"; then fail "$UNIT: does not stop: kill it, then: systemctl start $old"; fi
say "[x] stopped $UNIT"
service enable "$old" 2>/dev/null || true
service start "$old" || fail "$old: does not start: see journalctl --unit $old"
service is-active "$old" || fail "$old: ended right after its start: see journalctl --unit $old"
say "[x] started $old"
say '[ ] write /status to the bot and read its answer'
if [ "$left" = yes ]; then
    say "[ ] later, when the network or Supabase is back: $BIN sync --data-dir $DATA --env-file $ETC/env"
    exit 75
fi
