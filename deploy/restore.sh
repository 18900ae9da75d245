#!/bin/bash
# restore.sh DUMP: the Prefect database is as it was when the dump was made. Needs root.
#
# The standing database is dumped first; where that fails, which may be why it is restored, it is kept
# beside the new one. Runs that the dump has as running are reaped when the worker starts.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
. "$(dirname "$0")/lib/switch.sh"
(($# == 1)) || die "usage: restore.sh DUMP; they are in $BACKUPS"
[ -r "$1" ] || die "$1 is not there"
begin
as_postgres pg_restore --list <"$1" >/dev/null || die "$1 is not a dump; nothing was changed"
stop_worker
systemctl stop data-pipelines-server
aside=
if standing=$(as_postgres "$CURRENT/deploy/backup.sh"); then
    say "the database as it stands: $standing"
else
    aside=prefect_$(date -u +%Y%m%dt%H%M%Sz)
    say "the database as it stands cannot be dumped: it is kept, where there is one, as $aside"
fi
failed=
load_database "$1" "$aside" || failed=1
# Also after a failure: then the standing database was left alone.
run_release "$(current_release)"
[ -z "$failed" ] || die "$1 could not be loaded; the database is as it was"
say "restored from $1"
