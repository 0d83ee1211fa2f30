# Measurements of one service. Sourced from the top of the repository, after common.sh.

# bench SERVICE ARGUMENT…: builds the service and bench-SERVICE, and runs that on one core: what is measured has the other.
bench() {
  local service=$1 profile=${PROFILE:-release}; shift
  [ "$(nproc)" -ge 2 ] || die "two processor cores are needed: one for what is measured, one for the rest"
  scripts/setup.sh --bench
  cargo build --quiet --locked --profile "$profile" -p "$service" -p bench
  ulimit -n "$(ulimit -Hn)"
  exec taskset --cpu-list 1 "$(target_dir)/$([ "$profile" = dev ] && echo debug || echo "$profile")/bench-$service" "$@"
}
