#!/bin/sh
# What pip cannot install: a C++ compiler, make and cmake (Horovod) and a Java runtime (Spark).
# Installs what is missing with apt when run as root, else names it.
set -eu
missing=""
command -v g++   >/dev/null 2>&1 || missing="$missing build-essential"
command -v make  >/dev/null 2>&1 || missing="$missing build-essential"
command -v cmake >/dev/null 2>&1 || missing="$missing cmake"
command -v java  >/dev/null 2>&1 || missing="$missing openjdk-17-jre-headless"
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
