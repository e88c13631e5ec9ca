#!/usr/bin/env bash
# install.sh and uninstall.sh under a scratch root, with stand-ins for systemctl, ssh and the program.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export FAKE=$SCRATCH/fake
BOX=$SCRATCH/box
BIN=$BOX/usr/local/bin/svs-bot
mkdir -p "$FAKE" "$BOX"
cp tests/scripts/stand-in-bot.sh "$SCRATCH/bot-1"
sed 's/^VERSION=.*/VERSION=2.0.0/' tests/scripts/stand-in-bot.sh >"$SCRATCH/bot-2"
printf '#!/bin/sh\nexit 126\n' >"$SCRATCH/bot-wrong"
chmod +x "$SCRATCH"/bot-*
printf 'TELEGRAM_BOT_TOKEN=42:x\nGROUP_A_KEYS=k\n' >"$SCRATCH/env"

install_box() { SYSTEMCTL=$PWD/tests/scripts/stand-in-systemctl.sh scripts/install.sh --local --root "$BOX" "$@"; }
uninstall_box() { SYSTEMCTL=$PWD/tests/scripts/stand-in-systemctl.sh scripts/uninstall.sh --local --root "$BOX" "$@"; }
version() { "$BIN" --version | cut -d ' ' -f 2; }
started() { [ -e "$FAKE/active.svs-bot" ]; }

refuses 'somewhere must be named' 2 'where to' scripts/install.sh
refuses 'not here and there at once' 2 'not both' scripts/install.sh --local box
refuses 'a program for another machine is not installed' 1 'does not start here' install_box --binary "$SCRATCH/bot-wrong"
holds 'so nothing is there' test ! -e "$BIN"

holds 'a first installation without settings' install_box --binary "$SCRATCH/bot-1"
same "$(version)" 1.0.0
same "$(mode_of "$BOX/etc/svs-bot")" 750
same "$(mode_of "$BOX/etc/svs-bot/env")" 640
same "$(mode_of "$BOX/var/lib/svs-bot")" 700
same "$(mode_of "$BIN")" 755
holds 'the units are there' test -f "$BOX/etc/systemd/system/svs-bot.service"
holds 'it is not started before its settings are complete' test ! -e "$FAKE/active.svs-bot"

cp "$SCRATCH/env" "$BOX/etc/svs-bot/env"
holds 'said again with settings it starts' install_box --binary "$SCRATCH/bot-1"
holds 'and runs' started
holds 'also after a restart of the box' test -e "$FAKE/enabled.svs-bot"
cmp -s "$SCRATCH/env" "$BOX/etc/svs-bot/env" || stop 'settings were overwritten'

echo rows >"$BOX/var/lib/svs-bot/svs-bot.db"
holds 'an upgrade' install_box --binary "$SCRATCH/bot-2"
same "$(version)" 2.0.0
holds 'copies the database first' test "$(cat "$BOX"/var/lib/svs-bot-backup/before-upgrade-*.db)" = rows
holds 'the old binary can come back' install_box --rollback
same "$(version)" 1.0.0
holds 'and go again' install_box --rollback
same "$(version)" 2.0.0
holds 'the installed script can do it too' env SYSTEMCTL="$PWD/tests/scripts/stand-in-systemctl.sh" \
    bash "$BOX/usr/local/lib/svs-bot/install.sh" --local --root "$BOX" --rollback
same "$(version)" 1.0.0

touch "$FAKE/sick.2.0.0" "$FAKE/start-fails.svs-bot"
refuses 'where nothing starts it says so' 1 'neither the new nor the old' install_box --binary "$SCRATCH/bot-2" --no-backup
rm "$FAKE/start-fails.svs-bot"
sed -i 's/^START_SECONDS_MAX=.*/START_SECONDS_MAX=3/' "$BOX/usr/local/lib/svs-bot/install.sh"
holds 'an old version is put back' install_box --binary "$SCRATCH/bot-1" --no-backup
same "$(version)" 1.0.0
cp scripts/svs-bot.service "$BOX/usr/local/lib/svs-bot/"
sick() { SYSTEMCTL=$PWD/tests/scripts/stand-in-systemctl.sh bash "$SCRATCH/installer/install.sh" --local --root "$BOX" "$@"; }
mkdir "$SCRATCH/installer" && find scripts -maxdepth 1 -type f -exec cp {} "$SCRATCH/installer/" \;
sed -i 's/^START_SECONDS_MAX=.*/START_SECONDS_MAX=3/' "$SCRATCH/installer/install.sh"
refuses 'a new version that does not run gives way to the old one' 1 'the old one runs again' sick --binary "$SCRATCH/bot-2"
same "$(version)" 1.0.0
holds 'which runs' started

printf '#!/bin/sh\nshift\nexec bash -c "$*"\n' >"$SCRATCH/ssh"
cat >"$SCRATCH/scp" <<'SCP'
#!/usr/bin/env bash
set -euo pipefail
target=${*: -1}
exec cp "${@:2:$#-2}" "${target#*:}"
SCP
chmod +x "$SCRATCH/ssh" "$SCRATCH/scp"
rm "$FAKE/sick.2.0.0"
holds 'over ssh the same' env SSH="$SCRATCH/ssh" SCP="$SCRATCH/scp" \
    SYSTEMCTL="$PWD/tests/scripts/stand-in-systemctl.sh" \
    scripts/install.sh box --root "$BOX" --binary "$SCRATCH/bot-2"
same "$(version)" 2.0.0
refuses 'a host that does not answer' 1 'ssh failed' env SSH=false scripts/install.sh box --binary "$SCRATCH/bot-2"

holds 'uninstalling' uninstall_box
holds 'stops it' test ! -e "$FAKE/active.svs-bot"
holds 'and takes the program' test ! -e "$BIN"
holds 'but keeps settings' test -f "$BOX/etc/svs-bot/env"
holds 'and data' test -f "$BOX/var/lib/svs-bot/svs-bot.db"
refuses 'purging asks' 2 '--yes' uninstall_box --purge
holds 'or is told' uninstall_box --purge --yes
holds 'then settings and data are gone' test ! -e "$BOX/etc/svs-bot" -a ! -e "$BOX/var/lib/svs-bot"
holds 'and the backups are not' test -n "$(ls "$BOX/var/lib/svs-bot-backup")"
