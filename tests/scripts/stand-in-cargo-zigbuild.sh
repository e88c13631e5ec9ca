#!/usr/bin/env bash
# Plays cargo-zigbuild for the tests of cross/build.sh: its moods are files under $FAKE; every build is written down.
# What it builds is a script that says what it is for; with FAKE_BOT it runs that program.
set -euo pipefail
printf '%s RUSTC=%s\n' "$*" "${RUSTC:-}" >>"$FAKE/builds"
all=$*
target=${all#*--target }
target=${target%% *}
[ ! -e "$FAKE/build-fails" ] || exit 101
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
bot=$CARGO_TARGET_DIR/$target/release/svs-bot
mkdir -p "$(dirname "$bot")"
cat >"$bot" <<BOT
#!/usr/bin/env bash
case \${1:-} in --version) echo "svs-bot $version $(cat "$FAKE/says" 2>/dev/null || echo "$target")" && exit ;; esac
BOT
if [ -n "${FAKE_BOT:-}" ]; then
    printf 'exec %q "$@"\n' "$FAKE_BOT" >>"$bot"
elif [ ! -e "$FAKE/mute" ]; then
    echo cat >>"$bot"
fi
# What a build that is not reproducible leaks: the place where it was built.
[ ! -e "$FAKE/leaks" ] || echo "# $PWD" >>"$bot"
if [ -e "$FAKE/fat" ]; then
    printf 'exit\n' >>"$bot"
    head -c 5000000 /dev/zero >>"$bot"
fi
chmod +x "$bot"
