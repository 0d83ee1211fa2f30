# What the scripts share. Sourced from the top of the repository.

STATE=$PWD/.forge
mkdir -p "$STATE"

say() { printf '\e[1m»\e[0m %s\n' "$*"; }
die() { printf '%s\n' "$*" >&2; exit 1; }

# Where cargo puts what it builds.
target_dir() { cargo metadata --format-version 1 --no-deps --offline 2>/dev/null | jq -r .target_directory; }

# A TCP port that is free, and that Linux gives to no outgoing connection before it is used.
free_port() {
  python3 -c '
import random, socket
while True:
    try:
        port = random.randrange(10000, 32000)
        socket.socket().bind(("127.0.0.1", port))
        break
    except OSError: pass
print(port)'
}

# start NAME COMMAND…: runs it in the background, remembers its id, keeps its output.
start() {
  local name=$1; shift
  setsid "$@" >"$STATE/$name.log" 2>&1 </dev/null &
  echo "$! $(began_at $!)" > "$STATE/$name.pid"
}

# When a process began, so that its number is not mistaken for another's after a crash.
began_at() { cut -d' ' -f22 "/proc/$1/stat" 2>/dev/null || true; }

# stop NAME: ends what `start` began, politely, then not.
stop() {
  local pid began n
  [ -e "$STATE/$1.pid" ] || return 0
  read -r pid began < "$STATE/$1.pid" || return 0
  [ "$(began_at "$pid")" = "$began" ] || { rm -f "$STATE/$1.pid"; return 0; }
  kill "$pid" 2>/dev/null || true
  for n in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null || true
  rm -f "$STATE/$1.pid"
}

# until_true WHAT SECONDS COMMAND…
until_true() {
  local what=$1 give_up=$((SECONDS + $2)); shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $give_up ] || die "never happened: $what (see $STATE/*.log)"
    sleep 0.1
  done
}
