#!/usr/bin/env bash
# cutover.sh and rollback.sh with stand-ins: the way over, and every way back.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export FAKE=$SCRATCH/fake SYSTEMCTL=$PWD/tests/scripts/stand-in-systemctl.sh
BOX=$SCRATCH/box
OLD=$SCRATCH/old.env
mkdir -p "$SCRATCH/scripts"
find scripts -maxdepth 1 -type f -exec cp {} "$SCRATCH/scripts/" \;
sed -i 's/^LOOK_SECONDS=.*/LOOK_SECONDS=1/; s/^UNREADY_SECONDS_MAX=.*/UNREADY_SECONDS_MAX=3/' "$SCRATCH/scripts/cutover.sh"
printf 'TELEGRAM_BOT_SVSKILO_TOKEN=42:old-secret\n' >"$OLD"

# A box with svs-bot installed and the old bot running.
new_box() {
    rm -rf "$BOX" "$FAKE"
    mkdir -p "$FAKE"
    scripts/install.sh --local --root "$BOX" --no-start --binary tests/scripts/stand-in-bot.sh >/dev/null
    printf 'TELEGRAM_BOT_TOKEN=42:new-secret\n' >"$BOX/etc/svs-bot/env"
    echo rows >"$BOX/var/lib/svs-bot/svs-bot.db"
    touch "$FAKE/active.svs-bot-go" "$FAKE/enabled.svs-bot-go"
    : >"$FAKE/systemctl.calls"
}

# shellcheck disable=SC2120 # arguments are for the faulty runs below
cutover() { "$SCRATCH/scripts/cutover.sh" --root "$BOX" --watch 2s "$@"; }
rollback() { "$SCRATCH/scripts/rollback.sh" --root "$BOX" --old svs-bot-go "$@"; }
active() { [ -e "$FAKE/active.$1" ]; }
only_old() { active svs-bot-go && ! active svs-bot && [ -e "$FAKE/enabled.svs-bot-go" ] && [ ! -e "$FAKE/enabled.svs-bot" ]; }
only_new() { active svs-bot && ! active svs-bot-go && [ -e "$FAKE/enabled.svs-bot" ] && [ ! -e "$FAKE/enabled.svs-bot-go" ]; }
untouched() { only_old && ! grep -qE '^(start|stop|restart|enable|disable)' "$FAKE/systemctl.calls"; }

# comes_back SENTENCE TEXT: the move fails, and the old bot runs again.
comes_back() {
    refuses "$1" 1 "$2" cutover
    hides "$1: no secret is printed" secret
    holds "$1: the old bot is back" only_old
    holds "$1: it was stopped before" grep -q '^stop svs-bot-go' "$FAKE/systemctl.calls"
}

# stays SENTENCE TEXT [OPTION…]: the move fails before anything is touched.
stays() {
    refuses "$1" 1 "$2" cutover "${@:3}"
    holds "$1: nothing was touched" untouched
}

new_box
holds 'a dry run' cutover --dry-run
says 'prints the plan' 'would: stop and disable svs-bot-go'
says 'and what is left for a person' '[ ] first, if you want a gradual release'
holds 'and touches nothing' untouched
holds 'the way over' cutover
says 'leaves a list for a person' '[ ] write /start'
hides 'prints no secret' secret
holds 'ends with the new bot' only_new
same "$(grep -c 'import' "$FAKE/bot.calls")" 2
kept=$(find "$BOX/var/lib/svs-bot-backup" -name 'cutover-*')
same "$(mode_of "$kept")" 700
holds 'settings and data are kept' cmp -s "$kept/svs-bot.db" "$BOX/var/lib/svs-bot/svs-bot.db"

holds 'a dry run back' rollback --dry-run
holds 'changes nothing' only_new
began=$SECONDS
holds 'the way back' rollback
holds 'drains' grep -q drain "$FAKE/bot.calls"
holds 'ends with the old bot' only_old
holds 'in under a minute' test $((SECONDS - began)) -lt 60

new_box && cutover >/dev/null
echo 75 >"$FAKE/drain-exit"
refuses 'what could not be drained is said' 75 'could not be drained' rollback
holds 'but the old bot runs' only_old
new_box
echo 75 >"$FAKE/sync-exit"
refuses 'a dead new bot with rows left' 75 'not all' rollback
holds 'gives way too' only_old
new_box && cutover >/dev/null
touch "$FAKE/start-fails.svs-bot-go"
refuses 'an old bot that does not start is an error' 1 'does not start' rollback
refuses 'without a service manager it says so' 1 'no service manager here' env -u SYSTEMCTL "$SCRATCH/scripts/cutover.sh" --root "$BOX" --dry-run
refuses 'and so does the way back' 1 'no service manager here' env -u SYSTEMCTL "$SCRATCH/scripts/rollback.sh" --root "$BOX" --old svs-bot-go --dry-run
refuses 'the old bot must be named' 2 '--old' "$SCRATCH/scripts/rollback.sh" --root "$BOX"
refuses 'and be another one' 2 'own unit' rollback --old svs-bot

new_box && touch "$FAKE/check-fails"
stays 'a failing check' 'mend it first'
new_box && touch "$FAKE/import-fails"
stays 'a failing first import' 'import: failed'
new_box && touch "$FAKE/active.svs-bot"
refuses 'a new bot that runs already' 1 'runs already' cutover
new_box && rm "$FAKE/active.svs-bot-go"
refuses 'no old bot' 2 '--old' cutover
new_box && rm "$BOX/usr/local/bin/svs-bot"
stays 'no new bot' 'not installed'
new_box && cp scripts/svs-bot.env.example "$BOX/etc/svs-bot/env"
stays 'no settings' '--old-env'
refuses 'a wrong time' 2 'takes a time' cutover --watch soon

holds 'old settings are carried over' cutover --old-env "$OLD"
holds 'into the new file' grep -q carried "$BOX/etc/svs-bot/env"
same "$(mode_of "$BOX/etc/svs-bot/env")" 640
holds 'and kept' cmp -s "$OLD" "$(find "$BOX/var/lib/svs-bot-backup" -name svs-bot-go.env)"

new_box && touch "$FAKE/start-fails.svs-bot"
comes_back 'a new bot that does not start' 'does not start'
new_box && touch "$FAKE/unready"
comes_back 'one that never gets ready' 'not ready'
new_box && echo 1 >"$FAKE/ill-after"
comes_back 'one that falls ill' 'ended while watched'
new_box && touch "$FAKE/stop-fails.svs-bot-go"
refuses 'an old bot that does not stop' 1 'does not stop' cutover
holds 'goes on alone' only_old

new_box
"$SCRATCH/scripts/cutover.sh" --root "$BOX" --watch 60s >/dev/null 2>&1 &
move=$!
started+=("$move")
wait_for 20 'the new bot' active svs-bot
kill -TERM "$move"
wait "$move" || true
holds 'a move broken off by hand goes back too' only_old
