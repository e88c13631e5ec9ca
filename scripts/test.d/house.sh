#!/usr/bin/env bash
# The house rules of the scripts: no check is forgotten, every script is strict and explains itself.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT"
. scripts/test.d/lib.sh

problems=0
problem() {
    printf '%s\n' "$*"
    problems=$((problems + 1))
}

steps=$(scripts/test --list)
for file in tests/scripts/*.sh; do
    name=$(basename "$file" .sh)
    case $name in lib | stand-in-*) continue ;; esac
    grep -q "^scripts-$name " <<<"$steps" ||
        problem "$file: no step runs it: add scripts-$name to scripts/test"
done
for file in scripts/test.d/*.sh scripts/test.d/*.py; do
    case $file in *'*'* | */lib.sh) continue ;; esac
    # A module that a check imports counts as run by it.
    module=$(basename "$file" .py)
    grep -qE "^(from|import) $module\b" scripts/test.d/*.py && continue
    grep -rqF "$(basename "$file")" scripts/test scripts/test.d/*.sh ||
        problem "$file: nothing runs it: add a step to scripts/test"
done
if grep '?$' <<<"$steps"; then problem 'scripts/test: a step does not say what it proves'; fi

for file in $(shell_files); do
    case $(head -n 2 "$file") in '# shellcheck shell='*) continue ;; esac
    case $(head -n 1 "$file") in *openrc-run | *'/sh') continue ;; esac
    grep -q '^set -euo pipefail$' "$file" || problem "$file: no line 'set -euo pipefail'"
    [ -x "$file" ] || problem "$file: not executable"
    case $file in
        scripts/test.d/* | tests/* | .ci/*) ;;
        *) "$file" --help </dev/null | grep -qi '^use: ' || problem "$file: --help does not begin with 'use: '" ;;
    esac
done
[ "$problems" = 0 ]
