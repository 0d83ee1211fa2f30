#!/usr/bin/env bash
# Installs and starts what a fresh Debian 12 machine lacks to build, test and show Forge.
# Idempotent; never touches what is already there and running.
#
#   scripts/setup.sh            install programs, start the Docker Engine, make the base image
#   scripts/setup.sh --tests    and what only the tests need
#   scripts/setup.sh --bench    and what only the benchmarks compare with
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/common.sh
PATH=$PATH:/usr/sbin:/sbin # Where Debian keeps dockerd, and a user's PATH does not look.

# Program → Debian package that brings it.
declare -A PACKAGES=(
  [redis-server]=redis-server [redis-cli]=redis-tools [dockerd]=docker.io [docker]=docker.io
  [docker-registry]=docker-registry [docker-compose]=docker-compose [htpasswd]=apache2-utils [git]=git [curl]=curl [jq]=jq
  [openssl]=openssl [iptables]=iptables [busybox]=busybox-static [debootstrap]=debootstrap [gcc]=gcc
  [python3]=python3 [ps]=procps [ip]=iproute2 [mount]=mount [ssh]=openssh-client
)
# The same for what only the tests need.
declare -A TEST_PACKAGES=([node]=nodejs [npm]=npm [psql]=postgresql [systemd-analyze]=systemd [nginx]=nginx-light
  [/usr/bin/python3.11]=python3.11 [sshd]=openssh-server)
declare -A BENCH_PACKAGES=([node]=nodejs [npm]=npm [webhook]=webhook [taskset]=util-linux)

install_programs() {
  local missing=() program
  for program in "${!PACKAGES[@]}"; do
    command -v "$program" >/dev/null || missing+=("${PACKAGES[$program]}")
  done
  [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
  [ "${1:-}" != --tests ] || python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
  [ -e /usr/include/stdio.h ] || missing+=(libc6-dev) # gcc only recommends it.
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || die "these packages are missing, install them as root: ${missing[*]}"
  say "installing ${missing[*]}"
  apt-get update -qq
  # Packages must not start daemons of their own on a machine that is not theirs.
  policy=/usr/sbin/policy-rc.d made= # Not local: the trap looks at them when everything has ended.
  trap '[ -z "$made" ] || rm -f "$policy"' RETURN EXIT
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' > $policy; chmod +x $policy; made=1; }
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$STATE/apt.log" 2>&1 ||
    { tail -20 "$STATE/apt.log" >&2; die "apt-get failed"; }
}

install_test_tools() {
  cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || rustup component add rustfmt clippy
  cargo nextest --version >/dev/null 2>&1 || {
    say "installing cargo-nextest (once; some minutes)"
    cargo install --quiet --locked cargo-nextest
  }
  install_node_packages crates/testkit/node "$STATE/node" # Real payloads and independent signers.
  install_python_packages crates/testkit/python/requirements.txt "$STATE/python" # A store that speaks S3.
}

# install_python_packages FILE TO: what FILE names, in an environment of its own.
install_python_packages() {
  local file=$1 to=$2
  cmp -s "$file" "$to/installed.txt" && return
  say "installing the Python packages of $file"
  python3 -m venv "$to" && "$to/bin/pip" install --quiet --disable-pip-version-check -r "$file" ||
    die "pip cannot install what $file names"
  cp "$file" "$to/installed.txt" # Only now is everything there.
}

# install_node_packages FROM TO: what FROM/package.json names, beside the programs that use it.
install_node_packages() {
  local from=$1 to=$2
  mkdir -p "$to"
  cp "$from"/*.mjs "$to"
  cmp -s "$from/package.json" "$to/installed.json" && return
  say "installing the Node packages of $from"
  cp "$from/package.json" "$to"
  (cd "$to" && npm install --no-audit --no-fund --no-package-lock >npm.log 2>&1) ||
    { tail -20 "$to/npm.log" >&2; die "npm cannot install what $from needs"; }
  cp "$from/package.json" "$to/installed.json" # Only now is everything there.
}

start_engine() {
  docker version >/dev/null 2>&1 && return
  [ "$(id -u)" = 0 ] || die "the Docker Engine does not run; start it, or run this as root"
  say "starting the Docker Engine"
  # A crash leaves these behind; the engine refuses to start when their numbers belong to others by now.
  local file
  for file in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do
    [ ! -e "$file" ] || grep -qsE '^[0-9]+ \((dockerd|containerd)\) [^Z]' "/proc/$(cat "$file")/stat" || rm -f "$file"
  done
  # The limits on the logs of steps are lifted to 64 MiB: few are clipped then. The engine holds in memory what is
  # printed faster than it is read, so that without a limit one build can take all there is. (-1 means
  # "no limit" to newer engines, and "nothing at all" to that of Debian 12.)
  BUILDKIT_STEP_LOG_MAX_SIZE=67108864 BUILDKIT_STEP_LOG_MAX_SPEED=67108864 \
    setsid dockerd >"$STATE/dockerd.log" 2>&1 </dev/null &
  local n
  for n in $(seq 100); do
    docker version >/dev/null 2>&1 && return
    sleep 0.2
  done
  tail -20 "$STATE/dockerd.log" >&2
  die "the Docker Engine does not answer"
}

# busybox from the machine's own program: no registry is needed for the sample and the tests.
make_busybox() {
  docker image inspect busybox:latest >/dev/null 2>&1 && return
  say "making the image busybox:latest"
  local root applet busybox; root=$(mktemp -d); busybox=$(command -v busybox)
  if ldd "$busybox" >/dev/null 2>&1; then # The image holds nothing else, so it must need nothing else.
    (cd "$root" && apt-get download -qq busybox-static && dpkg-deb -x busybox-static_*.deb static) >"$STATE/busybox.log" 2>&1 ||
      die "a static busybox is needed: apt-get install busybox-static"
    busybox=$root/static/bin/busybox; [ -e "$busybox" ] || busybox=$root/static/usr/bin/busybox
  fi
  mkdir -p "$root"/{bin,etc,tmp,root,proc,sys,dev,usr/bin}
  cp "$busybox" "$root/bin/busybox"
  for applet in $("$busybox" --list); do [ "$applet" = busybox ] || ln -sf busybox "$root/bin/$applet"; done
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' > "$root/etc/passwd"
  printf 'root:x:0:\n' > "$root/etc/group"
  chmod 1777 "$root/tmp"
  rm -rf "$root"/busybox-static_*.deb
  tar -C "$root" --exclude=./static --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -c . |
    docker import --change 'CMD ["sh"]' --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
      - busybox:latest >/dev/null
  rm -rf "$root"
  docker run --rm busybox true || { docker rmi busybox >/dev/null; die "the image busybox does not run"; }
}

command -v cargo >/dev/null || die "Rust is needed: https://rustup.rs"
case "${1:-}" in
  --tests) for program in "${!TEST_PACKAGES[@]}"; do PACKAGES[$program]=${TEST_PACKAGES[$program]}; done ;;
  --bench) for program in "${!BENCH_PACKAGES[@]}"; do PACKAGES[$program]=${BENCH_PACKAGES[$program]}; done ;;
esac
install_programs "${1:-}"
case "${1:-}" in
  --tests) install_test_tools ;;
  --bench) install_node_packages crates/bench/node "$STATE/bench" ;;
esac
start_engine
make_busybox
