#!/bin/sh
# Write requirements/*.txt anew from pyproject.toml: hashed, for all platforms, with no host in them.
set -eu
cd "$(dirname "$0")/.."
for kind in all demo dev clients clients-instructor clients-litellm clients-redis451 clients-redis453; do
    of=pyproject.toml
    case $kind in
        all) options="--all-extras" ;;
        clients-redis*) options="--group $kind" of="" ;; # nothing of Payonce
        clients*) options="--group $kind" ;;             # the library is all they need of Payonce
        *) options="--all-extras --group $kind" ;;
    esac
    # shellcheck disable=SC2086  # options are words
    uv pip compile $of --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
        --no-build $options --quiet -o "requirements/$kind.txt" "$@" >/dev/null
done
cd tests/clients/js && npm install --package-lock-only --silent
