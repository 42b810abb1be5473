#!/bin/sh
# Restores this archive into an empty database: sh restore.sh CONNECTION [TIME]
set -eu
cd "$(dirname "$0")"
base=$(ls bases | tail -n 1)
last=$(ls segments/*.sql | tail -n 1)

# Rows and the text of statements may look like any other line: inside says until which line they go.
inside='
  function inside() {
    if (until != "") { if ($0 == until) until = ""; return 1 }
    if (/^COPY /) until = "\\."
    if (/^SELECT [$]ddl[0-9]*[$]$/) until = substr($0, 8) " \\gexec"
    return until != ""
  }'

# The last segment may end within a transaction: lines are how many are whole.
lines=999999999999
[ -e "$last.json" ] || lines=$(LC_ALL=C awk "$inside"'
  inside() { next }
  /^COMMIT; -- / && length($0) == 28 || /^-- at / { whole = NR }
  END { print whole + 0 }' "$last")

{
  cat prelude.sql
  echo 'BEGIN;'
  cat begin.sql "bases/$base/base.sql"
  echo 'SELECT daymill_restore.calm();'
  cat prelude.sql after-base.sql
  echo 'COMMIT;'
  cat prelude.sql
  for segment in segments/*.sql; do
    if [ "$segment" = "$last" ]; then head -n "$lines" "$segment"; else cat "$segment"; fi
  done | LC_ALL=C awk -v base="$(echo "$base" | tr - /)" -v at="${2:-9999}" "$inside"'
    BEGIN { sub(/Z$/, "", at); if (length(at) == 19) at = at ".000000" }
    inside() { if (!skip) print; next }
    /^BEGIN; -- / { if (substr($4, 1, 26) > at) over = 1; skip = over || $3 < base }
    # Later values of sequences are not left out: a sequence may not be behind.
    !skip && (!over || /^SELECT setval[(]/) { print }
    /^COMMIT; -- / { skip = 0 }'
  cat end.sql
} | psql -X -q -v ON_ERROR_STOP=1 -o /dev/null -d "$1"
