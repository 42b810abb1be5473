#!/bin/sh
# Restores this archive into an empty database: sh restore.sh CONNECTION [TIME]
set -eu
cd "$(dirname "$0")"
base=$(ls bases | tail -n 1)
{
  cat prelude.sql
  echo 'BEGIN;'
  cat "bases/$base/base.sql"
  cat after-base.sql
  echo 'COMMIT;'
  cat prelude.sql
  cat segments/*.sql | LC_ALL=C awk -v base="$(echo "$base" | tr - /)" -v at="${2:-9999}" '
    skip && until == "" && /^COMMIT; -- / { skip = 0; next }
    until == "" && /^BEGIN; -- / { if ($4 > at) exit; if ($3 < base) skip = 1 }
    !skip { print }
    until != "" { if ($0 == until) until = ""; next }
    /^COPY / { until = "\\." ; next }
    /^SELECT [$]ddl[0-9]*[$]$/ { until = substr($0, 8) " \\gexec" }'
} | psql -X -q -v ON_ERROR_STOP=1 -o /dev/null -d "$1"
