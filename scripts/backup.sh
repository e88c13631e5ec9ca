#!/usr/bin/env bash
# Backs the database up, brings it back, and proves that it can be brought back.
set -euo pipefail
umask 077

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
DATABASE=svs-bot.db

usage() {
    cat <<'TEXT'
use: backup.sh replicate|snapshot|restore|verify [OPTION…]

replicate   runs Litestream until stopped; the target is BACKUP_URL (see litestream.yml)
snapshot    one consistent, checked, compressed copy beside the running bot; old ones are removed
restore     brings a copy back, into an empty place; the bot must not be running there
verify      restores into a scratch folder and checks it; exit 1 when it is damaged, missing or too old

  --data-dir DIR    the bot's data (default: DATA_DIR, else /var/lib/svs-bot)
  --to DIR          snapshot: where copies go (default: BACKUP_DIR, else /var/lib/svs-bot-backup)
                    restore: the data directory to fill (default: the bot's data)
  --from WHAT       restore, verify: a folder of snapshots, one snapshot file, or `replica`
                    (default: replica where BACKUP_URL is set, else the folder of snapshots)
  --at TIME         restore: as it was then, like 2026-11-30T12:00:00Z
  --force           restore: also over a database that is there; the old one is moved aside, not removed
  --keep-days N     snapshot: remove copies older than this (default: 14), but never the newest three
  --within TIME     verify: what the bot stored this long ago must be in the copy (default: 15m)
  --help            this text

Environment: SVS_BOT and LITESTREAM name the programs, LITESTREAM_CONFIG another configuration.
TEXT
}

fail() {
    printf 'backup.sh: %s\n' "$*" >&2
    exit 1
}
misuse() {
    printf 'backup.sh: %s\n' "$*" >&2
    exit 2
}
say() { printf '%s\n' "$*"; }

[ $# -gt 0 ] || { usage >&2 && exit 2; }
verb=$1
shift
case $verb in -h | --help) usage && exit 0 ;; esac
data=${DATA_DIR:-/var/lib/svs-bot} snapshots=${BACKUP_DIR:-/var/lib/svs-bot-backup}
to='' from='' at='' force=no keep_days=14 within=15m
while [ $# -gt 0 ]; do
    case $1 in
        --data-dir | --to | --from | --at | --keep-days | --within) [ $# -ge 2 ] || misuse "$1: needs a value: see --help" ;;
    esac
    case $1 in
        --data-dir) data=$2 && shift ;;
        --to) to=$2 && shift ;;
        --from) from=$2 && shift ;;
        --at) at=$2 && shift ;;
        --keep-days) keep_days=$2 && shift ;;
        --within) within=$2 && shift ;;
        --force) force=yes ;;
        -h | --help) usage && exit 0 ;;
        *) misuse "$1: unknown option: see --help" ;;
    esac
    shift
done
case $keep_days in '' | *[!0-9]*) misuse "--keep-days $keep_days: takes a number of days" ;; esac

scratch=
clean() { [ -z "$scratch" ] || rm -rf "$scratch"; }
trap clean EXIT
trap 'exit 130' INT TERM

make_scratch() { scratch=$(mktemp -d "${TMPDIR:-/tmp}/svs-bot-backup.XXXXXX"); }

program() { command -v "${SVS_BOT:-svs-bot}" || true; }

# sql FILE QUERY: with whichever SQLite the box has.
sql() {
    if command -v sqlite3 >/dev/null; then
        sqlite3 -batch -cmd '.timeout 10000' "$1" "$2"
    elif command -v python3 >/dev/null; then
        python3 -c 'import sqlite3, sys
for row in sqlite3.connect(sys.argv[1], timeout=10).execute(sys.argv[2]): print(*row, sep="|")' "$1" "$2"
    else
        fail 'checking: neither sqlite3 nor python3 is here: install the package sqlite3'
    fi
}

check_integrity() {
    local found
    found=$(sql "$1" 'PRAGMA integrity_check(5)' 2>&1) || true
    [ "$found" = ok ] || fail "$2: damaged: $(head -n 1 <<<"$found"): use an older copy (--at, --from)"
}

seconds() {
    case $1 in
        *[!0-9smhd]* | '' | [smhd]*) misuse "$1: takes a time like 90s, 15m, 2h or 7d" ;;
        *s) echo $((10#${1%s})) ;;
        *m) echo $((10#${1%m} * 60)) ;;
        *h) echo $((10#${1%h} * 3600)) ;;
        *d) echo $((10#${1%d} * 86400)) ;;
        *) echo $((10#$1)) ;;
    esac
}

# When the newest thing was stored, in milliseconds, not after MS; 0 for none.
newest_ms() {
    sql "$1" "SELECT max(ms) FROM (SELECT 0 AS ms
        UNION ALL SELECT max(received_ms) FROM inbox WHERE received_ms <= $2
        UNION ALL SELECT max(created_us) / 1000 FROM history WHERE created_us <= $2 * 1000)"
}

# --- Litestream ----------------------------------------------------------------------------------

# Sets `litestream`, and the names that the configuration uses: what nobody set is empty, in both generations.
prepare_litestream() {
    litestream=${LITESTREAM:-litestream}
    command -v "$litestream" >/dev/null ||
        fail "litestream: not found: install it (Litestream 0.3.13 or 0.5), or use snapshots alone"
    [ -n "${BACKUP_URL:-}" ] || misuse 'BACKUP_URL: not set: name the target, like s3://bucket/svs-bot'
    export BACKUP_URL SVS_BOT_DB=$data/$DATABASE BACKUP_S3_ENDPOINT=${BACKUP_S3_ENDPOINT:-} \
        BACKUP_S3_REGION=${BACKUP_S3_REGION:-} BACKUP_SFTP_KEY=${BACKUP_SFTP_KEY:-}
    config=(-config "${LITESTREAM_CONFIG:-$HERE/litestream.yml}")
}

replicate() {
    [ -f "$data/$DATABASE" ] || fail "$data/$DATABASE: not there yet: start svs-bot once"
    prepare_litestream
    # Becomes Litestream, so that signals of a service manager reach it.
    exec "$litestream" replicate "${config[@]}"
}

# --- snapshots -----------------------------------------------------------------------------------

copy_live() {
    local bot
    bot=$(program)
    if [ -n "$bot" ]; then
        "$bot" backup --data-dir "$data" "$1" >/dev/null || fail "$data: svs-bot backup failed: see above"
    else
        sql "$data/$DATABASE" "VACUUM INTO '${1//\'/\'\'}'" || fail "$data/$DATABASE: could not be copied: see above"
    fi
}

snapshot() {
    local into=${to:-$snapshots} name packed pack suffix
    [ -f "$data/$DATABASE" ] || fail "$data/$DATABASE: no such database: name the data with --data-dir"
    mkdir -p "$into"
    # Beside the copies, not in a /tmp that may live in memory.
    scratch=$(mktemp -d "$into/.making.XXXXXX")
    copy_live "$scratch/$DATABASE"
    check_integrity "$scratch/$DATABASE" 'the copy'
    if command -v zstd >/dev/null; then
        pack=(zstd --quiet -6 --stdout) suffix=zst
    else
        pack=(gzip -6 --stdout) suffix=gz
    fi
    name=svs-bot-$(date -u +%Y%m%dT%H%M%SZ).db.$suffix
    "${pack[@]}" "$scratch/$DATABASE" >"$scratch/packed"
    unpack "$scratch/packed" "$suffix" | cmp --silent - "$scratch/$DATABASE" ||
        fail "$into: the compressed copy reads back differently: check disk and memory"
    sync "$scratch/packed" 2>/dev/null || sync
    mv "$scratch/packed" "$into/$name"
    packed=$(stat -c %s "$into/$name")
    rotate "$into"
    say "$into/$name: $packed bytes, checked"
}

rotate() {
    local old
    find "$1" -maxdepth 1 -name 'svs-bot-*.db.*' -type f -printf '%f\n' | sort -r | tail -n +4 |
        while IFS= read -r old; do
            find "$1/$old" -mmin +$((keep_days * 1440)) -delete
        done
    find "$1" -maxdepth 1 -name '.making.*' -mmin +1440 -exec rm -rf {} +
}

# unpack FILE SUFFIX: to stdout.
unpack() {
    case $2 in
        zst) zstd --quiet --decompress --stdout <"$1" ;;
        gz) gzip --decompress --stdout <"$1" ;;
        *) cat "$1" ;;
    esac
}

# The newest snapshot of a folder, not after --at.
choose_snapshot() {
    local limit=99999999T999999Z name chosen=''
    if [ -n "$at" ]; then
        limit=$(date -u -d "$at" +%Y%m%dT%H%M%SZ) || misuse "--at $at: takes a time like 2026-11-30T12:00:00Z"
    fi
    while IFS= read -r name; do
        [[ ${name#svs-bot-} > $limit.zz ]] || chosen=$name
    done < <(find "$1" -maxdepth 1 -name 'svs-bot-*.db.*' -type f -printf '%f\n' | sort)
    [ -n "$chosen" ] || fail "$1: no snapshot${at:+ as old as $at}: see what is there with ls"
    printf '%s\n' "$1/$chosen"
}

# fetch FILE: the wanted copy, unpacked.
fetch() {
    local source=$from options=()
    if [ -z "$source" ]; then
        source=$snapshots
        [ -z "${BACKUP_URL:-}" ] || source=replica
    fi
    if [ "$source" = replica ]; then
        [ -z "$at" ] || options=(-timestamp "$(date -u -d "$at" +%Y-%m-%dT%H:%M:%SZ)")
        prepare_litestream
        "$litestream" restore "${config[@]}" -o "$1" "${options[@]}" "$data/$DATABASE" >"$1.log" 2>&1 ||
            fail "replica: could not be restored: $(tail -n 1 "$1.log")"
        rm -f "$1.log"
        [ -s "$1" ] || fail 'replica: nothing was restored: look at the target and at the replicate log'
        return
    fi
    [ ! -d "$source" ] || source=$(choose_snapshot "$source")
    [ -f "$source" ] || fail "$source: no such snapshot"
    unpack "$source" "${source##*.}" >"$1" || fail "$source: could not be unpacked: use an older copy"
}

restore() {
    local into=${to:-$data} stamp file owner
    mkdir -p "$into"
    # Held to the end: no daemon can start on a half-restored database.
    exec 8<>"$into/svs-bot.lock"
    flock --nonblock 8 || fail "$into: svs-bot is running on it: stop it first"
    if [ -e "$into/$DATABASE" ] && [ "$force" = no ]; then
        fail "$into/$DATABASE: is there already: say --force to move it aside, or restore elsewhere with --to"
    fi
    scratch=$(mktemp -d "$into/.restoring.XXXXXX")
    fetch "$scratch/$DATABASE"
    check_integrity "$scratch/$DATABASE" 'the copy'
    rm -f "$scratch/$DATABASE-wal" "$scratch/$DATABASE-shm"
    stamp=$(date -u +%Y%m%dT%H%M%SZ)
    # Litestream's side folder describes the old file; it must not be taken for the new one's.
    for file in "$into/$DATABASE" "$into/$DATABASE-wal" "$into/$DATABASE-shm" "$into/.$DATABASE-litestream"; do
        [ ! -e "$file" ] || mv "$file" "$file.before-$stamp"
    done
    owner=$(stat -c %u:%g "$into")
    chmod 0600 "$scratch/$DATABASE"
    [ "$(id -u)" != 0 ] || chown "$owner" "$scratch/$DATABASE" "$into/svs-bot.lock"
    mv "$scratch/$DATABASE" "$into/$DATABASE"
    sync "$into" 2>/dev/null || sync
    say "$into/$DATABASE: restored; newest entry $(age "$(newest_ms "$into/$DATABASE" 9000000000000000)")"
}

age() {
    if [ "$1" = 0 ]; then echo 'none'; else date -u -d "@$(($1 / 1000))" +%Y-%m-%dT%H:%M:%SZ; fi
}

verify() {
    local allowed now wanted got
    allowed=$(seconds "$within")
    make_scratch
    fetch "$scratch/$DATABASE"
    check_integrity "$scratch/$DATABASE" 'the copy'
    now=$(date +%s%3N)
    got=$(newest_ms "$scratch/$DATABASE" 9000000000000000) ||
        fail 'the copy: is no database of svs-bot: look at what is backed up'
    wanted=$((now - allowed * 1000))
    # A quiet bot stores nothing for days: what counts is what was there to be copied.
    if [ -f "$data/$DATABASE" ]; then wanted=$(newest_ms "$data/$DATABASE" "$wanted"); fi
    [ "$got" -ge "$wanted" ] ||
        fail "the copy: its newest entry is $(age "$got"), the bot had one of $(age "$wanted"): see why the backup stopped"
    say "good: whole, newest entry $(age "$got")"
}

case $verb in
    replicate | snapshot | restore | verify) "$verb" ;;
    *) misuse "$verb: takes replicate, snapshot, restore or verify: see --help" ;;
esac
