#!/usr/bin/env bash
# Makes stand-ins for the base images of docker-compose.yml where no registry can be reached, from
# Debian's packages and this machine's Rust: forge-local/{debian,rust,redis}.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/common.sh

has() { docker image inspect "$1" >/dev/null 2>&1; }
# Whatever builder there is: these files need nothing of BuildKit.
docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0
quietly() { "$@" >"$STATE/base-images.log" 2>&1 || { tail "$STATE/base-images.log" >&2; die "failed: $*"; }; }
build() { quietly docker build --tag "$1" -; }
mirror() { apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head -n1; }

if ! has forge-local/debian; then
  say "making forge-local/debian"
  root=$(mktemp -d); trap 'rm -rf "$root"' EXIT
  debootstrap --variant=minbase --include=ca-certificates,openssh-client --exclude=e2fsprogs bookworm "$root/d" "$(mirror)" >"$STATE/debootstrap.log" 2>&1 ||
    { tail "$STATE/debootstrap.log" >&2; die "debootstrap failed"; }
  cp /etc/apt/sources.list "$root/d/etc/apt/" 2>/dev/null || true
  rm -rf "$root"/d/var/cache/apt/*.bin "$root"/d/var/cache/apt/archives/*.deb "$root"/d/usr/share/{man,doc,locale}/*
  # This machine's authorities, so that what is reached from here is reached from there.
  cp /etc/ssl/certs/ca-certificates.crt "$root/d/etc/ssl/certs/ca-certificates.crt"
  tar -C "$root/d" --numeric-owner -c . | docker import --change 'CMD ["bash"]' - forge-local/debian >/dev/null
fi
if ! has forge-local/redis; then
  say "making forge-local/redis"
  build forge-local/redis <<'DOCKERFILE'
FROM forge-local/debian
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server && rm -rf /var/lib/apt/lists/* \
 && mkdir -p /data && chown redis:redis /data
USER redis
VOLUME /data
CMD ["redis-server"]
DOCKERFILE
fi
if ! has forge-local/rust; then
  say "making forge-local/rust from this machine's toolchain"
  build forge-local/rust-base <<'DOCKERFILE'
FROM forge-local/debian
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
DOCKERFILE
  folder=$(mktemp -d)
  printf 'FROM forge-local/rust-base\nCOPY rust /opt/rust\nENV PATH=/opt/rust/bin:/usr/local/bin:/usr/bin:/bin\n' > "$folder/Dockerfile"
  mkdir "$folder/rust"; sysroot=$(rustc --print sysroot)
  cp -r "$sysroot/bin" "$sysroot/lib" "$sysroot/libexec" "$folder/rust/" 2>/dev/null || true
  quietly docker build --tag forge-local/rust "$folder"
  rm -rf "$folder"
fi
