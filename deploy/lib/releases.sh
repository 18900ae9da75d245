# shellcheck shell=bash source-path=SCRIPTDIR
# Releases and their locked environments: which there are, how one is made, which are removed.
. "${BASH_SOURCE[0]%/*}/settings.sh"
KEEP_RELEASES=3
# What is known of a release, in files beside its own: that it is whole, that it was not well, which one
# ran before it and the dump of that one's database.
MARKS=(.complete .failed .before .database-before)

current_release() { basename "$(readlink "$CURRENT" 2>/dev/null || true)"; }

# The version of Prefect that a release has locked: its database may not be an older one's.
prefect_of() { sed -n 's/^prefect==\([^ ]*\).*/\1/p' "$RELEASES/$1/requirements.lock"; }

# The releases, the newest first.
releases() { find "$RELEASES" -mindepth 1 -maxdepth 1 -printf '%T@ %f\n' | sort -rn | cut -d' ' -f2; }

is_release() { [ -n "$1" ] && [ -e "$RELEASES/$1/.complete" ]; }

# find_python: the Python 3.11 of this machine: PYTHON, the one that was named when it was installed, or
# its own. Services must be able to run it. Fails, saying what to install, where there is none.
find_python() {
    local named=${PYTHON:-} python
    [ -n "$named" ] || [ ! -e "$ETC/install.env" ] || named=$(setting install.env PYTHON)
    # Not one of whoever is logged in.
    python=$(PATH=/usr/local/bin:/usr/bin:/bin "$DEPLOY/find_python.sh" "$named") || return 1
    case $("$python" -c 'import sys; print(sys.base_prefix)') in
    /home/* | /root/* | /run/user/* | /tmp/* | /var/tmp/*)
        die "$python is in a folder that services do not see: install Python 3.11 elsewhere, as in /opt or /usr/local"
        ;;
    esac
    runuser -u nobody -- "$python" -c 'import ssl' || die "$python cannot be run by every user: correct its rights"
    echo "$python"
}

# make_environment RELEASE: what the release has locked is installed, once for all with the same lock.
make_environment() {
    local release=$1 environment python
    environment=$ENVIRONMENTS/$(sha256sum <"$release/requirements.lock" | cut -c1-16)
    if [ ! -e "$environment/.complete" ] || ! "$environment/bin/python" -c '' 2>/dev/null; then
        python=$(find_python)
        say "installing the locked environment (minutes) ..."
        rm -rf "$environment"
        "$release/deploy/environment.sh" "$python" "$environment" "$release/requirements.lock"
        touch "$environment/.complete"
    fi
    ln -sfn "$environment" "$release/.venv"
}

# make_release SOURCE VERSION: the files of a directory or tar archive and their locked environment
# stand in $RELEASES/VERSION, beside what runs.
make_release() {
    local source=$1 version=$2 release=$RELEASES/$2
    if is_release "$version"; then
        say "release $version is installed already"
        # Its Python may be gone, as after the machine became another Debian.
        "$release/.venv/bin/python" -c '' 2>/dev/null || make_environment "$release"
        return
    fi
    rm -rf "$release"
    mkdir -p "$release"
    if [ -d "$source" ]; then
        tar --create --directory="$source" --exclude=.git --exclude=.env --exclude='.venv*' \
            --exclude='.sandbox*' --exclude=__pycache__ --exclude='.*_cache' \
            --exclude=dbt/target --exclude=dbt/logs --exclude=logs "${MARKS[@]/#/--exclude=}" . |
            tar --extract --directory="$release" --no-same-owner
    else
        tar --extract --file="$source" --directory="$release" --no-same-owner
    fi
    [ -e "$release/prefect.yaml" ] || die "$source does not hold this project"
    make_environment "$release"
    # The services may not write here, so what Python compiles it compiles now.
    (cd "$release" && .venv/bin/python -m compileall -q alerting blocks core dashboards deploy flows migration repair runs serving sources stores tasks)
    ln -s "$ETC/.env" "$release/.env"
    chmod -R u=rwX,go=rX "$release"
    touch "$release/.complete"
}

# remove_old_releases: the newest that were well stay, the current one, the one that it goes back to,
# and the environments that those have.
remove_old_releases() {
    local name before kept=0
    before=$(cat "$CURRENT/.before" 2>/dev/null || true)
    for name in $(releases); do
        if ((kept < KEEP_RELEASES)) && is_release "$name" && [ ! -e "$RELEASES/$name/.failed" ]; then
            ((kept += 1))
        elif [ "$name" != "$(current_release)" ] && [ "$name" != "$before" ]; then
            rm -rf "${RELEASES:?}/$name"
        fi
    done
    for name in "$ENVIRONMENTS"/*; do
        readlink "$RELEASES"/*/.venv | grep -qx "$name" || rm -rf "$name"
    done
}
