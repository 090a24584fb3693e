#!/bin/sh
# Make .venv hold what `make $1` needs (demo or dev), on a machine that has nothing but make and a package manager.
# `clients` fills .clients/ instead: the programs that tests/clients drives, each set in an environment of its own.
set -eu
kind=${1:?demo, dev or clients}
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

apt() {
    as_root=""
    [ "$(id -u)" = 0 ] || as_root=sudo
    if ! command -v apt-get >/dev/null 2>&1 || { [ -n "$as_root" ] && ! command -v sudo >/dev/null 2>&1; }; then
        say "Please install: $*  (Debian's names), then run make again."
        exit 1
    fi
    say "installing $*"
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    # RUNLEVEL=1: a server that is installed for tests is not started by the system.
    $as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

find_python() {
    for name in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s' "$name"
            return 0
        fi
    done
    return 1
}

python=$(find_python) || { apt python3 python3-venv ca-certificates; python=$(find_python); } || {
    say "Payonce needs Python 3.11 or later; set PYTHON=/path/to/python and run make again."
    exit 1
}
"$python" -c 'import ensurepip, venv' 2>/dev/null || apt python3-venv

# fill DIRECTORY REQUIREMENTS [OPTION]: an environment that holds these and Payonce itself, installed by our own pip.
fill() {
    say "installing requirements/$2.txt into $1"
    for what in "--require-hashes --only-binary :all: -r requirements/$2.txt" \
        "--no-deps --no-build-isolation --no-index -e ."; do
        # shellcheck disable=SC2086  # options are words
        .venv/bin/python -m pip --python "$1/bin/python" install --quiet --disable-pip-version-check ${3:-} $what
    done
}

if [ "$kind" = clients ]; then
    for name in main instructor litellm redis451 redis453; do
        [ -x ".clients/$name/bin/python" ] || "$python" -m venv --without-pip ".clients/$name"
    done
    fill .clients/main clients --no-compile &
    first=$!
    fill .clients/instructor clients-instructor --no-compile
    fill .clients/litellm clients-litellm --no-compile
    for name in redis451 redis453; do # as they were when they leaked: what tests/storm must be able to see
        say "installing requirements/clients-$name.txt into .clients/$name"
        .venv/bin/python -m pip --python ".clients/$name/bin/python" install --quiet --disable-pip-version-check \
            --require-hashes --only-binary :all: -r "requirements/clients-$name.txt"
    done
    wait "$first"
    command -v npm >/dev/null 2>&1 || apt nodejs npm
    [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 18 ] || {
        say "The JavaScript clients need Node 18 or later."
        exit 1
    }
    say "installing tests/clients/js/package-lock.json"
    (cd tests/clients/js && npm ci --silent --no-audit --no-fund)
    touch .clients/ready
    exit 0
fi

# The servers that tests start and stop themselves (prometheus brings promtool); Valkey comes with the requirements.
if [ "$kind" = dev ] && command -v apt-get >/dev/null 2>&1; then
    missing=""
    for program in redis-server memcached prometheus chromium; do
        command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
    done
    # shellcheck disable=SC2086  # several words are several packages
    [ -z "$missing" ] || apt $missing
fi

[ -x .venv/bin/python ] && .venv/bin/python -c 'import pip' 2>/dev/null || { rm -rf .venv; "$python" -m venv .venv; }
fill .venv "$kind"
touch ".venv/ready-$kind"
[ "$kind" = demo ] || touch .venv/ready-demo
