#!/usr/bin/env bash
# systemd units: every key known, the sandbox as tight as promised, the instance unit no different from the plain one.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT"
. scripts/test.d/lib.sh
need systemd-analyze systemd

# Tenths of systemd's exposure scale, per unit.
EXPOSURE_MAX=11
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# `verify` wants the commands to exist: stand-ins where the real ones would be installed elsewhere.
verify() {
    local unit
    for unit in "$@"; do
        sed -E 's#^(Exec[A-Za-z]+=)\+?(/usr/local/[^ ]+)#\1/bin/true#' "$unit" >"$scratch/$(basename "$unit")"
    done
    (cd "$scratch" && systemd-analyze verify --recursive-errors=yes ./*.service ./*.timer 2>&1) | grep -v '^$' |
        # Units of the machine at hand are not ours to judge.
        grep -E 'svs-bot|Unknown|Failed' || true
}
cp scripts/svs-bot@.service "$scratch/template"
found=$(verify scripts/*.service scripts/*.timer)
[ -z "$found" ] || stop "systemd-analyze verify:" "$found"

# The check above must be able to fail.
printf '[Service]\nExecStart=/bin/true\nNoSuchKey=yes\n' >"$scratch/svs-bot-planted.service"
[ -n "$(verify)" ] || stop 'systemd-analyze verify let an unknown key pass'
rm "$scratch/svs-bot-planted.service"

for unit in scripts/*.service; do
    name=$scratch/$(basename "$unit")
    case $unit in *@.service) name=${name/@/@one} ;; esac
    cp "$unit" "$name"
    systemd-analyze security --offline=true --threshold=$EXPOSURE_MAX "$name" >"$scratch/report" ||
        stop "$unit: exposed more than 1.1:" "$(grep -v '✓' "$scratch/report")"
    tail -n 1 "$scratch/report"
done

plain() { grep -vE '^(#|Description|Environment=SVS_BOT_ENV_FILE|StateDirectory=|$)' "$1"; }
diff <(plain scripts/svs-bot.service) <(plain scripts/svs-bot@.service) ||
    stop 'svs-bot.service and svs-bot@.service differ in more than their names'
