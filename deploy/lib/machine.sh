# shellcheck shell=bash disable=SC2034 # what those that source it use
# The machine's places, and how a script speaks, fails and holds the lock.
DEPLOY=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)
BASE=/opt/data-pipelines
RELEASES=$BASE/releases
ENVIRONMENTS=$BASE/environments
CURRENT=$BASE/current
# That the ledger has the names that releases since 0.1 know.
LEDGER_NAMED=$BASE/.ledger-named
ETC=/etc/data-pipelines
BACKUPS=/var/backups/data-pipelines
TLS=/etc/nginx/data-pipelines

say() { printf '%s %s\n' "$(date -u +%H:%M:%S)" "$*"; }

die() {
    echo "error: $*" >&2
    exit 1
}

# One at a time, as root.
begin() {
    [ "$(id -u)" = 0 ] || die "this needs root"
    exec 9>/run/lock/data-pipelines
    flock --nonblock 9 || die "another install, update, rollback, restore or rotation is running"
}

# pipelines COMMAND...: as flow runs are, in the release that runs.
pipelines() { "$CURRENT/deploy/pipelines.sh" "$@"; }
