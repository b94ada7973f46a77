#!/bin/sh
# Start the service on a free port, solve one problem with it, stop it.
set -eu
log=$(mktemp)
.venv/bin/surefoot serve --port 0 >"$log" 2>&1 &
service=$!
trap 'kill "$service" 2>/dev/null || true; wait "$service" 2>/dev/null || true; rm -f "$log"' EXIT
until url=$(grep -o 'http://[0-9.:]*' "$log"); do
    kill -0 "$service" 2>/dev/null || { cat "$log" >&2; exit 1; }
    sleep 0.1
done
.venv/bin/surefoot solve --server "$url" "$1"
