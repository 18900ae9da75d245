#!/bin/bash
# backup.sh: a dump of the Prefect database, checked, under a name with its UTC time, which
# is printed; runs as the user postgres. Dumps older than KEEP_DAYS are removed, never the last three.
#
# Blocks in it are encrypted with PREFECT_SERVER_ENCRYPTION_KEY: a dump is worth nothing without
# /etc/data-pipelines/server.env, and no secret without it either.
set -euo pipefail
umask 077
directory=/var/backups/data-pipelines
keep_days=${KEEP_DAYS:-14}
name=prefect-$(date -u +%Y%m%dT%H%M%SZ).dump
trap 'rm -f "$directory/.$name"' EXIT
pg_dump --format=custom --file="$directory/.$name" prefect
# A dump that was cut short has no readable table of contents, or lacks the tables. (Not grep -q: it
# leaves at the first match, and pg_restore fails on the closed pipe.)
pg_restore --list "$directory/.$name" | grep "TABLE DATA public flow_run " >/dev/null || {
    echo "the dump has no flow runs in it" >&2
    exit 1
}
mv "$directory/.$name" "$directory/$name"
find "$directory" -name 'prefect-*.dump' -printf '%f\n' | sort | head -n -3 |
    while read -r old; do find "$directory/$old" -mtime "+$keep_days" -delete; done
echo "$directory/$name"
