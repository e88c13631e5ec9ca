#!/usr/bin/env bash
# cross/build.sh: which way it takes, what it installs, and what it lets pass, with stand-ins for every tool.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

TOOLS=$SCRATCH/tools SYSROOT=$SCRATCH/sysroot SOURCES=$SCRATCH/sources
export FAKE=$SCRATCH/fake SVS_BOT_CACHE=$SCRATCH/cache CARGO_HOME=$SCRATCH/cargo-home
unset CARGO_TARGET_DIR
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
ARM=armv7-unknown-linux-musleabihf
NAME=svs-bot-$VERSION-$ARM

tool() {
    mkdir -p "$(dirname "$1")"
    { printf '#!/usr/bin/env bash\n' && cat; } >"$1"
    chmod +x "$1"
}

# Only what build.sh needs, so that no compiler of this machine is found by accident.
new_machine() {
    rm -rf "$TOOLS" "$SYSROOT" "$SOURCES" "$FAKE" "$SVS_BOT_CACHE"
    mkdir -p "$TOOLS" "$FAKE" "$SOURCES/cross" "$SYSROOT/lib/rustlib"
    local name
    for name in bash env cat cp rm mkdir mktemp install sed grep head tail tr cut sort stat cmp find dirname basename \
        printf sha256sum timeout chmod tar git touch uname id; do
        ln -sf "$(command -v "$name")" "$TOOLS/$name"
    done
    # The script under test, with the places of Debian's compiler moved into the scratch folder.
    sed "s#/usr/bin/\(cargo\|rustc\)#$SCRATCH/debian/\1#g; s#/usr/lib/rustlib#$SCRATCH/debian/rustlib#g; s#/usr/bin:#$SCRATCH/debian:#" \
        cross/build.sh >"$SOURCES/cross/build.sh"
    chmod +x "$SOURCES/cross/build.sh"
    cp cross/sqlite-flags "$SOURCES/cross/"
    # The list of parts is judged by the step `deny`; here it says for what it was asked.
    tool "$TOOLS/python3" <<'TOOL'
[ ! -e "$FAKE/no-list" ] || exit 1
echo "parts of $2 with '$3'"
TOOL
    cp Cargo.toml "$SOURCES/"
    rm -rf "$SCRATCH/debian"
    git -C "$SOURCES" init --quiet
    tool "$TOOLS/rustc" <<TOOL
[ "\${1:-}" != --print ] || { echo '$SYSROOT' && exit; }
echo 'rustc 1.95.0 (the one of rustup)'
TOOL
    tool "$TOOLS/readelf" <<'TOOL'
if [ -e "$FAKE/dynamic" ]; then echo '  INTERP 0x318'; fi
TOOL
    tool "$TOOLS/qemu-arm-static" <<'TOOL'
exec "$@"
TOOL
    mkdir -p "$SVS_BOT_CACHE/zig/lib/ziglang"
    sed -n 's/^\(ZIGLANG\|CARGO_ZIGBUILD\)=//p' cross/build.sh | tr '\n' ' ' | sed 's/ $//' >"$SVS_BOT_CACHE/zig/versions"
    tool "$SVS_BOT_CACHE/zig/lib/ziglang/zig" </dev/null
    mkdir -p "$SVS_BOT_CACHE/zig/bin"
    cp tests/scripts/stand-in-cargo-zigbuild.sh "$SVS_BOT_CACHE/zig/bin/cargo-zigbuild"
}

build() { PATH=$TOOLS bash "$SOURCES/cross/build.sh" "$@"; }
builds() { cat "$FAKE/builds" 2>/dev/null || true; }
rustup_has() { mkdir -p "$SYSROOT/lib/rustlib/$1/lib"; }
debian_has() {
    tool "$SCRATCH/debian/rustc" <<<"echo 'rustc $1 (built from a source tarball)'"
    tool "$SCRATCH/debian/cargo" </dev/null
    mkdir -p "$SCRATCH/debian/rustlib/src/rust/library/std"
    touch "$SCRATCH/debian/rustlib/src/rust/library/std/Cargo.toml"
}
source_has() {
    mkdir -p "$SYSROOT/lib/rustlib/src/rust/library/std"
    touch "$SYSROOT/lib/rustlib/src/rust/library/std/Cargo.toml"
}
# What rustup's server can give is written in unreachable-COMMAND where it cannot.
rustup_can_add() {
    tool "$TOOLS/rustup" <<TOOL
printf '%s\n' "\$*" >>"\$FAKE/rustup"
[ ! -e "\$FAKE/unreachable-\$1" ] || exit 1
case "\$1" in
    target) mkdir -p "$SYSROOT/lib/rustlib/\$3/lib" ;;
    component) mkdir -p "$SYSROOT/lib/rustlib/src/rust/library/std" && touch "$SYSROOT/lib/rustlib/src/rust/library/std/Cargo.toml" ;;
esac
TOOL
}
apt_can_install() {
    tool "$TOOLS/apt-get" <<TOOL
printf '%s\n' "\$*" >>"\$FAKE/apt"
case "\$*" in install*) cp -r "$SCRATCH/debian-kept" "$SCRATCH/debian" ;; esac
TOOL
    tool "$TOOLS/sudo" <<<'exec "$@"'
    debian_has 1.96.0
    rm -rf "$SCRATCH/debian-kept" && mv "$SCRATCH/debian" "$SCRATCH/debian-kept"
}

new_machine
refuses 'a machine with nothing says what to do' 1 'no way to build' build armv7
refuses 'and does not install unasked' 1 'rustup component add rust-src' build armv7
same "$(builds)" ''

rustup_has "$ARM"
holds 'the library of rustup is taken where nothing else is' build armv7
says 'and named' "$ARM: by rustup's standard library"
holds 'without building the standard library along' test -z "$(builds | grep build-std)"
holds 'the program is where install.sh looks' test -x "$SOURCES/dist/$NAME"
holds 'with its checksum' grep -q " $NAME\$" "$SOURCES/dist/SHA256SUMS"
same "$(cat "$SOURCES/dist/$NAME.cdx.json")" "parts of $ARM with ''"
holds 'and that of its list of parts' grep -q " $NAME.cdx.json\$" "$SOURCES/dist/SHA256SUMS"

touch "$FAKE/fat"
holds 'a large program is passed, since that library is large' build --no-run armv7
says 'with a word on how to make it smaller' 'rustup component add rust-src'
rm "$FAKE/fat"

debian_has 1.96.0
holds 'Debian, which builds it along, comes before' build armv7
says 'and is named' "by Debian's compiler"
holds 'there the standard library is built along' grep -q -- "-Zbuild-std=std,panic_abort .*RUSTC=$SCRATCH/debian/rustc" "$FAKE/builds"
holds 'unless told' build --way rustup armv7
says 'which is said too' "by rustup's"
rm "$FAKE/builds"
source_has
holds 'the sources of the compiler at hand come first' build armv7
says 'and are named' 'by the compiler at hand, standard library built along'
holds 'there it is built along too, by that compiler' grep -q -- "-Zbuild-std=std,panic_abort .*RUSTC=\$" "$FAKE/builds"
refuses 'an unknown way is a wrong use' 1 'takes source, debian or rustup' build --way nix armv7
rm -r "$SYSROOT/lib/rustlib/src" "$SYSROOT/lib/rustlib/$ARM"
holds 'where rustup lacks both Debian does it' build armv7
says 'and this is said' "by Debian's compiler"
refuses 'but not when rustup was demanded' 1 'no way to build' build --way rustup armv7
debian_has 1.80.0
refuses 'a compiler that is too old is none' 1 'no way to build' build armv7

new_machine
rustup_can_add
apt_can_install
holds 'installing asks rustup for the sources first' build --install-deps armv7
says 'and takes what it brought' 'by the compiler at hand'
same "$(cat "$FAKE/rustup")" 'component add rust-src'
holds 'without a package of the system' test ! -e "$FAKE/apt"

new_machine
rustup_can_add
touch "$FAKE/unreachable-component"
holds 'where neither can be had, the finished library is' build --install-deps armv7
says 'and used' "by rustup's"

new_machine
rustup_can_add
apt_can_install
touch "$FAKE/unreachable-component" "$FAKE/unreachable-target"
holds 'where rustup cannot reach its server the packages are installed' build --install-deps armv7
says 'and used' "by Debian's compiler"
holds 'those that are named' grep -q 'install .*rustc-web cargo-web rust-web-src' "$FAKE/apt"
holds 'once' test "$(grep -c ^install "$FAKE/apt")" = 1

new_machine
rustup_has "$ARM"
rustup_has x86_64-unknown-linux-musl
rustup_has aarch64-unknown-linux-musl
tool "$TOOLS/qemu-aarch64-static" <<<'exec "$@"'
tool "$TOOLS/qemu-x86_64-static" <<<'exec "$@"'
holds 'all three at once' build all
same "$(wc -l <"$SOURCES/dist/SHA256SUMS")" 6
rm "$TOOLS/qemu-arm-static"
refuses 'what cannot be started is not passed' 1 'install qemu-user-static' build armv7
holds 'unless told so' build --no-run armv7
says 'and then this is said' 'not started'
tool "$TOOLS/qemu-arm-static" <<<'exec "$@"'

tool "$TOOLS/qemu-arm" <<'TOOL'
[ ! -e "$FAKE/old-times" ] || exit 1
exec "$@"
TOOL
touch "$SCRATCH/libfaketimeMT.so.1"
sed -i "s#find /usr/lib #find $SCRATCH #; s#LD_PRELOAD=#FAKE_PRELOAD=#" "$SOURCES/cross/build.sh"
holds 'a 32-bit board is tried with a late clock' build armv7
says 'and this is said' 'chats in 2040'
touch "$FAKE/old-times"
holds 'what rustup brings may end in 2038' build armv7
says 'which is said' 'ends in January 2038'
debian_has 1.96.0
refuses 'what is built along may not' 1 'does not work after January 2038' build --way debian armv7
rm "$FAKE/old-times"
touch "$FAKE/fat"
refuses 'nor may it be large' 1 'at most' build --way debian armv7
rm "$FAKE/fat"

# fault FILE TEXT: with this wrong, the build is refused with this text.
fault() {
    touch "$FAKE/$1"
    refuses "refused: $1" 1 "$2" build armv7
    rm "$FAKE/$1"
}
fault dynamic 'not static'
fault mute 'demo did not answer'
fault build-fails 'the build failed'
fault no-list 'the list of its parts'
echo x86_64-unknown-linux-musl >"$FAKE/says"
refuses 'refused: a program that says it is for another machine' 1 'wanted' build armv7
rm "$FAKE/says"

git -C "$SOURCES" add --all
holds 'two builds in two folders are compared' build --check-reproducible armv7
says 'and equal' 'both builds have the same bytes'
touch "$FAKE/leaks"
refuses 'a place that leaks into the bytes is found' 1 'two builds differ' build --check-reproducible armv7
refuses 'an unknown target is a wrong use' 1 'unknown option or target' build m68k
