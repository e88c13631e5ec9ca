#!/usr/bin/env bash
# backup.sh against two generations of the real Litestream, a database under load, kill -9 and damage; targets are a
# folder, an S3-compatible service and an OpenSSH server.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need sqlite3 sqlite3
need zstd zstd

DATA=$SCRATCH/data
export DATA_DIR=$DATA BACKUP_DIR=$SCRATCH/snapshots SVS_BOT=no-such-program
NOW_MS='CAST((julianday() - 2440587.5) * 86400000 AS INTEGER)'

new_database() {
    rm -rf "$DATA" "$BACKUP_DIR"
    mkdir -p "$DATA"
    sqlite3 "$DATA/svs-bot.db" 'PRAGMA journal_mode=WAL' >/dev/null
    cat migrations/sqlite/*.sql | sqlite3 "$DATA/svs-bot.db"
}

# add UPDATE-ID [AGE-IN-SECONDS]
add() {
    sqlite3 -cmd '.timeout 5000' "$DATA/svs-bot.db" \
        "INSERT INTO inbox (update_id, received_ms) VALUES ($1, $NOW_MS - ${2:-0} * 1000)"
}

# Writes rows until killed, each in a synced transaction of its own.
writer() {
    exec python3 - "$DATA/svs-bot.db" <<'PYTHON'
import signal, sqlite3, sys, time
# Ends between two statements when asked politely; a kill may leave a commit that only the log's readers see.
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
db = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)
db.execute("PRAGMA synchronous=FULL")
for n in range(1_000_000):
    now = int(time.time() * 1000)
    db.execute("INSERT INTO inbox (update_id, received_ms) VALUES (?, ?)", (1000 + n, now))
    db.execute("INSERT INTO history (chat_id, user_id, message_text, created_us) VALUES (1, 2, ?, ?)", ("x" * 300, now * 1000))
    time.sleep(0.002)
PYTHON
}

rows() { sqlite3 "$1" 'SELECT * FROM inbox; SELECT * FROM history' | sha256sum; }
count() { sqlite3 "$1" 'SELECT count(*) FROM inbox'; }

snapshots() {
    new_database
    add 1 1200
    holds 'a snapshot is taken' scripts/backup.sh snapshot
    holds 'and is one file' test "$(find "$BACKUP_DIR" -type f | wc -l)" = 1
    holds 'that nobody else may read' test "$(mode_of "$(find "$BACKUP_DIR" -type f)")" = 600
    holds 'it verifies' scripts/backup.sh verify
    refuses 'a live place is not restored over' 1 'is there already' scripts/backup.sh restore
    holds 'an empty place is' scripts/backup.sh restore --to "$SCRATCH/empty"
    same "$(rows "$SCRATCH/empty/svs-bot.db")" "$(rows "$DATA/svs-bot.db")"
    same "$(mode_of "$SCRATCH/empty/svs-bot.db")" 600

    add 2 600
    holds 'what came ten minutes ago may be missing when a quarter of an hour is allowed' scripts/backup.sh verify --within 15m
    refuses 'but not when five minutes are' 1 'see why the backup stopped' scripts/backup.sh verify --within 5m
    holds 'force moves the database aside' scripts/backup.sh restore --force
    same "$(count "$DATA/svs-bot.db")" 1
    same "$(find "$DATA" -name 'svs-bot.db.before-*' | wc -l)" 1
    (
        exec 9<>"$DATA/svs-bot.lock"
        flock 9
        refuses 'a running bot is not restored under' 1 'is running' scripts/backup.sh restore --force 9>&-
    )

    local name
    name=$(find "$BACKUP_DIR" -type f)
    for age in 20 21 22 23; do
        cp "$name" "$BACKUP_DIR/svs-bot-202611${age}T000000Z.db.zst"
        touch -d "$age days ago" "$BACKUP_DIR/svs-bot-202611${age}T000000Z.db.zst"
    done
    holds 'old snapshots go' scripts/backup.sh snapshot --keep-days 14
    holds 'but the newest three stay' test "$(find "$BACKUP_DIR" -type f | wc -l)" = 3
    refuses 'nothing is as old as that' 1 'no snapshot as old' scripts/backup.sh restore --at 2020-01-01T00:00:00Z --to "$SCRATCH/past"
    holds 'a copy of an earlier day comes back' scripts/backup.sh restore --at 2026-11-23T01:00:00Z --from "$BACKUP_DIR" --to "$SCRATCH/earlier"

    newest=$(find "$BACKUP_DIR" -type f | sort | tail -n 1)
    head -c 300 "$newest" >"$newest.cut" && mv "$newest.cut" "$newest"
    refuses 'a cut snapshot is found out' 1 'could not be unpacked' scripts/backup.sh verify
    damaged_database >"$SCRATCH/damaged.db"
    refuses 'a damaged one too' 1 'damaged' scripts/backup.sh verify --from "$SCRATCH/damaged.db"
    refuses 'and nothing at all' 1 'no snapshot' scripts/backup.sh verify --from "$SCRATCH/empty"
    refuses 'a wrong time is a wrong use' 2 'takes a time like' scripts/backup.sh verify --within soon
    refuses 'so is an unknown word' 2 'takes replicate, snapshot' scripts/backup.sh undo

    PATH="$SCRATCH/bin:$PATH" holds 'gzip does where zstd is missing' without_zstd
}

damaged_database() {
    local size
    new=$SCRATCH/whole.db
    sqlite3 "$DATA/svs-bot.db" "VACUUM INTO '$new'"
    size=$(stat -c %s "$new")
    head -c 4096 "$new"
    head -c $((size - 4096)) /dev/urandom
}

without_zstd() {
    local folder=$SCRATCH/bin tool
    mkdir -p "$folder"
    for tool in bash sqlite3 gzip cmp date mktemp mkdir mv rm stat find sort tail head sync basename dirname touch cat; do
        ln -sf "$(command -v "$tool")" "$folder/$tool"
    done
    rm -rf "$BACKUP_DIR"
    PATH=$folder scripts/backup.sh snapshot && find "$BACKUP_DIR" -name '*.gz' | grep -q . &&
        PATH=$folder scripts/backup.sh verify
}

# Replicates under load, kills both at once, goes on for a moment, restores and compares row by row.
litestream() {
    export LITESTREAM=$1 BACKUP_URL=file://$SCRATCH/replica
    [ -x "$LITESTREAM" ] || chmod +x "$LITESTREAM" || stop "$1 is missing: run scripts/test --only set-up"
    rm -rf "$SCRATCH/replica" "$SCRATCH/back"
    new_database
    refuses 'without a replica nothing verifies' 1 'replica: ' scripts/backup.sh verify

    writer &
    local writes=$! follows
    scripts/backup.sh replicate >"$SCRATCH/replicate.log" 2>&1 &
    follows=$!
    started+=("$writes" "$follows")
    sleep 6
    kill -9 "$writes" "$follows"
    wait "$writes" "$follows" 2>/dev/null || true
    holds 'rows were written meanwhile' test "$(count "$DATA/svs-bot.db")" -gt 300

    scripts/backup.sh replicate >>"$SCRATCH/replicate.log" 2>&1 &
    follows=$!
    started+=("$follows")
    wait_for 30 'the replica to catch up' caught_up
    holds 'after kill -9 of both every row is in the replica' test "$(rows "$SCRATCH/back/svs-bot.db")" = "$(rows "$DATA/svs-bot.db")"
    holds 'and it verifies' scripts/backup.sh verify --within 1s
    kill "$follows"
    wait "$follows" 2>/dev/null || true

    add 5
    refuses 'a replication that stopped is found out' 1 'see why the backup stopped' scripts/backup.sh verify --within 0s
    holds 'the snapshot stays possible beside it' scripts/backup.sh snapshot
    holds 'force restores from the replica' scripts/backup.sh restore --force
    same "$(rows "$DATA/svs-bot.db")" "$(rows "$SCRATCH/back/svs-bot.db")"
    unset BACKUP_URL LITESTREAM
}

caught_up() {
    rm -rf "$SCRATCH/back"
    scripts/backup.sh restore --to "$SCRATCH/back" &&
        [ "$(rows "$SCRATCH/back/svs-bot.db")" = "$(rows "$DATA/svs-bot.db")" ]
}

# An S3-compatible service on loopback, empty.
start_s3() {
    local port
    port=$(free_port)
    "$CACHE/python/bin/moto_server" -H 127.0.0.1 -p "$port" >"$SCRATCH/s3.log" 2>&1 &
    started+=("$!")
    wait_for 60 'the S3-compatible service' curl --silent --fail --request PUT "http://127.0.0.1:$port/svs-bucket"
    # Of this machine's owner, and not meant for a service on loopback.
    unset "${!AWS_@}"
    export BACKUP_S3_ENDPOINT=http://127.0.0.1:$port BACKUP_S3_REGION=us-east-1 \
        LITESTREAM_ACCESS_KEY_ID=test LITESTREAM_SECRET_ACCESS_KEY=test
}

# An OpenSSH server on loopback that knows one key; sets `sftp`.
start_sftp() {
    local folder=$SCRATCH/sshd port sshd
    sshd=$(find_command sshd)
    port=$(free_port)
    mkdir -p "$folder" && chmod 0755 "$SCRATCH"
    ssh-keygen -q -t ed25519 -N '' -f "$folder/host"
    ssh-keygen -q -t ed25519 -N '' -f "$folder/key"
    [ "$(id -u)" != 0 ] || mkdir -p /run/sshd
    cat >"$folder/config" <<CONFIG
Port $port
ListenAddress 127.0.0.1
HostKey $folder/host
AuthorizedKeysFile $folder/key.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
Subsystem sftp internal-sftp
CONFIG
    "$sshd" -D -e -f "$folder/config" >"$SCRATCH/sshd.log" 2>&1 &
    started+=("$!")
    wait_for 30 'sshd' ssh-keyscan -p "$port" 127.0.0.1
    export BACKUP_SFTP_KEY=$folder/key
    sftp=sftp://$(id -un)@127.0.0.1:$port$SCRATCH/sftp
}

# elsewhere LITESTREAM URL: under load to a target on another machine, and back.
elsewhere() {
    export LITESTREAM=$1 BACKUP_URL=$2
    new_database
    writer &
    local writes=$! follows kind=${2%%:*}
    scripts/backup.sh replicate >"$SCRATCH/replicate.log" 2>&1 &
    follows=$!
    started+=("$writes" "$follows")
    wait_for 30 'rows' at_least_rows 200
    kill "$writes"
    wait "$writes" 2>/dev/null || true
    (wait_for 60 "the replica by $kind to catch up" caught_up) ||
        stop "$(tail -n 5 "$SCRATCH/replicate.log")" "$(scripts/backup.sh restore --to "$SCRATCH/back" 2>&1)"
    holds "by $kind every row comes back" test "$(rows "$SCRATCH/back/svs-bot.db")" = "$(rows "$DATA/svs-bot.db")"
    holds "by $kind it verifies" scripts/backup.sh verify --within 1s
    kill "$follows"
    wait "$follows" 2>/dev/null || true
    hides_secrets
    unset BACKUP_URL LITESTREAM
}

at_least_rows() { [ "$(count "$DATA/svs-bot.db")" -ge "$1" ]; }

# What the replication printed names no key.
hides_secrets() {
    cp "$SCRATCH/replicate.log" "$SCRATCH/.out"
    hides 'no private key in the log' 'PRIVATE KEY'
}

refuses 'a target must be named' 2 'BACKUP_URL' env -u BACKUP_URL LITESTREAM=true scripts/backup.sh verify --from replica
snapshots
newer=$CACHE/python/bin/litestream older=$CACHE/npm/node_modules/@flydotio/litestream-linux-x64/litestream
litestream "$newer"
litestream "$older"
start_s3
start_sftp
for generation in newer older; do
    elsewhere "${!generation}" "s3://svs-bucket/$generation"
    elsewhere "${!generation}" "$sftp/$generation"
done
refuses 'a key that the server does not know' 1 'replica: could not be restored' \
    env BACKUP_SFTP_KEY="$SCRATCH/sshd/host" LITESTREAM="$newer" BACKUP_URL="$sftp/newer" scripts/backup.sh verify
