#!/usr/bin/env bash
# Shows the whole way on real parts: a push to a git server becomes an image in a registry, and a
# signed webhook tells of it. Leaves everything running.
#
#   scripts/demo.sh          sets up, builds, starts, pushes, shows; then prints the URLs
#   scripts/demo.sh --once   the same, then stops everything; exits 0 only if all of it happened
#   scripts/demo.sh --stop   stops what an earlier run left running
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/common.sh

PARTS=(gateway prow forgery notifier sink git registry redis)
stop_all() { local part; for part in "${PARTS[@]}"; do stop "$part"; done; }
case "${1:-}" in
  --stop) stop_all; exit ;;
  --once) trap stop_all EXIT ;;
  "") ;;
  *) die "usage: scripts/demo.sh [--once | --stop]" ;;
esac
began=$SECONDS

say "setting up"
scripts/setup.sh
say "building (the first time some minutes)"
cargo build --quiet --locked --workspace --bins
bin=$(target_dir)/debug
stop_all

# Secrets of this run; none is written anywhere but into files that only their owner can read.
umask 077
demo=$STATE/demo; rm -rf "$demo"; mkdir -p "$demo/registry"
secret() { openssl rand -hex 16 | tee "$demo/$1"; }
webhook_secret=$(secret webhook-secret); sink_secret=$(secret sink-secret)
git_token=$(secret git-token); api_token=$(secret api-token); registry_password=$(secret registry-password)
redis_port=$(free_port); registry_port=$(free_port); git_port=$(free_port); sink_port=$(free_port)
gateway_port=$(free_port); prow_port=$(free_port)
registry=127.0.0.1:$registry_port; git=127.0.0.1:$git_port
api=http://127.0.0.1:$prow_port; gateway=http://127.0.0.1:$gateway_port
export REDIS_URL=redis://127.0.0.1:$redis_port LOG_LEVEL=info NO_PROXY=127.0.0.1 no_proxy=127.0.0.1

say "starting Redis, a registry, a git server, a receiver of webhooks"
start redis redis-server deploy/redis.conf --port "$redis_port" --bind 127.0.0.1 --dir "$demo"
htpasswd -Bbn forge "$registry_password" > "$demo/registry/htpasswd"
cat > "$demo/registry/config.yml" <<YAML
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $demo/registry/data}}
http: {addr: $registry}
auth: {htpasswd: {realm: forge, path: $demo/registry/htpasswd}}
YAML
start registry docker-registry serve "$demo/registry/config.yml"
start git "$bin/forge-parts" git "$demo/git" "$git" "$git_token"
start sink "$bin/forge-parts" sink "127.0.0.1:$sink_port" "$sink_secret"
until_true "redis answers" 10 redis-cli -p "$redis_port" ping
until_true "the git server answers" 10 curl -s -o "$demo/null" "http://$git/"

say "starting gateway, prow, forgery and notifier"
echo "http://ci:$git_token@$git" > "$demo/git-credentials"
free_admin() { echo "127.0.0.1:$(free_port)"; }
ADMIN_LISTEN=$(free_admin) WEBHOOK_LISTEN=127.0.0.1:$gateway_port GITHUB_WEBHOOK_SECRET_FILE=$demo/webhook-secret \
  start gateway "$bin/gateway"
ADMIN_LISTEN=$(free_admin) PROW_LISTEN=127.0.0.1:$prow_port PROW_DATA_DIR=$demo/prow BUILD_LOG_DIR=$demo/logs \
  ADMIN_TOKEN_FILE=$demo/api-token start prow "$bin/prow"
ADMIN_LISTEN=$(free_admin) WORK_DIR=$demo/work GIT_CREDENTIALS_FILE=$demo/git-credentials GIT_ALLOW_HTTP=true \
  REGISTRY=$registry REGISTRY_USERNAME=forge REGISTRY_PASSWORD_FILE=$demo/registry-password start forgery "$bin/forgery"
ADMIN_LISTEN=$(free_admin) WEBHOOK_URL=http://127.0.0.1:$sink_port/ WEBHOOK_HMAC_SECRET_FILE=$demo/sink-secret \
  start notifier "$bin/notifier"
for part in gateway prow forgery notifier; do
  until_true "$part is ready" 30 grep -q ready "$STATE/$part.log"
done
until_true "gateway is healthy" 10 curl -sf "$gateway/health"

say "pushing a commit of a sample application to http://$git/demo/hello.git"
mkdir -p "$demo/git/demo/hello.git"
git init --quiet --bare --initial-branch=main "$demo/git/demo/hello.git"
git -C "$demo/git/demo/hello.git" config http.receivepack true
git -C "$demo/git/demo/hello.git" config uploadpack.allowAnySHA1InWant true
cp -r deploy/sample "$demo/sample"
date > "$demo/sample/built-for.txt"
me=(-c user.name=Demo -c user.email=demo@example.org -c init.defaultBranch=main -c commit.gpgsign=false)
git -C "$demo/sample" "${me[@]}" init --quiet
git -C "$demo/sample" add --all
git -C "$demo/sample" "${me[@]}" commit --quiet --message "say hello"
git -C "$demo/sample" -c "credential.helper=store --file=$demo/git-credentials" push --quiet "http://$git/demo/hello.git" HEAD:refs/heads/main
commit=$(git -C "$demo/sample" rev-parse HEAD)

say "sending the signed webhook that a git forge sends for it"
jq -nc --arg after "$commit" --arg url "http://$git/demo/hello.git" '{ref: "refs/heads/main",
  before: ("0" * 40), after: $after, created: true, deleted: false, forced: false,
  head_commit: {id: $after, message: "say hello"}, commits: [],
  repository: {id: 1, name: "hello", full_name: "demo/hello", clone_url: $url, default_branch: "main"},
  pusher: {name: "you"}, sender: {login: "you"}}' > "$demo/push.json"
seal=$(openssl dgst -sha256 -hmac "$webhook_secret" -r < "$demo/push.json" | cut -d' ' -f1)
curl -sS --fail-with-body "$gateway/webhook/github" --data-binary "@$demo/push.json" \
  -H 'Content-Type: application/json' -H 'X-GitHub-Event: push' -H "X-Hub-Signature-256: sha256=$seal" \
  -H "X-GitHub-Delivery: $(cat /proc/sys/kernel/random/uuid)" -H 'User-Agent: GitHub-Hookshot/044aadd'
echo
printf 'header = "Authorization: Bearer %s"\n' "$api_token" > "$demo/curlrc"
ask() { curl -sS --fail-with-body --config "$demo/curlrc" "$api$1"; }
until_true "prow has a build" 20 sh -c "curl -s --config '$demo/curlrc' '$api/v1/cicd/builds' | jq -e '.[0].id'"
build=$(ask /v1/cicd/builds | jq -r '.[0].id')

say "following the log of build $build"
curl -sSN --config "$demo/curlrc" "$api/v1/cicd/builds/$build/logs?follow=1" | sed -n 's/^data: /   /p'
ask "/v1/cicd/builds/$build" > "$demo/build.json"
[ "$(jq -r .status "$demo/build.json")" = success ] || die "the build did not succeed: $(jq -r .reason "$demo/build.json")"
say "stages: $(jq -r '[.stages[] | "\(.stage) \(.ms) ms"] | join(", ")' "$demo/build.json")"

say "pulling the image by its digest and running it"
image=$registry/demo/hello@$(jq -r .digest "$demo/build.json")
mkdir -p "$demo/docker"
docker --config "$demo/docker" login --username forge --password-stdin "$registry" < "$demo/registry-password" >"$demo/null" 2>&1
docker --config "$demo/docker" pull --quiet "$image"
said=$(docker run --rm "$image"); echo "   $said"
[[ $said == *"Hello from Forge"* ]] || die "the image does not say hello"

say "the verified outbound webhook"
until_true "the notification came" 20 grep -q '"eventType":"build.succeeded"' "$STATE/sink.log"
grep '"eventType":"build.succeeded"' "$STATE/sink.log" | head -1 |
  jq '{verified, id, signature, type: .body.eventType, image: .body.data.image, digest: .body.data.digest}'
[ "$(grep -c '"verified":true' "$STATE/sink.log")" -ge 3 ] || die "a notification was not verified"
printf '\n'; say "all of it took $((SECONDS - began)) s"
if [ "${1:-}" != --once ]; then
  cat <<TEXT

   webhooks   $gateway/webhook/github          (secret in $demo/webhook-secret)
   API        $api/v1/cicd/builds         (token in $demo/api-token)
   git        http://$git/demo/hello.git  (token in $demo/git-token)
   registry   $registry                      (user forge, password in $demo/registry-password)
   Redis      $REDIS_URL        (try scripts/queue-monitor.sh $REDIS_URL)
   logs       $STATE/*.log

   stop it    scripts/demo.sh --stop
TEXT
fi
