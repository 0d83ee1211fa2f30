#!/usr/bin/env bash
# Brings up docker-compose.yml from images built here, two forgeries, and sends a push through it.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/common.sh
scripts/base-images.sh
cargo build --quiet --locked -p testkit
bin=$(target_dir)/debug

umask 077
home=$STATE/compose; rm -rf "$home"; mkdir -p "$home/registry" "$home/secrets"
for name in webhook-secret admin-token notify-secret registry-password git-token; do openssl rand -hex 16 > "$home/secrets/$name"; done
read_secret() { cat "$home/secrets/$1"; }
host=$(docker network inspect bridge --format '{{(index .IPAM.Config 0).Gateway}}')
[ -n "$host" ] || host=172.17.0.1
git_port=$(free_port); sink_port=$(free_port); registry_port=$(free_port)
echo "http://ci:$(read_secret git-token)@$host:$git_port" > "$home/secrets/git-credentials"
# The services run as a user of their own; bind-mounted secrets keep the owner they have here.
chmod 644 "$home"/secrets/*; chmod 755 "$home/secrets" "$home" "$STATE"
htpasswd -Bbn forge "$(read_secret registry-password)" > "$home/registry/htpasswd"
cat > "$home/registry/config.yml" <<YAML
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $home/registry/data}}
http: {addr: 127.0.0.1:$registry_port}
auth: {htpasswd: {realm: forge, path: $home/registry/htpasswd}}
YAML
export SECRETS=$home/secrets BUILDER=forge-local/rust RUNTIME=forge-local/debian REDIS_IMAGE=forge-local/redis PROFILE=dev IMAGES=forge-test \
  DOCKER_GID=$(stat -c %g /var/run/docker.sock) REGISTRY=127.0.0.1:$registry_port REGISTRY_USERNAME=forge GIT_ALLOW_HTTP=true \
  WEBHOOK_URL=http://$host:$sink_port/ WEBHOOK_PORT=$(free_port) PROW_PORT=$(free_port) \
  COMPOSE_PROJECT_NAME=forge-test
# Without buildx a newer docker client cannot use BuildKit; the classic builder reads the same file.
docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0 COMPOSE_DOCKER_CLI_BUILD=0
compose() { if docker compose version >/dev/null 2>&1; then docker compose "$@"; else docker-compose "$@"; fi; }
cleanup() { compose down --volumes --timeout 20 >/dev/null 2>&1 || true; for part in compose-git compose-sink compose-registry; do stop $part; done; }
trap cleanup EXIT
cleanup

start compose-registry docker-registry serve "$home/registry/config.yml"
start compose-git "$bin/forge-parts" git "$home/git" "$host:$git_port" "$(read_secret git-token)"
start compose-sink "$bin/forge-parts" sink "$host:$sink_port" "$(read_secret notify-secret)"
until_true "the git server answers" 10 curl -s -o "$home/null" "http://$host:$git_port/"

say "building the images"
compose build >"$STATE/compose-build.log" 2>&1 || { tail -40 "$STATE/compose-build.log" >&2; die "the images cannot be built"; }
say "starting everything, with two forgeries"
compose up -d --scale forgery=2 >"$STATE/compose-up.log" 2>&1 || { cat "$STATE/compose-up.log" >&2; die "compose cannot start"; }
healthy() { [ "$(docker ps --filter label=com.docker.compose.project=forge-test --filter health=healthy -q | wc -l)" = 6 ]; }
(until_true "six healthy containers" 60 healthy) || { compose logs --tail 20; exit 1; }

say "a push through the composed stack"
mkdir -p "$home/git/demo/hello.git"; bare=$home/git/demo/hello.git
git init --quiet --bare --initial-branch=main "$bare"; git -C "$bare" config uploadpack.allowAnySHA1InWant true
cp -r deploy/sample "$home/sample"; date > "$home/sample/built-for.txt"
me=(-c user.name=Test -c user.email=test@example.org -c init.defaultBranch=main -c commit.gpgsign=false)
git -C "$home/sample" "${me[@]}" init --quiet; git -C "$home/sample" add --all
git -C "$home/sample" "${me[@]}" commit --quiet -m test; git -C "$home/sample" push --quiet "$bare" HEAD:refs/heads/main
jq -nc --arg after "$(git -C "$home/sample" rev-parse HEAD)" --arg url "http://$host:$git_port/demo/hello.git" '{ref: "refs/heads/main",
  before: ("0" * 40), after: $after, deleted: false, head_commit: {message: "test"},
  repository: {full_name: "demo/hello", clone_url: $url, default_branch: "main"}, sender: {login: "you"}}' > "$home/push.json"
seal=$(openssl dgst -sha256 -hmac "$(read_secret webhook-secret)" -r < "$home/push.json" | cut -d' ' -f1)
curl -sS --fail-with-body "http://127.0.0.1:$WEBHOOK_PORT/webhook/github" --data-binary "@$home/push.json" \
  -H 'Content-Type: application/json' -H 'X-GitHub-Event: push' -H "X-Hub-Signature-256: sha256=$seal" \
  -H "X-GitHub-Delivery: $(cat /proc/sys/kernel/random/uuid)"; echo
printf 'header = "Authorization: Bearer %s"\n' "$(read_secret admin-token)" > "$home/curlrc"
status() { curl -s --config "$home/curlrc" "http://127.0.0.1:$PROW_PORT/v1/cicd/builds" | jq -r '.[0].status'; }
succeeded() { [ "$(status)" = success ]; }
(until_true "the build succeeds" 60 succeeded) || { compose logs --tail 40; exit 1; }
until_true "the notification came" 20 grep -q '"eventType":"build.succeeded"' "$STATE/compose-sink.log"
grep '"eventType":"build.succeeded"' "$STATE/compose-sink.log" | grep -q '"verified":true' || die "the notification is not verified"

say "a backup, while everything runs, into another database"
compose exec -T prow service backup - > "$home/backup" && gzip --test "$home/backup"
compose run --rm -T -e PROW_DATA_DIR=/tmp/restored prow restore - < "$home/backup" || die "the backup cannot be restored"

say "what the images are: user, root file system, health"
for id in $(compose ps -q gateway prow forgery notifier); do
  docker inspect --format '{{.Name}} user={{.Config.User}} read-only={{.HostConfig.ReadonlyRootfs}} {{.State.Health.Status}}' "$id"
  docker inspect --format '{{.Config.User}}' "$id" | grep -q ^10001 || die "a service runs as root"
  [ "$(docker inspect --format '{{.HostConfig.ReadonlyRootfs}}' "$id")" = true ] || die "a root file system is writable"
done
compose exec -T forgery ssh -G example.org >/dev/null || die "the image of forgery cannot fetch over ssh"
say "stopping in order"
compose stop --timeout 30 >"$STATE/compose-stop.log" 2>&1
for id in $(compose ps -a -q gateway prow forgery notifier); do
  code=$(docker inspect --format '{{.State.ExitCode}}' "$id")
  [ "$code" = 0 ] || { docker logs --tail 20 "$id"; die "a service ended with $code"; }
done
say "the composed stack works"
