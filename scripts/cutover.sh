#!/usr/bin/env bash
# Moves from the Python or Go bot to svs-bot in one go, and goes back by itself when that fails.
set -euo pipefail

SCRIPT=cutover.sh
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LOOK_SECONDS=5
# Telegram lets a new poller in only when the old one's last poll has ended.
UNREADY_SECONDS_MAX=60

usage() {
    cat <<'TEXT'
use: cutover.sh [--old UNIT] [OPTION…]

Checks, backs up, stops the old bot, brings its history in, starts svs-bot and watches it. Whatever
fails after the old bot was stopped, the old bot is started again. Install svs-bot first
(install.sh --local --no-start).

  --old UNIT        the old bot's unit (default: svs-bot-python or svs-bot-go, whichever runs)
  --old-env FILE    its settings, carried over where svs-bot has none yet
  --watch TIME      how long to watch after the start (default: 5m)
  --no-import       do not bring the history in from Supabase
  --dry-run         print the plan and change nothing
  --root DIR        under DIR instead of /, for tests
  --help            this text

DATABASE_URL, where set, is saved with pg_dump. SYSTEMCTL names another systemctl.
A gradual release needs a second bot token with its own data directory: two programs that poll with
one token only steal from each other.
TEXT
}

old='' old_env='' watch=5m import=yes dry=no root=''
while [ $# -gt 0 ]; do
    case $1 in
        --old | --old-env | --watch | --root) [ $# -ge 2 ] || { echo "$SCRIPT: $1: needs a value: see --help" >&2 && exit 2; } ;;
    esac
    case $1 in
        --old) old=${2%.service} && shift ;;
        --old-env) old_env=$2 && shift ;;
        --watch) watch=$2 && shift ;;
        --no-import) import=no ;;
        --dry-run) dry=yes ;;
        --root) root=${2%/} && shift ;;
        -h | --help) usage && exit 0 ;;
        *) echo "$SCRIPT: $1: unknown option: see --help" >&2 && exit 2 ;;
    esac
    shift
done
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$HERE/common.sh"

watch_seconds=$(seconds_of --watch "$watch")

done_item() { say "[x] $*"; }
left_item() { say "[ ] $*"; }
planned() { [ "$dry" = no ] || say "    would: $*"; }

need_root
need_manager
if [ -z "$old" ]; then
    for unit in svs-bot-python svs-bot-go; do
        ! service is-active "$unit" 2>/dev/null || old=$unit
    done
    [ -n "$old" ] || misuse 'the old bot: neither svs-bot-python nor svs-bot-go runs: name its unit with --old'
fi
[ "$old" != "$UNIT" ] || misuse "--old $old: is the new one's own unit: name the old bot's"
stopped=no
kept=$BACKUPS/cutover-$(date -u +%Y%m%dT%H%M%SZ)

# From the moment the old bot is stopped, every way out but success leads back to it.
go_back() {
    local rc=$?
    trap - EXIT
    if [ "$rc" != 0 ] && [ "$stopped" = yes ]; then
        say "going back to $old: $(date -u +%H:%M:%SZ)"
        "$HERE/rollback.sh" --old "$old" --root "$root/" || say "$old: could not be brought back: start it by hand, now"
    fi
    exit "$rc"
}
trap go_back EXIT
trap 'exit 130' INT TERM HUP

check_everything() {
    local found
    [ -x "$BIN" ] || fail "$BIN: not installed: run install.sh --local --no-start first"
    found=$("$BIN" --version | head -n 1) || fail "$BIN: does not start"
    done_item "installed: $found"
    service is-active "$old" || fail "$old: does not run: nothing to move over from; start it, or use install.sh alone"
    done_item "the old bot runs: $old"
    if service is-active "$UNIT"; then fail "$UNIT: runs already beside $old: stop it first"; fi
    if [ ! -s "$ETC/env" ] || ! grep -qE '^[[:space:]]*(export )?[A-Z_]*TOKEN[A-Z_]*=.' "$ETC/env"; then
        [ -n "$old_env" ] || fail "$ETC/env: has no token yet: fill it in, or name the old settings with --old-env"
        carry_settings
    fi
    # A dry run did not write the settings that it would carry over.
    if [ "$carried" = yes ] && [ "$dry" = yes ]; then return 0; fi
    bot check || fail 'check: not everything is right, see above: mend it first; the old bot still runs'
    done_item 'settings, database, Telegram (getMe), keys and Supabase are as they should be'
}

carried=no
carry_settings() {
    [ -r "$old_env" ] || fail "$old_env: cannot be read: name the old bot's settings file with --old-env"
    carried=yes
    planned "carry $old_env over to $ETC/env"
    [ "$dry" = no ] || return 0
    "$BIN" env --out "$ETC/env.new" "$old_env" || fail "$old_env: could not be carried over: see above"
    if [ -e "$ETC/env" ]; then mv "$ETC/env" "$ETC/env.before-cutover"; fi
    mv "$ETC/env.new" "$ETC/env"
    [ -n "$root" ] || chown "root:$USER_NAME" "$ETC/env"
    chmod 0640 "$ETC/env"
    done_item "settings carried over from $old_env"
}

back_up() {
    planned "keep settings, database and, with DATABASE_URL, a pg_dump in $kept"
    [ "$dry" = no ] || return 0
    (umask 077 && mkdir -p "$kept")
    install -m 0600 "$ETC/env" "$kept/svs-bot.env"
    [ -z "$old_env" ] || install -m 0600 "$old_env" "$kept/$old.env"
    done_item "settings backed up in $kept"
    if [ -f "$DATA/svs-bot.db" ]; then
        [ -n "$root" ] || chown "$USER_NAME" "$kept"
        bot backup "$kept/svs-bot.db" >/dev/null || fail 'backup: the database could not be copied: is the disk full?'
        done_item 'our database backed up'
    fi
    if [ -n "${DATABASE_URL:-}" ] && command -v pg_dump >/dev/null; then
        (umask 077 && PGDATABASE=$DATABASE_URL pg_dump --table chat_history --table user_registry >"$kept/supabase.sql") ||
            fail 'pg_dump: failed: see above; the old bot still runs'
        done_item 'the tables in Supabase backed up'
    else
        left_item 'a backup of the tables in Supabase is yours: its dashboard, or DATABASE_URL and pg_dump'
    fi
}

bring_history() {
    [ "$import" = yes ] || return 0
    planned "bring the history in from Supabase: $1"
    [ "$dry" = no ] || return 0
    local rc=0
    bot import supabase || rc=$?
    [ "$rc" = 0 ] || fail "import: failed ($1): see above; said again it goes on where it stopped, or --no-import"
    done_item "history brought in: $1"
}

stop_old() {
    planned "stop and disable $old, enable and start $UNIT, watch it for $watch"
    [ "$dry" = no ] || return 0
    stopped=yes
    service stop "$old" || fail "$old: does not stop"
    if service is-active "$old"; then fail "$old: still runs after its stop"; fi
    service disable "$old" 2>/dev/null || true
    done_item "stopped $old"
}

watch_health() {
    local end=$((SECONDS + watch_seconds)) unready_since=$SECONDS ready=no
    while :; do
        service is-active "$UNIT" || fail "$UNIT: ended while watched: see journalctl --unit $UNIT"
        if status_is ready; then
            ready=yes unready_since=$SECONDS
        elif [ $((SECONDS - unready_since)) -ge "$UNREADY_SECONDS_MAX" ]; then
            fail "$UNIT: not ready for $UNREADY_SECONDS_MAX s: see svs-bot status"
        fi
        # A short watch still waits for the first sign of health.
        if [ "$SECONDS" -ge "$end" ] && [ "$ready" = yes ] && [ "$unready_since" -ge $((SECONDS - LOOK_SECONDS)) ]; then
            return 0
        fi
        sleep "$LOOK_SECONDS"
    done
}

[ "$dry" = no ] || say "the plan, from $old to $UNIT; nothing is changed:"
check_everything
back_up
# The bulk while the old bot still answers, so that the pause is short.
bring_history 'all there is so far'
stop_old
bring_history 'the tail'
# What no program can do; the plan shows it beforehand.
for_a_person() {
    left_item 'write /start, /status and /help to the bot and read its answers'
    left_item "look again over 24 hours: svs-bot status, journalctl --unit $UNIT, the alerts"
    left_item "after that clean up: the unit $old, its folder, its settings; $kept when you no longer need it"
}
if [ "$dry" = yes ]; then
    say 'and leave to you:'
    left_item 'first, if you want a gradual release: a second bot token with its own data directory (svs-bot@NAME.service)'
    for_a_person
    exit 0
fi
service enable "$UNIT"
service start "$UNIT" || fail "$UNIT: does not start: see journalctl --unit $UNIT"
done_item "started $UNIT"
watch_health
done_item "healthy for $watch"
stopped=no
for_a_person
say "going back, at any time: $HERE/rollback.sh --old $old"
