#!/bin/sh
# Write requirements/*.txt anew from pyproject.toml: hashed, for all platforms, with no host in them.
set -eu
cd "$(dirname "$0")/.."
for kind in all demo dev; do
    group="--group $kind"
    [ "$kind" = all ] && group=""
    # shellcheck disable=SC2086  # an empty group is no argument
    uv pip compile pyproject.toml --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
        --no-build --all-extras $group --quiet -o "requirements/$kind.txt" "$@" >/dev/null
done
