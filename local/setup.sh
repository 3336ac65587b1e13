#!/bin/sh
# Finds out what this machine lacks to build Slotwatch and to run it with services of its own. On Debian and its kin it
# installs just that, if it may; elsewhere it says what is missing and ends with status 1. Without Java it goes on, since
# the demo has an embedded broker for that case. Says nothing when nothing is missing.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin:/usr/sbin:/sbin"

missing=''  # Debian's names of the packages that are lacking
said=''     # the same for people, one thing a line
lacks() {
    missing="$missing $1"
    said="$said
  - $2"
}
has() { command -v "$1" >/dev/null 2>&1; }
say() { printf '%s\n' "$*" >&2; }

cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/slotwatch

# Fetches packages that are unpacked and not installed, since the first of them would start a service: its program, and the libraries
# that it brings along, come into one folder. Where that fails we go without.
fetch() {
    program=$1 to=$2
    shift 2
    folder=$(mktemp -d)
    if (
        cd "$folder"
        apt-get download -qq "$@" || { apt-get update -qq && apt-get download -qq "$@"; }
        for package in ./*.deb; do dpkg-deb -x "$package" .; done
        mkdir -p "$to"
        find usr lib -name '*.so*' -exec mv -f {} "$to" \; || :
        mv "$(find usr -path "*bin/$program")" "$to/$program"
    ) >/dev/null 2>&1; then
        say "unpacked: $program, to $to"
    else
        say "There is no $program to be had here; what needs it goes without it, or fails."
    fi
    rm -rf "$folder"
}

# A peer that the benchmarks measure ourselves beside, and the pooler that tests put before Postgres.
peer=prometheus-blackbox-exporter
case "${1:-}" in
    bench) has "$peer" || has blackbox_exporter || [ -x "$cache/$peer" ] || fetch "$peer" "$cache" "$peer" ;;
    test) has pgbouncer || [ -x "$cache/pgbouncer/pgbouncer" ] ||
        fetch pgbouncer "$cache/pgbouncer" pgbouncer libevent-2.1-7 libc-ares2 ;;
esac

java=${JAVA_HOME:+$JAVA_HOME/bin/}java
java_is_new_enough() {
    has "$java" || return 1
    version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')
    [ "${version:-0}" -ge 17 ]
}
postgres_is_installed() {
    has postgres && has initdb && return
    for folder in /usr/lib/postgresql/*/bin /usr/libexec/postgresql*/bin "$(pg_config --bindir 2>/dev/null || :)"; do
        [ -x "$folder/postgres" ] && [ -x "$folder/initdb" ] && return
    done
    return 1
}
kafka_is_cached() {
    version=$(sed -n 's|.*<kafka.version>\(.*\)</kafka.version>.*|\1|p' "$root/local/kafka/pom.xml")
    [ -d "${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/slotwatch/kafka-$version/libs" ]
}

# What the build needs: librdkafka is compiled here and linked with the system's OpenSSL.
{ has cc || has gcc || has clang; } || lacks 'gcc libc6-dev' 'a C compiler'
{ has c++ || has g++ || has clang++; } || lacks g++ 'a C++ compiler'
has make || lacks make 'make'
if has pkg-config; then
    pkg-config --exists openssl || lacks libssl-dev 'the headers of OpenSSL (libssl-dev, openssl-devel)'
else
    lacks 'pkg-config libssl-dev' 'pkg-config, and the headers of OpenSSL (libssl-dev, openssl-devel)'
fi
[ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] || [ -e /etc/ssl/cert.pem ] ||
    lacks ca-certificates 'the root certificates of the public authorities (ca-certificates)'

# What the services need, unless they are given.
java_needed=''
if [ -z "${KAFKA_BROKERS:-}" ]; then
    java_is_new_enough || java_needed=yes
    [ -n "${KAFKA_HOME:-}" ] || kafka_is_cached || has mvn || lacks maven 'Apache Maven (mvn)'
fi
[ -n "${POSTGRES_URL:-}" ] || postgres_is_installed || lacks postgresql 'the PostgreSQL server'

rust_needed=''
has cargo || rust_needed=yes
[ -n "$missing$java_needed$rust_needed" ] || exit 0

# As whom packages can be installed: the empty word is nobody, `env` is ourselves.
as=''
if has apt-get; then
    if [ "$(id -u)" -eq 0 ]; then
        as='env'
    elif has sudo && sudo -n true 2>/dev/null; then
        as='sudo'
    fi
fi

install() {
    say "installing:$*"
    # The words of the list are package names, to be split.
    # shellcheck disable=SC2048,SC2086
    $as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $* >&2
}
# The first of these packages that this system knows.
first_known() {
    for package in "$@"; do
        # One that is only mentioned by others has no version.
        if [ -n "$(apt-cache madison "$package" 2>/dev/null)" ]; then
            echo "$package"
            return
        fi
    done
}

if [ -n "$as" ]; then
    say 'Some packages are missing; fetching the lists of packages.'
    $as apt-get update -qq >&2 || say 'The lists could not be fetched; trying with those that are here.'
    if [ -n "$java_needed" ]; then
        runtime=$(first_known openjdk-17-jre-headless openjdk-21-jre-headless openjdk-25-jre-headless)
        if [ -n "$runtime" ] && install " $runtime"; then java_needed=''; fi
    fi
    # Maven is only of use to Java.
    [ -z "$java_needed" ] || missing=$(printf '%s' "$missing" | sed 's/ maven//')
    if [ -n "$rust_needed" ] && [ -n "$(first_known rustup)" ]; then
        install ' rustup' && rust_needed=''
    fi
    if [ -n "$missing" ]; then
        install "$missing" || {
            say "Installing failed. Needed are:$missing"
            exit 1
        }
    fi
else
    [ -z "$java_needed" ] || missing=$(printf '%s' "$missing" | sed 's/ maven//')
    if [ -n "$missing" ]; then
        say "This is missing, and cannot be installed from here:$said"
        if has apt-get; then
            [ -z "$java_needed" ] || missing="$missing maven openjdk-17-jre-headless"
            say "Install it with: sudo apt-get install --no-install-recommends$missing"
        else
            say "On Debian these are the packages:$missing"
        fi
    fi
fi

if [ -n "$java_needed" ]; then
    say 'WARNING: there is no Java 17 or newer (Debian: openjdk-17-jre-headless, and maven beside it), so there will be'
    say 'WARNING: no real Kafka; make demo falls back to an embedded broker, and make test needs KAFKA_BROKERS.'
fi
if [ -n "$rust_needed" ]; then
    version=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' "$root/rust-toolchain.toml")
    say "Rust is missing. Install rustup as https://rustup.rs says (curl -sSf https://sh.rustup.rs | sh -s -- -y);"
    say "it then fetches the version that rust-toolchain.toml names ($version) by itself."
    exit 1
fi
[ -n "$as" ] || [ -z "$missing" ] || exit 1
