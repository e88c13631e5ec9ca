# shellcheck shell=bash disable=SC2034 # used by the scripts that source this
# What install, uninstall, cutover and rollback share. Sourced; `root` is empty or a scratch root, `pass` the
# options that a host is given too.

UNIT=svs-bot
USER_NAME=svs-bot
: "${root:=}"
declare -p pass >/dev/null 2>&1 || pass=()
BIN=$root/usr/local/bin/svs-bot
LIB=$root/usr/local/lib/svs-bot
ETC=$root/etc/svs-bot
DATA=${DATA_DIR:-$root/var/lib/svs-bot}
BACKUPS=$root/var/lib/svs-bot-backup
PREVIOUS=$LIB/svs-bot.previous

fail() {
    printf '%s: %s\n' "${SCRIPT:-svs-bot}" "$*" >&2
    exit 1
}
misuse() {
    printf '%s: %s\n' "${SCRIPT:-svs-bot}" "$*" >&2
    exit 2
}
say() { printf '%s\n' "$*"; }

# The service manager at hand: systemd, openrc or none. SYSTEMCTL names another systemctl, as tests do.
manager() {
    if [ -n "${SYSTEMCTL:-}" ]; then
        echo systemd
    elif [ -n "$root" ]; then
        echo none
    elif [ -d /run/systemd/system ]; then
        echo systemd
    elif command -v rc-service >/dev/null; then
        echo openrc
    else
        echo none
    fi
}

# service start|stop|restart|enable|disable|is-active UNIT
service() {
    case $(manager):$1 in
        systemd:is-active) "${SYSTEMCTL:-systemctl}" is-active --quiet "$2" ;;
        systemd:*) "${SYSTEMCTL:-systemctl}" --quiet "$1" "$2" ;;
        openrc:enable) rc-update --quiet add "$2" default ;;
        openrc:disable) rc-update --quiet del "$2" default ;;
        openrc:is-active) rc-service --quiet "$2" status ;;
        openrc:*) rc-service --quiet "$2" "$1" ;;
        none:*) fail "$2: no service manager here: start '$BIN run' as the user $USER_NAME by whatever you use" ;;
    esac
}

# Moving between two programs is stopping one service and starting another.
need_manager() {
    [ "$(manager)" != none ] ||
        fail "no service manager here, neither systemd nor OpenRC: stop and start the two programs by what you use," \
            "with '$BIN drain' before going back"
}

reload_units() { [ "$(manager)" != systemd ] || "${SYSTEMCTL:-systemctl}" daemon-reload; }

# Runs a command as the bot's user, so that no file of root's ends up in its data.
as_bot() {
    if [ "$(id -u)" != 0 ] || [ -n "$root" ] || ! id "$USER_NAME" >/dev/null 2>&1; then
        "$@"
    elif command -v runuser >/dev/null; then
        runuser -u "$USER_NAME" -- "$@"
    else
        # shellcheck disable=SC2016 # expanded by the inner shell
        su -s /bin/sh -c '"$0" "$@"' "$USER_NAME" -- "$@"
    fi
}

# bot COMMAND [ARGUMENT…]: a subcommand of the installed program with its settings and data.
bot() {
    local command=$1
    shift
    as_bot "$BIN" "$command" --env-file "$ETC/env" --data-dir "$DATA" "$@"
}

# What `status --json` says of a yes-or-no field.
status_is() { bot status --json 2>/dev/null | grep -qE "\"$1\": *true"; }

running() { service is-active "$UNIT" && status_is running; }

# running_within SECONDS
running_within() {
    local end=$((SECONDS + $1))
    until running; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 1
    done
}

# seconds_of OPTION TIME
seconds_of() {
    case $2 in
        *[!0-9smh]* | '' | [smh]* | *[smh]?*) misuse "$1 $2: takes a time like 90s, 5m or 1h" ;;
        *s) echo $((10#${2%s})) ;;
        *m) echo $((10#${2%m} * 60)) ;;
        *h) echo $((10#${2%h} * 3600)) ;;
        *) echo $((10#$2)) ;;
    esac
}

# bot_within SECONDS COMMAND [ARGUMENT…]: as `bot`, but a hung program is not waited for.
bot_within() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    root=$root timeout --kill-after=2 "$1" bash -c '. "$0/common.sh" && bot "$@"' "$HERE" "${@:2}"
}

need_root() {
    [ "$(id -u)" = 0 ] || [ -n "$root" ] || fail "needs root: run it with sudo, or with --root DIR to try it out"
}

# on_host HOST FILES…: copies them into a folder of the host's own and runs the first there with "${pass[@]}".
on_host() {
    local host=$1 folder sudo='' rc=0 words
    shift
    folder=$("${SSH:-ssh}" "$host" 'mktemp -d') || fail "$host: ssh failed: try 'ssh $host true'"
    "${SCP:-scp}" -q "$@" "$host:$folder/" || fail "$host: scp failed: is there room in /tmp?"
    [ "$("${SSH:-ssh}" "$host" 'id -u')" = 0 ] || sudo='sudo '
    printf -v words ' %q' --local "${pass[@]}"
    "${SSH:-ssh}" "$host" "${sudo}bash $folder/$(basename "$1")$words" || rc=$?
    "${SSH:-ssh}" "$host" "rm -rf $folder" || true
    return "$rc"
}
