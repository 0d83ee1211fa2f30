#!/usr/bin/env bash
# prow's API as a stranger's program sees it: by /openapi.json alone, with good requests and bad ones (schemathesis).
#
#   scripts/test-api.sh [EXAMPLES]     so many of each operation; 50
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/common.sh
examples=${1:-50}
tester=$STATE/python/bin/schemathesis
[ -x "$tester" ] || scripts/setup.sh --tests

folder=$(mktemp -d) redis=$(free_port) api=$(free_port) token=a-token-for-the-test-of-the-api
trap 'stop api-prow; stop api-redis; rm -rf "$folder"' EXIT
start api-redis redis-server --port "$redis" --bind 127.0.0.1 --save '' --dir "$folder"
until_true "redis answers" 10 redis-cli -p "$redis" ping
start api-prow env REDIS_URL="redis://127.0.0.1:$redis" PROW_LISTEN="127.0.0.1:$api" ADMIN_LISTEN="127.0.0.1:$(free_port)" \
  PROW_DATA_DIR="$folder" BUILD_LOG_DIR="$folder/logs" ADMIN_TOKEN=$token "$(target_dir)/debug/prow"
url=http://127.0.0.1:$api
until_true "prow answers" 10 curl -fs "$url/health"

# Something that there is, so that not every request is for what there is not.
ask() { curl -fsS -H "Authorization: Bearer $token" "$url$1" "${@:2}" >/dev/null; }
ask /v1/cicd/projects -d '{"name": "acme/shop"}'
ask /v1/cicd/services -d '{"project_id": 1, "name": "api"}'
ask /v1/cicd/services/1/build -d '{"git_url": "https://example.org/o/r.git", "git_ref": "0123456789012345678901234567890123456789"}'
cat > "$folder/schemathesis.toml" <<'TOML'
[[operations]]
include-path-regex = "/v1/cicd/(builds|projects|services|deployments)/"
parameters = { "path.id" = 1 }
TOML

# /v1/updates never ends: crates/e2e/tests/it/watching.rs looks at it.
# What a schema cannot say (a branch that was never built, a glob that is none) may be refused all the same.
"$tester" --config-file "$folder/schemathesis.toml" run "$url/openapi.json" --url "$url" \
  --exclude-path /v1/updates --header "Authorization: Bearer $token" --phases coverage,fuzzing --checks all --exclude-checks positive_data_acceptance \
  --max-examples "$examples" --warnings off --no-color >"$STATE/schemathesis.log" 2>&1 ||
  { tail -150 "$STATE/schemathesis.log"; die "the API is not what its OpenAPI document says"; }
grep -A1 '^Test cases:' "$STATE/schemathesis.log"
say "the API is what its OpenAPI document says"
