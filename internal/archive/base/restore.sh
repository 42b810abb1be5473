#!/bin/sh
# Restores this archive into an empty database: sh restore.sh CONNECTION [TIME|POSITION]
# IDENTITY names the file with the age identity that decrypts the archive, if it is encrypted.
set -eu
cd "$(dirname "$0")"
[ $# -gt 0 ] || { echo "name the database, and maybe a time or a position: sh restore.sh 'dbname=restored' 2026-11-28T06:20:00Z" >&2; exit 2; }

# ask prints the answer to a query, in which :'at' is the second argument.
ask() { printf '%s\n' "$2" | psql -X -q -A -t -v ON_ERROR_STOP=1 -v at="$3" -d "$1"; }

# at is the target's time in UTC, lsn its position. Both are texts that sort like what they say.
at=9999
lsn=
if [ $# -gt 1 ]; then
  if printf '%s\n' "$2" | grep -Eq '^[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}$'; then
    lsn=$(printf '%s\n' "$2" | tr a-f A-F | awk -F/ '{ print substr("0000000" $1, length($1)) "/" substr("0000000" $2, length($2)) }')
  elif printf '%s\n' "$2" | grep -Eq '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?$'; then
    # Postgres would round what is shorter than a microsecond up.
    at=$(printf '%s\n' "$2" | sed -E 's/([.][0-9]{6})[0-9]+/\1/; s/T([0-9:.]+)$/T\1Z/')
    at=$(ask "$1" "SELECT to_char(:'at'::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')" "$at")
  else
    echo "'$2' is neither a time such as 2026-11-28T06:20:00Z nor a position such as 0/194F310: leave it out to restore everything" >&2
    exit 2
  fi
fi

failed=$(mktemp)
begun=
trap '
  rm -f "$failed"
  [ -z "$begun" ] || echo "the restore did not finish: create a new database, and run it again" >&2' EXIT

# value prints a value of a JSON file.
value() { sed -n "s/^  \"$2\": \"\(.*\)\",\{0,1\}$/\1/p" "$1"; }

# moment prints a time of a JSON file, with as many digits as $at has, so that the texts sort like the times.
moment() {
  time=$(value "$1" "$2")
  time=${time%Z}
  [ ${#time} -ne 19 ] || time=$time.
  while [ ${#time} -lt 26 ]; do time=${time}0; done
  echo "$time"
}

# text prints the decrypted and decompressed content of a file.
text() {
  case "$1" in
    *.age)
      { age -d -i "${IDENTITY:?must name the file with the age identity that decrypts the archive}" "$1" || echo "$1" >"$failed"; } |
        unpacked "${1%.age}"
      [ ! -s "$failed" ] # A pipeline fails only if its last command does.
      ;;
    *) unpacked "$1" <"$1" ;;
  esac
}
unpacked() {
  case "$1" in
    *.zst) zstd -dc ;;
    *.gz) gzip -dc ;;
    *) cat ;;
  esac
}

# beyond reports whether the target is after a position and a time.
beyond() {
  [ -z "$lsn" ] || [ "$lsn" \> "$1" ] || return 1
  [ "$at" \> "$2" ]
}

base=
next=  # position of the base after it
bases= # positions of all
for json in bases/[0-9A-F]*-*[0-9A-F]/base.json; do
  bases="$bases $(value "$json" position)"
  if beyond "$(value "$json" position)" "$(moment "$json" at)" || [ "$lsn" = "$(value "$json" position)" ]; then
    base=$(value "$json" position)
    next=
  elif [ -z "$next" ]; then
    next=$(value "$json" position)
  fi
done
if [ -z "$base" ]; then
  for json in bases/[0-9A-F]*-*[0-9A-F]/base.json; do
    echo "the archive begins at $(value "$json" position), $(value "$json" at): choose a later position or time" >&2
    exit 1
  done
fi
dir=bases/$(echo "$base" | tr / -)

for json in gaps/[0-9A-F]*-*[0-9A-F].json; do
  [ -e "$json" ] || continue
  if ! [ "$(value "$json" from)" \< "$base" ] && beyond "$(value "$json" from)" "$(moment "$json" at)"; then
    echo "the archive has a gap from $(value "$json" at) on, to its next base: $(value "$json" reason)" >&2
    exit 1
  fi
done

# Rows and the text of statements may look like any other line: inside has the line that ends them.
inside='
  function inside() {
    if (until != "") { if ($0 == until) until = ""; return 1 }
    if (/^COPY /) until = "\\."
    if (/^SELECT [$]ddl[0-9]*[$]$/) until = substr($0, 8) " \\gexec"
    return until != ""
  }'

# whole prints how many lines of the unsealed segment are complete transactions, where they end, and the time of the last one. The segment may
# end in the middle of a transaction, and of a line.
whole() {
  LC_ALL=C awk "$inside"'
    inside() { next }
    /^BEGIN; -- / { begun = substr($4, 1, 26) }
    /^COMMIT; -- / && length($0) == 28 { whole = NR; here = $3; last = begun }
    /^-- at / && length($0) == 51 { whole = NR; here = $3 }
    END { print whole + 0, here, last }' "$1"
}

# The segments, from the one with the base's position on, and all of them. Those before the first are about to be deleted.
begins=$(value manifest.json from)
segments=
all=
for segment in $(ls segments 2>/dev/null | sed -nE 's/^([0-9A-F]{8}-[0-9A-F]{8})\.sql(\.(zst|gz))?(\.age)?(\.json)?$/\1/p' | sort -u); do
  from=$(echo "$segment" | tr - /)
  ! [ "$from" \< "$begins" ] || continue
  [ "$from" \> "$base" ] || segments=
  segments="$segments $segment"
  all="$all $segment"
done
first=${segments# }
first=$(echo "${first%% *}" | tr - /)
if [ "$lsn" = "$base" ]; then
  first=${segments##* } # None is needed. The last one shows where the archive ends.
  first=$(echo "$first" | tr - /)
elif [ "$first" \> "$base" ]; then
  echo "the transactions between the base $base and $first were pruned, or are missing" >&2
  exit 1
fi

# Where transactions are missing. A gap begins where the segment before it ends, and the chain continues at the first base after it.
lost=" $(
  for json in gaps/[0-9A-F]*-*[0-9A-F].json; do
    if [ -e "$json" ] && [ "$(value "$json" kind)" = slot ]; then value "$json" from; fi
  done | tr '\n' ' '
)"

# across moves final to where the chain continues after the gaps that begin there, at most to a position.
across() {
  while [ "$final" \< "$1" ]; do
    case $lost in *" $final "*) ;; *) return 0 ;; esac
    after=
    for position in $bases; do
      [ -n "$after" ] || ! [ "$position" \> "$final" ] || after=$position
    done
    if [ -z "$after" ] || [ "$after" \> "$1" ]; then return 0; fi
    final=$after
  done
}

sums() { awk -F'"' '/"name":/ { name = $4 } /"sha256":/ { print $4 "  " name }' "$@"; }
sums manifest.json | grep '\.sql$' | sha256sum -c --quiet >&2
sums "$dir/base.json" | sha256sum -c --quiet >&2
final=$begins # the position where the last segment ends, if it is sealed, or begins
end=          # position up to which the archive has transactions
last=         # time of the last one
for segment in $all; do
  json=segments/$segment.sql.json
  from=$(echo "$segment" | tr - /)
  across "$from"
  [ "$from" = "$final" ] || { echo "a segment is missing: after $final comes segments/$segment.sql" >&2; exit 1; }
  if [ ! -e "$json" ]; then
    [ "$segment" = "${all##* }" ] || { echo "segment segments/$segment.sql is not sealed, but others follow: its seal was lost" >&2; exit 1; }
    open=1
    final=$from
    found=$(whole "segments/$segment.sql")
    lines=${found%% *}
    found=${found#* }
    end=${found% *}
    end=${end:-$final}
    [ -z "${found#* }" ] || last=${found#* }
    continue
  fi
  open=0
  final=$(value "$json" to)
  ! [ "$from" \< "$first" ] || continue # The base has its transactions.
  end=$final
  last=$(moment "$json" last_commit)
  [ "$last" \> 0002 ] || last= # There was none since the last gap.
  sums "$json" | sha256sum -c --quiet >&2
done

# The segments before a gap may be missing, too.
ended=$final
final=${end:-$final}
across "${bases##* }"
for gap in $lost; do
  if [ "$gap" \> "$final" ] && [ "$gap" \< "${bases##* }" ]; then
    echo "a segment is missing: after $final comes the gap from $gap on" >&2
    exit 1
  fi
done
final=$ended

if [ "$lsn" = "$base" ]; then
  segments=
  open=
elif [ "$lsn" \> "$end" ] && [ "$lsn" \> "$base" ]; then
  echo "the archive does not have all transactions before $lsn${end:+: it ends at $end}${next:+, and has a base at $next}" >&2
  exit 1
fi

# A base can be made before the transactions before it are written. Without a later base, nothing shows that later ones are not missing.
if [ "$at" != 9999 ] && [ "$last" \< "$at" ] && { [ -z "$next" ] || [ "$end" \< "$next" ]; }; then
  echo "the archive does not have all transactions before ${next:+its base }${next:-that time}${last:+: its last one is of $last}" >&2
  exit 1
fi

if [ "$(ask "$1" "SELECT r.rolsuper FROM pg_roles AS r WHERE r.rolname = current_user" '')" != t ]; then
  echo "a restore needs a superuser: name one in the connection, such as 'dbname=restored user=postgres'" >&2
  exit 1
fi

# If a command fails, the text ends there: psql rolls back its transaction, and does not print the last line.
begun=yes
output=$({
  cat prelude.sql
  echo 'BEGIN;'
  cat <<'EMPTY'
DO $$
BEGIN
  IF EXISTS (
    SELECT FROM pg_class AS c INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE left(n.nspname, 3) <> 'pg_' AND n.nspname <> 'information_schema'
  ) THEN
    RAISE EXCEPTION 'the database is not empty: create a new one';
  END IF;
END
$$;
EMPTY
  cat begin.sql
  for part in "$dir"/[1-4]-*; do text "$part"; done
  echo 'SELECT daymill_restore.calm();'
  cat prelude.sql
  text "$dir"/5-after.sql*
  echo 'COMMIT;'
  cat prelude.sql
  for segment in $segments; do
    if [ ! -e "segments/$segment.sql.json" ]; then
      head -n "$lines" "segments/$segment.sql"
    else
      text "$(sums "segments/$segment.sql.json" | cut -c 67-)"
    fi
  done | LC_ALL=C awk -v base="$base" -v at="$at" -v lsn="$lsn" -v final="$final" -v open="${open-}" "$inside"'
    # Statements that change a row are sent to the server together, because each message costs a round trip.
    function flush() { if (held != "") print held ";"; held = ""; size = 0 }
    function statement(text) {
      if (held != "" && size < 65536) print held "\\;"; else flush()
      held = text
      size += length(text)
    }
    function torn() { print "a segment is torn, or one is missing" >"/dev/stderr"; failed = 1; exit 1 }
    inside() { if (!skip) { flush(); print }; next }
    /^-- Daymill archive, / { if (!over && end != "" && end != $NF) torn(); end = "none" }
    /^-- end of segment / { end = $NF }
    /^-- at / || /^BEGIN; -- / || /^COMMIT; -- / { here = $3 }
    /^BEGIN; -- / { last = substr($4, 1, 26); if (last > at || lsn != "" && here >= lsn) over = 1; within = 1; skip = over || here < base }
    # Later values of sequences are not left out, because a sequence must not be behind. Earlier values would be.
    !skip && (within || here >= base && /^SELECT setval[(]/) {
      if (/^(BEGIN|COMMIT); -- /) statement(substr($1, 1, length($1) - 1))
      else if (/^(INSERT INTO|UPDATE ONLY|DELETE FROM ONLY|WITH old AS) /) statement(substr($0, 1, length($0) - 1))
      else { flush(); print }
    }
    /^COMMIT; -- / { within = skip = 0 }
    END {
      if (failed) exit 1
      flush()
      if (within || until != "" || end != "" && end != final && !(open + 0 && end == "none")) torn()
    }'
  cat end.sql
  printf '%s\n' '\echo restored'
} | psql -X -q -v ON_ERROR_STOP=1 -o /dev/null -d "$1")
[ "$output" = restored ]
begun=
