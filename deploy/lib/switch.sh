# shellcheck shell=bash source-path=SCRIPTDIR
# From the release that runs to another, or to itself with other settings, and back where that fails.
. "${BASH_SOURCE[0]%/*}/database.sh"
. "${BASH_SOURCE[0]%/*}/releases.sh"
DRAIN_SECONDS=${DRAIN_SECONDS:-300}

# stop_worker: no new run starts, those at work get DRAIN_SECONDS to end, then the worker goes. Whatever
# ends this shell before a release was run: the one that was there runs again.
stop_worker() {
    trap start_again EXIT
    # Not before the command that is at work has ended.
    trap 'exit 1' HUP INT PIPE TERM
    if systemctl --quiet is-active data-pipelines-worker; then
        say "draining the worker ($DRAIN_SECONDS s at most) ..."
        pipelines python -m deploy.drain vm --seconds "$DRAIN_SECONDS" || true
    fi
    systemctl stop data-pipelines-worker
}

start_again() {
    local code=$?
    trap - EXIT
    trap '' HUP INT PIPE TERM
    # Who looked on may be gone, and a word that nobody hears must not end this as well.
    say "this has ended half-way: release $(current_release) is started again" 2>/dev/null || exec >/dev/null 2>&1
    run_release "$(current_release)" || echo "error: release $(current_release) is not well" >&2
    exit $((code ? code : 1))
}

# run_release VERSION: that release is the one that runs, and all of it is well. A process of its own,
# in which every failure counts, also where this is a condition.
run_release() {
    local code=0
    "$RELEASES/$1/deploy/activate.sh" "$1" || code=$?
    # One that a signal ended says nothing of the release.
    ((code > 128)) || trap - EXIT HUP INT PIPE TERM
    return "$code"
}

# name_ledger_for VERSION: a release that knows only the names of release 0.1 finds them in the ledger.
name_ledger_for() {
    local command=deploy/ledger_names.py
    if [ -e "$RELEASES/$1/$command" ] || [ ! -e "$CURRENT/$command" ] || ! is_filled_in; then
        return 0
    fi
    # First: whatever ends half-way, the release that runs then renames them again.
    rm -f "$LEDGER_NAMED"
    pipelines python -m deploy.ledger_names --back
}

# switch_to VERSION [DUMP]: run that release; when it is not well, run the one before again and fail.
# Where Prefect changes, the database is dumped, and the one of DUMP is loaded.
switch_to() {
    local version=$1 dump=${2:-} before backup=
    before=$(current_release)
    if is_release "$before"; then
        stop_worker
        name_ledger_for "$version" || {
            # Some of them may have been: the release that stays has its own again, or says so.
            pipelines python -m deploy.ledger_names ||
                say "the ledger may have names of both releases: run pipelines python -m deploy.ledger_names"
            touch "$LEDGER_NAMED"
            die "release $version does not know the ledger's names, and they could not be changed"
        }
        if [ "$(prefect_of "$before")" != "$(prefect_of "$version")" ]; then
            systemctl stop data-pipelines-server
            backup=$(as_postgres "$CURRENT/deploy/backup.sh")
            echo "$backup" >"$RELEASES/$version/.database-before"
            say "Prefect changes from $(prefect_of "$before") to $(prefect_of "$version"): $backup"
            [ -z "$dump" ] || load_database "$dump"
        fi
    fi
    if run_release "$version"; then
        rm -f "$RELEASES/$version/.failed"
        [ "$before" = "$version" ] || echo "$before" >"$RELEASES/$version/.before"
        remove_old_releases
        say "release $version runs"
        return
    fi
    is_release "$before" && [ "$before" != "$version" ] ||
        die "release $version is not well, and there is none to go back to"
    say "release $version is not well: going back to $before"
    touch "$RELEASES/$version/.failed"
    systemctl stop data-pipelines-worker data-pipelines-server || true
    [ -z "$backup" ] || load_database "$backup"
    name_ledger_for "$before" || say "the ledger may have names that release $before does not know"
    run_release "$before" || die "neither release $version nor $before is well"
    die "release $version was not well; $before runs again"
}
