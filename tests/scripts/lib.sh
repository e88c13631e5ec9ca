# shellcheck shell=bash
# What the tests of the scripts share: a scratch root, sentences that hold, refusals that must come.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=scripts/test.d/lib.sh
. scripts/test.d/lib.sh

SCRATCH=$(mktemp -d)
passed=0
started=()

finish() {
    local rc=$?
    # Ends only what this test started.
    for pid in "${started[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    [ -n "${KEEP_SCRATCH:-}" ] || rm -rf "$SCRATCH"
    [ "$rc" != 0 ] || printf '%s sentences hold\n' "$passed"
}
trap finish EXIT

# holds SENTENCE COMMAND…
holds() {
    local sentence=$1 rc=0
    shift
    "$@" >"$SCRATCH/.out" 2>&1 || rc=$?
    [ "$rc" = 0 ] || stop "does not hold: $sentence" "(exit $rc of $*)" "$(cat "$SCRATCH/.out")"
    passed=$((passed + 1))
}

# refuses SENTENCE EXIT-CODE TEXT COMMAND…: ends with that code, and says so.
refuses() {
    local sentence=$1 code=$2 text=$3 rc=0
    shift 3
    "$@" >"$SCRATCH/.out" 2>&1 || rc=$?
    [ "$rc" = "$code" ] || stop "does not hold: $sentence" "(exit $rc of $*, wanted $code)" "$(cat "$SCRATCH/.out")"
    grep -qF -- "$text" "$SCRATCH/.out" || stop "does not hold: $sentence" "(no '$text' in)" "$(cat "$SCRATCH/.out")"
    passed=$((passed + 1))
}

# says SENTENCE TEXT, hides SENTENCE TEXT: of the output of the last command that was tried.
says() {
    grep -qF -- "$2" "$SCRATCH/.out" || stop "does not hold: $1" "(no '$2' in)" "$(cat "$SCRATCH/.out")"
    passed=$((passed + 1))
}
hides() {
    ! grep -qF -- "$2" "$SCRATCH/.out" || stop "does not hold: $1" "('$2' in)" "$(cat "$SCRATCH/.out")"
    passed=$((passed + 1))
}

same() { [ "$1" = "$2" ] || stop "wanted '$2', got '$1'"; }
mode_of() { stat -c %a "$1"; }
