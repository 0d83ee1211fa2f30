#!/usr/bin/env bash
# Checks a webhook of Forge with openssl.
#
#   verify.sh SECRET WEBHOOK-ID WEBHOOK-TIMESTAMP WEBHOOK-SIGNATURE < body      ends with 0 if it is genuine
#
# On a machine with other users the secret should not be an argument: they can read it.
set -euo pipefail
secret=$1 id=$2 timestamp=$3 signatures=$4
tolerance=300 # seconds

case $secret in
  whsec_*) key=$(printf %s "${secret#whsec_}" | base64 -d | od -An -v -tx1 | tr -d ' \n') ;;
  *) key=$(printf %s "$secret" | od -An -v -tx1 | tr -d ' \n') ;;
esac
[[ $timestamp =~ ^[0-9]+$ ]] || exit 1
age=$(($(date +%s) - timestamp))
[ "${age#-}" -le $tolerance ] || exit 1 # Somebody may have kept it, to send it again.
# The bytes as they came.
expected=v1,$( (printf '%s.%s.' "$id" "$timestamp"; cat) | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64 -w 0)
for each in $signatures; do
  [ "$each" != "$expected" ] || exit 0
done
exit 1
