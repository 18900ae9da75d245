#!/bin/bash
# rollback.sh [VERSION]: the release that ran before, or the named one, runs again. Needs root.
# rollback.sh --list: what is installed, the newest first.
#
# A release with another version of Prefect needs the database as it was: then the backup that was
# made before the update is loaded. What Prefect has recorded since is in a dump of its own, which is
# loaded when that release is gone forward to again. The data is in BigQuery and the buckets.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
. "$(dirname "$0")/lib/switch.sh"
now=$(current_release)
if [ "${1:-}" = --list ]; then
    for release in $(releases); do
        is_release "$release" || continue
        echo "$release$([ "$release" != "$now" ] || echo ' (runs)')"
    done
    exit
fi
begin
version=${1:-$(cat "$CURRENT/.before" 2>/dev/null || true)}
is_release "$version" || die "there is no release ${version:-before this one}; rollback.sh --list shows them"
[ "$version" != "$now" ] || die "release $version is the one that runs"
dump=
if [ "$(prefect_of "$version")" != "$(prefect_of "$now")" ]; then
    dump=$(cat "$CURRENT/.database-before" 2>/dev/null || true)
    [ -e "$dump" ] || die "Prefect $(prefect_of "$version") cannot read the database of $(prefect_of "$now"), and the dump from before it is gone"
fi
switch_to "$version" "$dump"
