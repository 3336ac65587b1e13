#!/bin/sh
# Checks what is in this folder without a cluster, a container engine or a running Prometheus: renders the manifests and holds them
# against Kubernetes' schemas, lints image and units, tests the alerts, and compares all of it with the code. README.md says what that
# does and does not show. What it needs it fetches once, in pinned versions, into ~/.cache/slotwatch.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/slotwatch
binaries=${1:-${CARGO_TARGET_DIR:-$here/../target}/debug}
helm_version=v3.22.0
kustomize_version=v5.8.1
# What helm believes to render for; compiled like this it knows no version of its own.
kubernetes=1.37.0
# What compiles the two, where there is no Go of 1.21 or later, which would fetch what they ask for by itself.
go_version=1.26.8

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
has() { command -v "$1" >/dev/null 2>&1; }
say() { printf '%s\n' "$*"; }
die() {
    say "$*" >&2
    exit 1
}

as=''
[ "$(id -u)" -eq 0 ] || as=sudo

# Downloads packages of Debian's and unpacks them to a folder, for what must not be installed (it would start a service, or is old).
unpack() {
    into=$1
    shift
    mkdir "$work/packages"
    (
        cd "$work/packages"
        apt-get download -qq "$@" || { $as apt-get update -qq && apt-get download -qq "$@"; }
        for package in ./*.deb; do dpkg-deb -x "$package" "$into"; done
    ) >&2
    rm -rf "$work/packages"
}
install() {
    has apt-get || die "missing, and cannot be installed from here: $*"
    say "installing: $*"
    $as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 || {
        $as apt-get update -qq >&2
        $as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
    }
}

# Python and the packages of validate/requirements.txt, in an environment that belongs to just these versions.
prepare_python() {
    tools=$cache/deploy-$(cksum <"$here/validate/requirements.txt" | tr ' ' '-')
    if [ ! -e "$tools/complete" ]; then
        python3 -c 'import ensurepip, venv' 2>/dev/null || install python3-venv
        rm -rf "$tools"
        python3 -m venv "$tools"
        "$tools/bin/pip" install --quiet --disable-pip-version-check --only-binary=:all: \
            --requirement "$here/validate/requirements.txt"
        : >"$tools/complete"
    fi
    PATH=$tools/bin:$PATH
}

# A Go that can compile what we ask it to. Debian 12 has one that only knows how to fetch another.
prepare_go() {
    case $(go env GOVERSION 2>/dev/null) in
    '' | go1.[0-9] | go1.[0-9].* | go1.1[0-9] | go1.1[0-9].* | go1.20*) ;;
    *) return ;;
    esac
    machine=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
    module=golang.org/toolchain@v0.0.1-go$go_version.linux-$machine
    export GOMODCACHE="$cache/go" GOTOOLCHAIN=local
    if [ ! -x "$GOMODCACHE/$module/bin/go" ]; then
        has apt-get || die 'Go 1.21 or later is missing'
        unpack "$work/old-go" golang-1.19-go
        (cd "$work" && GOROOT=$work/old-go/usr/lib/go-1.19 "$work/old-go/usr/lib/go-1.19/bin/go" mod download "$module")
        # As modules have no permissions, it comes without them.
        chmod -R u+w,+x "$GOMODCACHE/$module/bin" "$GOMODCACHE/$module/pkg/tool"
    fi
    PATH=$GOMODCACHE/$module/bin:$PATH
}
# Compiles a command of a Go module: the name, the package, the version.
prepare_go_command() {
    if [ ! -x "$cache/$1-$3/$1" ]; then
        prepare_go
        say "compiling $1 $3"
        GOBIN=$cache/$1-$3 CGO_ENABLED=0 GOFLAGS=-trimpath go install -ldflags='-s -w' "$2@$3"
    fi
    PATH=$cache/$1-$3:$PATH
}

prepare_promtool() {
    if ! has promtool && [ ! -x "$cache/promtool" ]; then
        has apt-get || die 'promtool is missing; it is a part of Prometheus'
        unpack "$work/prometheus" prometheus
        mkdir -p "$cache"
        mv "$work/prometheus/usr/bin/promtool" "$cache/promtool"
    fi
    PATH=$PATH:$cache
}

prepare_helm() {
    case $(helm version --short 2>/dev/null) in
    v3.*) ;;
    *) prepare_go_command helm helm.sh/helm/v3/cmd/helm $helm_version ;;
    esac
}
prepare_kustomize() {
    case $(kubectl version --client 2>/dev/null) in
    *'Kustomize Version: v5'*) kustomize_build='kubectl kustomize' ;;
    *)
        prepare_go_command kustomize sigs.k8s.io/kustomize/kustomize/v5 $kustomize_version
        kustomize_build='kustomize build'
        ;;
    esac
}

say '-- tools'
mkdir -p "$cache"
# Two that run at the same time would build in each other's way.
exec 9>"$cache/deploy.lock"
flock 9
prepare_python
prepare_promtool
prepare_kustomize
prepare_helm
has systemd-analyze || install systemd
exec 9>&-

say '-- kustomize'
mkdir "$work/rendered"
cp -r "$here/k8s" "$work/k8s"
# What git does not have, as its README asks for it.
for file in postgres-password postgres-ca.crt kafka-ca.crt producer.crt producer.key consumer.crt consumer.key; do
    echo example >"$work/k8s/overlays/production/secrets/$file"
done
for folder in base overlays/dev overlays/production; do
    $kustomize_build "$work/k8s/$folder" >"$work/rendered/kustomize-$(basename "$folder").yaml"
done

say '-- helm'
chart=$here/helm/slotwatch
for values in "$chart"/ci/*-values.yaml; do
    name=$(basename "$values" -values.yaml)
    helm lint --strict --quiet --values "$values" "$chart"
    helm template watch "$chart" --kube-version "$kubernetes" --namespace slotwatch --values "$values" >"$work/rendered/helm-$name.yaml"
done
# What must be refused: a value that nothing reads, a wrong type, and a chart that is not told the least.
refused() {
    if helm template watch "$chart" --kube-version "$kubernetes" "$@" >/dev/null 2>"$work/refusal"; then die "helm takes $*"; fi
}
least=$chart/ci/least-values.yaml
refused --values "$least" --set consumer.replcas=3
refused --values "$least" --set producer.config.replicas.enabled=true
refused --values "$least" --set producer.config.spool.max_byte=1
refused --values "$least" --set-string consumer.replicas=two
refused --values "$least" --set kafka.config.brokers=
refused --values "$least" --set postgres.config.host=
refused --values "$least" --set producer.targets=null
refused --values "$least" --set producer.config.replicas.instance=same
refused

say '-- image, compose, schema of the values'
hadolint "$here/Dockerfile"
check-jsonschema --builtin-schema vendor.compose-spec "$here/compose.yaml"
check-jsonschema --check-metaschema "$chart/values.schema.json"

say '-- manifests, and what they say beside the code'
python3 "$here/validate/check.py" "$here/.." "$work" "$binaries"

say '-- alerts and dashboard'
promtool check rules "$here/alerts.yaml" "$work/dashboard-rules.yaml" >"$work/promtool" 2>&1 || die "$(cat "$work/promtool")"
promtool test rules "$here/alerts.test.yaml"

say '-- units'
for unit in "$here"/systemd/*.service; do
    # The binaries are not installed here.
    sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' "$unit" >"$work/$(basename "$unit")"
    mkdir "$work/$(basename "$unit").d"
    cp "$here/systemd/kafka-tls.conf" "$work/$(basename "$unit").d/"
done
systemd-analyze verify --man=no --recursive-errors=no "$work"/*.service
# In tenths, where 100 is the worst.
systemd-analyze security --no-pager --offline=true --threshold=15 "$work"/*.service >"$work/exposure" || die "$(cat "$work/exposure")"
grep 'Overall exposure' "$work/exposure"
