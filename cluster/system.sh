#!/bin/sh
# What pip cannot install: a C++ compiler, make and cmake (Horovod) and a Java runtime (Spark); with the argument npm,
# Node.js (the tests' server of Azure Blob Storage). Installs what is missing with apt when run as root, else names it.
set -eu
missing=""
needs() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
if [ "${1:-}" = npm ]; then
    needs npm "nodejs npm"
else
    needs g++ build-essential
    needs make build-essential
    needs cmake cmake
    needs java openjdk-17-jre-headless
fi
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "is2ice: installing$missing"
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
else
    echo "is2ice: this machine lacks$missing" >&2
    echo "        install them, for instance: sudo apt-get install$missing" >&2
    exit 1
fi
