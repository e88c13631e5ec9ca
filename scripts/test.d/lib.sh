# shellcheck shell=bash
# What the checks share: where things lie, missing parts, ports, waiting. Sourced, from the root of the project.

CACHE=${SVS_BOT_CACHE:-$ROOT/scripts/.cache}
export CACHE

stop() {
    printf '%s\n' "$*" >&2
    exit 1
}

# The command's path, also where only root looks.
find_command() {
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" || true
}

# need COMMAND PACKAGE
need() {
    [ -n "$(find_command "$1")" ] || stop "$1 is missing: install the package $2, or run scripts/test --set-up"
}

shell_files() {
    git ls-files --cached --others --exclude-standard -- .ci cross scripts tests |
        while IFS= read -r file; do
            if [ -f "$file" ] && head -n 2 "$file" | grep -qE '^#!.*\b(bash|sh)$|^# shellcheck shell='; then
                printf '%s\n' "$file"
            fi
        done
}

# The pinned Python packages, in a virtual environment of this project's own.
python_peers() {
    local wanted=scripts/test.d/requirements.txt venv=$CACHE/python
    cmp -s "$wanted" "$venv/requirements.txt" && return 0
    mkdir -p "$CACHE"
    python3 -m venv --clear "$venv" || stop 'python3 cannot make a virtual environment: install python3-venv'
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted" ||
        stop "pip could not install $wanted: look at the network"
    cp "$wanted" "$venv/requirements.txt"
}

# The pinned npm packages; their install scripts stay off.
npm_peers() {
    local wanted=scripts/test.d/package.json folder=$CACHE/npm
    cmp -s "$wanted" "$folder/.installed" && return 0
    need npm npm
    rm -rf "$folder"
    mkdir -p "$folder"
    cp "$wanted" "$folder/package.json"
    (cd "$folder" && npm install --silent --ignore-scripts --no-audit --no-fund --no-package-lock) ||
        stop "npm could not install $wanted: look at the network"
    cp "$wanted" "$folder/.installed"
}

# A free port of loopback.
free_port() {
    PYTHONPATH=$ROOT/scripts/test.d python3 -c 'from standin import free_port; print(free_port())'
}

# wait_for SECONDS WHAT COMMAND…: until the command succeeds; fails by name.
wait_for() {
    local seconds=$1 what=$2 end
    shift 2
    end=$(($(date +%s) + seconds))
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt "$end" ] || stop "$what: not within $seconds s"
        sleep 0.1
    done
}

# The program under test: the debug build, or what SVS_BOT names.
program() {
    local file=${SVS_BOT:-${CARGO_TARGET_DIR:-target}/debug/svs-bot}
    [ -x "$file" ] || stop "$file is missing: run cargo build"
    realpath "$file"
}
