#!/usr/bin/env bash
# Builds the static binary for one or more boards and proves what it built.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# The last line with musl's own malloc: from 0.16 on zig puts its own in its place, which keeps memory for each
# thread and gives little back (at rest over TLS 8.6 MB, with musl's and the other mends of that day 6.8).
ZIGLANG=0.15.2
CARGO_ZIGBUILD=0.24.0
SIZE_MAX_BYTES=$((4 * 1024 * 1024))
ALL=(x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf)
DEBIAN_PACKAGES=(rustc-web cargo-web rust-web-src)
CACHE=${SVS_BOT_CACHE:-$ROOT/scripts/.cache}
DIST=$ROOT/dist
BUILD=${CARGO_TARGET_DIR:-$ROOT/target}/cross

usage() {
    cat <<'TEXT'
use: cross/build.sh [OPTION…] [TARGET…|all]

Builds dist/svs-bot-VERSION-TARGET, beside it the list of its parts (….cdx.json, CycloneDX), and
dist/SHA256SUMS. TARGET is x86_64, aarch64, armv7 or the full triple; without one, this machine's.
`all` is all three.

It takes the first way that works here and says which:
  source   the toolchain at hand has rust-src: the standard library is built along, small
  debian   Debian's rustc-web, cargo-web and rust-web-src: the same with Debian's compiler
  rustup   the toolchain at hand has the target's finished standard library: the program is about a fifth larger
C code and linking go through zig, fetched once as Python packages into scripts/.cache.

  --way WAY               take this way
  --install-deps          install what is missing on this machine: rustup's rust-src, the Debian packages, or
                          rustup's target, whichever of them can be had first
  --check-reproducible    build each target a second time, from a copy of the sources in another folder,
                          and compare the bytes
  --no-run                skip starting the program (and its demo) after the build
  --features LIST         Cargo features to build with
  --try FILE              put the program there and nowhere else, whatever its size; these go with it:
  --config KEY=VALUE      a setting for Cargo, such as profile.release.opt-level=3 (may be given again)
  --std-features LIST     features of the standard library that is built along, optimize_for_size; '' is none
  --sqlite FLAG           a compiler flag for SQLite after those of cross/sqlite-flags (may be given again)
  --help                  this text
TEXT
}

fail() {
    printf 'cross/build.sh: %s\n' "$*" >&2
    exit 1
}
say() { printf '%s\n' "$*" >&2; }

targets=() way='' install=no reproducible=no run=yes features='' try='' configs=() sqlite_more=()
std_features=optimize_for_size
while [ $# -gt 0 ]; do
    case $1 in
        --way) way=${2:?--way needs a word} && shift ;;
        --install-deps) install=yes ;;
        --check-reproducible) reproducible=yes ;;
        --no-run) run=no ;;
        --features) features=${2:?--features needs a list} && shift ;;
        --try) try=${2:?--try needs a path} && shift ;;
        --config) configs+=(--config "${2:?--config needs KEY=VALUE}") && shift ;;
        --std-features) std_features=${2-} && shift ;;
        --sqlite) sqlite_more+=("${2:?--sqlite needs a flag}") && shift ;;
        -h | --help) usage && exit 0 ;;
        all) targets=("${ALL[@]}") ;;
        x86_64 | amd64) targets+=(x86_64-unknown-linux-musl) ;;
        aarch64 | arm64) targets+=(aarch64-unknown-linux-musl) ;;
        armv7) targets+=(armv7-unknown-linux-musleabihf) ;;
        *-linux-musl*) targets+=("$1") ;;
        *) fail "$1: unknown option or target: see --help" ;;
    esac
    shift
done
if [ ${#targets[@]} = 0 ]; then
    case $(uname -m) in
        armv7l) targets=(armv7-unknown-linux-musleabihf) ;;
        *) targets=("$(uname -m)-unknown-linux-musl") ;;
    esac
fi
case $way in '' | source | rustup | debian) ;; *) fail "--way $way: takes source, debian or rustup" ;; esac

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$ROOT/Cargo.toml" | head -n 1)
rust_wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$ROOT/Cargo.toml")
# The commit's own time, so that nothing of the build's moment enters the file.
SOURCE_DATE_EPOCH=$(git -C "$ROOT" log -1 --format=%ct 2>/dev/null || echo 1)
export SOURCE_DATE_EPOCH

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

has_source() {
    local sysroot
    sysroot=$(rustc --print sysroot 2>/dev/null) && [ -f "$sysroot/lib/rustlib/src/rust/library/std/Cargo.toml" ]
}

has_rustup_target() {
    local sysroot
    sysroot=$(rustc --print sysroot 2>/dev/null) && [ -d "$sysroot/lib/rustlib/$1/lib" ]
}

has_debian() {
    local found
    [ -x /usr/bin/cargo ] && [ -f /usr/lib/rustlib/src/rust/library/std/Cargo.toml ] || return 1
    found=$(/usr/bin/rustc --version 2>/dev/null | cut -d ' ' -f 2) && at_least "$rust_wanted" "$found"
}

# may WAY: whether the caller has left it open, or asked for it.
may() { [ -z "$way" ] || [ "$way" = "$1" ]; }

by_rustup() { command -v rustup >/dev/null && rustup "$@" >/dev/null 2>&1; }

install_for() {
    say "installing what $1 needs"
    if may source && by_rustup component add rust-src; then
        return 0
    fi
    if may debian && command -v apt-get >/dev/null &&
        as_root apt-get update -qq &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            "${DEBIAN_PACKAGES[@]}" binutils qemu-user-static >/dev/null; then
        return 0
    fi
    if may rustup; then
        by_rustup target add "$1" || true
    fi
}

# Sets `chosen` for a target.
choose() {
    chosen=
    if may source && has_source; then
        chosen=source
    elif may debian && has_debian; then
        chosen=debian
    elif may rustup && has_rustup_target "$1"; then
        chosen=rustup
    fi
}

prepare_zig() {
    local venv=$CACHE/zig
    if [ "$(cat "$venv/versions" 2>/dev/null)" != "$ZIGLANG $CARGO_ZIGBUILD" ]; then
        say "fetching zig $ZIGLANG and cargo-zigbuild $CARGO_ZIGBUILD into ${venv#"$ROOT"/}"
        python3 -m venv --clear "$venv" ||
            fail "zig: python3 cannot make a virtual environment: install python3-venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check \
            "ziglang==$ZIGLANG" "cargo-zigbuild==$CARGO_ZIGBUILD" ||
            fail "zig: pip could not fetch it: look at the network or set PIP_INDEX_URL"
        printf '%s %s' "$ZIGLANG" "$CARGO_ZIGBUILD" >"$venv/versions"
    fi
    CARGO_ZIGBUILD_ZIG_PATH=$(find "$venv/lib" -path '*/ziglang/zig' -type f | head -n 1)
    [ -x "$CARGO_ZIGBUILD_ZIG_PATH" ] || fail "zig: not inside $venv: remove that folder and try again"
    # Its own cache too: nothing is left outside of this folder.
    export CARGO_ZIGBUILD_ZIG_PATH XDG_CACHE_HOME=$CACHE ZIG_GLOBAL_CACHE_DIR=$CACHE/zig-global
}

# compile SOURCES TARGET-DIR TARGET: the path of the binary on stdout, all else on stderr.
compile() {
    local sources=$1 into=$2 target=$3 path=$PATH
    local args=(zigbuild --release --locked --target "$target" --bin svs-bot)
    local cargo_home=${CARGO_HOME:-$HOME/.cargo}
    local flags="--remap-path-prefix=$sources=/svs-bot"
    flags+=$'\x1f'"--remap-path-prefix=$cargo_home=/cargo"
    flags+=$'\x1f'"--remap-path-prefix=$into=/target"
    # A panic aborts, and symbols are stripped: nobody would read the tables.
    flags+=$'\x1f''-Cforce-unwind-tables=no'
    local c_flags="-ffile-prefix-map=$sources=/svs-bot -ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$into=/target"
    c_flags+=' -fno-unwind-tables -fno-asynchronous-unwind-tables'
    [ -z "$features" ] || args+=(--features "$features")
    args+=("${configs[@]}")
    local sqlite
    sqlite="$(grep -v '^#' "$sources/cross/sqlite-flags" | tr '\n' ' ')${sqlite_more[*]}"
    local env=(CARGO_TARGET_DIR="$into" CFLAGS="$c_flags" CARGO_INCREMENTAL=0 LIBSQLITE3_FLAGS="$sqlite" SVS_BOT_TARGET="$target")
    if [ "$chosen" = source ]; then
        # Its paths stand in the words of the library's panics.
        flags+=$'\x1f'"--remap-path-prefix=$(rustc --print sysroot)=/rust"
    fi
    if [ "$chosen" != rustup ]; then
        # Neither Debian nor the sources alone bring crt objects for musl; zig has its own.
        flags+=$'\x1f''-Clink-self-contained=no'
        args+=("-Zbuild-std=std,panic_abort" "-Zbuild-std-features=$std_features")
        env+=(RUSTC_BOOTSTRAP=1)
        if [ "$chosen" = debian ]; then
            path=/usr/bin:$path
            env+=(CARGO=/usr/bin/cargo RUSTC=/usr/bin/rustc)
        fi
        # zig's musl has 64-bit times on 32-bit machines; without this word the libc crate takes the old ones, and a
        # program on such a board ends in January 2038. The library that rustup brings cannot be told.
        case $target in armv7-*) env+=(RUST_LIBC_UNSTABLE_MUSL_V1_2_3=1) ;; esac
    fi
    (cd "$sources" && env -u RUSTFLAGS "${env[@]}" CARGO_ENCODED_RUSTFLAGS="$flags" \
        PATH="$CACHE/zig/bin:$path" "$CACHE/zig/bin/cargo-zigbuild" "${args[@]}" >&2) ||
        fail "$target: the build failed: see above"
    printf '%s\n' "$into/$target/release/svs-bot"
}

emulator() {
    case $1 in
        "$(uname -m)"-*) echo env ;;
        aarch64-*) command -v qemu-aarch64-static || command -v qemu-aarch64 ;;
        armv7-*) command -v qemu-arm-static || command -v qemu-arm ;;
        x86_64-*) command -v qemu-x86_64-static || command -v qemu-x86_64 ;;
    esac
}

check() {
    local file=$1 target=$2 bytes runner printed answers
    command -v readelf >/dev/null || fail "$target: readelf is missing: install binutils"
    if readelf --wide --program-headers --dynamic "$file" 2>/dev/null | grep -E 'INTERP|\(NEEDED\)' >&2; then
        fail "$target: not static: it wants a loader or a library, see above"
    fi
    bytes=$(stat -c %s "$file")
    if [ "$bytes" -gt "$SIZE_MAX_BYTES" ]; then
        [ "$chosen" = rustup ] ||
            fail "$target: $bytes bytes, at most $SIZE_MAX_BYTES: look for what grew with cargo bloat"
        say "$target: $bytes bytes, more than $SIZE_MAX_BYTES, by the finished library: 'rustup component add rust-src' makes it smaller"
    fi
    if [ "$run" = no ]; then
        say "$target: static, $bytes bytes; not started (--no-run)"
        return
    fi
    runner=$(emulator "$target") ||
        fail "$target: cannot be started here: install qemu-user-static, or say --no-run"
    printed=$(timeout 60 "$runner" "$file" --version) || fail "$target: does not start under $runner"
    case $printed in
        *"$version"*"$target"*) ;;
        *) fail "$target: --version printed '$printed': wanted $version and $target in it" ;;
    esac
    answers=$(printf 'hello\nhow are you?\n' | timeout 120 "$runner" "$file" demo 2>/dev/null) ||
        fail "$target: demo failed under $runner: run it by hand"
    [ "$(printf '%s\n' "$answers" | grep -c .)" -ge 2 ] || fail "$target: demo did not answer: '$answers'"
    say "$target: static, $bytes bytes, starts, chats in demo; it says: $printed"
    try_late_clock "$file" "$target"
}

# 32-bit times end in January 2038. The clock of a static program is reached through its emulator, which is not static.
try_late_clock() {
    local file=$1 target=$2 runner fake answers
    case $target in armv7-*) ;; *) return 0 ;; esac
    runner=$(command -v qemu-arm || true)
    fake=$(find /usr/lib -name libfaketimeMT.so.1 -print -quit 2>/dev/null || true)
    if [ -z "$runner" ] || [ -z "$fake" ]; then
        say "$target: not tried with a clock of 2040: that needs the packages qemu-user and faketime"
        return
    fi
    answers=$(printf 'hello\n' | LD_PRELOAD=$fake FAKETIME='@2040-01-01 00:00:00' FAKETIME_DONT_FAKE_MONOTONIC=1 \
        timeout 120 "$runner" "$file" demo 2>/dev/null) || true
    if [ -n "$answers" ]; then
        say "$target: chats in 2040 as well"
    elif [ "$chosen" != rustup ]; then
        fail "$target: does not work after January 2038: were the 64-bit times left out?"
    else
        say "$target: ends in January 2038, since the library that rustup brings has 32-bit times: --way source and --way debian have not"
    fi
}

# A copy elsewhere, so that no path of this folder can hide in the bytes.
compare_second_build() {
    local file=$1 target=$2 copy again
    copy=$(mktemp -d)
    # shellcheck disable=SC2064 # the folder of now is meant
    trap "rm -rf '$copy'" EXIT
    (cd "$ROOT" && git ls-files -z --cached --others --exclude-standard | tar --null -cf - --files-from - 2>/dev/null) |
        tar -xf - -C "$copy" || fail "$target: the sources could not be copied to $copy"
    say "$target: building again in $copy"
    again=$(compile "$copy" "$copy/out" "$target")
    cmp "$file" "$again" >&2 || fail "$target: two builds differ: compare $file and a build elsewhere with diffoscope"
    rm -rf "$copy"
    trap - EXIT
    say "$target: reproducible: both builds have the same bytes"
}

mkdir -p "$DIST" "$BUILD"
prepare_zig
for target in "${targets[@]}"; do
    choose "$target"
    if [ -z "$chosen" ] && [ "$install" = yes ]; then
        install_for "$target"
        choose "$target"
    fi
    case $chosen in
        source) say "$target: by the compiler at hand, standard library built along ($(rustc --version))" ;;
        rustup) say "$target: by rustup's standard library ($(rustc --version))" ;;
        debian) say "$target: by Debian's compiler, standard library built along ($(/usr/bin/rustc --version))" ;;
        *) fail "$target: no way to build: run 'rustup component add rust-src', install ${DEBIAN_PACKAGES[*]} ($rust_wanted or newer), or say --install-deps" ;;
    esac
    binary=$(compile "$ROOT" "$BUILD/$chosen" "$target")
    if [ -n "$try" ]; then
        install -m 0755 "$binary" "$try"
        continue
    fi
    name=svs-bot-$version-$target
    install -m 0755 "$binary" "$DIST/$name"
    check "$DIST/$name" "$target"
    python3 "$ROOT/cross/sbom.py" "$target" "$features" >"$DIST/$name.cdx.json" ||
        fail "$target: the list of its parts could not be made: see above"
    [ "$reproducible" = no ] || compare_second_build "$DIST/$name" "$target"
done
[ -z "$try" ] || exit 0
(cd "$DIST" && sha256sum "svs-bot-$version-"*-linux-musl* >SHA256SUMS && cat SHA256SUMS)
