#!/usr/bin/env bash
# The settings that we ship are ones that the program takes: the example with the two required filled in.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT"
. scripts/test.d/lib.sh

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
sed -e 's/^#* *TELEGRAM_BOT_TOKEN=.*/TELEGRAM_BOT_TOKEN=123456:example/' \
    -e 's/^#* *GROUP_A_KEYS=.*/GROUP_A_KEYS=example-key/' scripts/svs-bot.env.example >"$folder/env"
chmod 600 "$folder/env"
"$(program)" check --offline --env-file "$folder/env" --data-dir "$folder/data" || stop 'the example settings do not pass check'
"$(program)" --version | grep -Eq '^svs-bot [0-9.]+ .* SQLite 3\.' || stop '--version: not as expected'
