#!/usr/bin/env bash
# The README's first command: a person chats, here by a pipe, and each line is answered in order.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT"
. scripts/test.d/lib.sh

out=$(printf 'the first line\n/help\n第三行\n' | timeout 60 "$(program)" demo)
printf '%s\n' "$out"
grep -q 'the first line' <<<"$out" || stop 'demo: the first line was not answered'
grep -q '/reset' <<<"$out" || stop 'demo: /help was not answered'
grep -q '第三行' <<<"$out" || stop 'demo: the third line was not answered'
first=$(grep -n 'the first line' <<<"$out" | head -n 1 | cut -d: -f1)
third=$(grep -n '第三行' <<<"$out" | head -n 1 | cut -d: -f1)
[ "$first" -lt "$third" ] || stop 'demo: the answers came out of order'
