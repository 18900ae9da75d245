# shellcheck shell=bash disable=SC2034 # what those that source it use
# What install.sh, update.sh, rollback.sh, restore.sh and rotate.sh share.
readonly BASE=/opt/data-pipelines
readonly RELEASES=$BASE/releases
readonly ENVIRONMENTS=$BASE/environments
readonly CURRENT=$BASE/current
readonly ETC=/etc/data-pipelines
readonly BACKUPS=/var/backups/data-pipelines
readonly WEB=/var/www/data-pipelines
readonly TLS=/etc/nginx/data-pipelines
readonly KEEP_RELEASES=3
# What is known of a release, in files beside its own: that it is whole, that it was not well, which one
# ran before it and the dump of that one's database.
readonly MARKS=(.complete .failed .before .database-before)
readonly DRAIN_SECONDS=${DRAIN_SECONDS:-300}

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

# setting FILE NAME: the value of a line NAME=value in a file under /etc/data-pipelines.
setting() { sed -n "s/^$2=//p" "$ETC/$1" | tail -n 1; }

# put_setting FILE NAME VALUE: the file has that line once, and stays readable by root only.
put_setting() {
    local file=$ETC/$1 new
    new=$(mktemp "$ETC/.new.XXXXXX")
    { grep -v "^$2=" "$file" 2>/dev/null || true; } >"$new"
    printf '%s=%s\n' "$2" "$3" >>"$new"
    chmod 0600 "$new"
    mv "$new" "$file"
}

random_text() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }
# As Fernet wants it: 32 bytes in base64 for addresses.
random_key() { head -c 32 /dev/urandom | base64 | tr '+/' '-_'; }

current_release() { basename "$(readlink "$CURRENT" 2>/dev/null || true)"; }

in_release() { "$CURRENT/deploy/pipelines.sh" "$@"; }

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
    python=$(PATH=/usr/local/bin:/usr/bin:/bin "${here:?}/find_python.sh" "$named") || return 1
    case $("$python" -c 'import sys; print(sys.base_prefix)') in
    /home/* | /root/* | /run/user/* | /tmp/* | /var/tmp/*)
        die "$python is in a folder that services do not see: install Python 3.11 elsewhere, as in /opt or /usr/local"
        ;;
    esac
    runuser -u nobody -- "$python" -c 'import ssl' || die "$python cannot be run by every user: correct its rights"
    echo "$python"
}

# cluster: version and name of the PostgreSQL cluster that clients reach where no port is named, with a
# slash between, as in Debian's paths. Nothing where there is none.
cluster() { pg_lsclusters --no-header | awk '$3 == 5432 { print $1 "/" $2 }'; }

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

# stop_worker: no new run starts, those at work get DRAIN_SECONDS to end, then the worker goes. Whatever
# ends this shell before a release was run: the one that was there runs again.
stop_worker() {
    trap start_again EXIT
    # Not before the command that is at work has ended.
    trap 'exit 1' HUP INT PIPE TERM
    if systemctl --quiet is-active data-pipelines-worker; then
        say "draining the worker ($DRAIN_SECONDS s at most) ..."
        in_release python -m deploy.drain vm --seconds "$DRAIN_SECONDS" || true
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

register_blocks() {
    if ! grep -q '^GCP_PROJECT=.' "$ETC/.env"; then
        say "$ETC/.env is not filled in yet: no block is saved"
        return
    fi
    in_release python -m blocks.register
}

# give_access: flow runs know the API's user and password, nginx asks for them where it serves files
# by itself, and messages link to the address at which people read. All stand in server.env, also in
# one that was put back from another machine.
give_access() {
    local auth
    auth=$(setting server.env PREFECT_SERVER_API_AUTH_STRING)
    put_setting worker.env PREFECT_API_AUTH_STRING "$auth"
    put_setting worker.env PREFECT_UI_URL "$(setting server.env PREFECT_UI_URL)"
    (umask 027 && printf '%s:%s\n' "${auth%%:*}" "$(printf '%s' "${auth#*:}" | openssl passwd -apr1 -stdin)" \
        >/etc/nginx/data-pipelines/users)
    chown root:www-data /etc/nginx/data-pipelines/users
}

https_address() {
    local listen
    listen=$(setting server.env DATA_PIPELINES_LISTEN)
    case $listen in
    *:*) echo "$listen" ;;
    *) echo "127.0.0.1:$listen" ;;
    esac
}

as_postgres() { (cd / && PGOPTIONS=--client-min-messages=warning runuser -u postgres -- "$@"); }

# install_certificate FILE KEY: nginx takes that pair when it is started or reloaded.
install_certificate() {
    local public
    public=$(openssl x509 -in "$1" -noout -pubkey) || die "$1 is not a certificate"
    # One with a password would be asked for it, and nginx cannot know it.
    [ "$public" = "$(openssl pkey -in "$2" -passin pass: -pubout)" ] || die "$2 is not the key of $1"
    openssl x509 -in "$1" -noout -checkend 0 >/dev/null || die "$1 has expired"
    # And those that have signed it, which follow.
    openssl crl2pkcs7 -nocrl -certfile "$1" -out /dev/null || die "$1 cannot be read whole"
    install -m 0600 "$2" "$TLS/key.pem"
    install -m 0644 "$1" "$TLS/certificate.pem"
}

# sign_certificate: the same with a pair that is made here, for this host's name.
sign_certificate() {
    local host
    host=$(setting server.env DATA_PIPELINES_HOST)
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 825 \
        -subj "/CN=$host" -addext "subjectAltName=DNS:$host" \
        -keyout "$TLS/key.pem" -out "$TLS/certificate.pem" 2>/dev/null
    chmod 0600 "$TLS/key.pem"
    chmod 0644 "$TLS/certificate.pem"
}

# load_database FILE [NAME]: the Prefect database is the one of that dump; the one that stood is dropped,
# or is called NAME from then on. The server must be stopped. First into a database of its own: a dump
# that is no good leaves the standing one alone. There is one at any time, and none is needed before.
load_database() {
    local aside=prefect_replaced
    as_postgres dropdb --if-exists prefect_restored &&
        as_postgres dropdb --if-exists "$aside" &&
        as_postgres createdb --owner=prefect prefect_restored &&
        as_postgres pg_restore --exit-on-error --dbname=prefect_restored <"$1" &&
        as_postgres psql --quiet --no-psqlrc --output=/dev/null --set=ON_ERROR_STOP=1 --dbname=postgres \
            --set=aside="${2:-$aside}" <<'SQL' && { as_postgres dropdb --if-exists "$aside" || true; }
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = 'prefect';
BEGIN;
SELECT format('ALTER DATABASE prefect RENAME TO %I', :'aside')
WHERE EXISTS (SELECT FROM pg_database WHERE datname = 'prefect') \gexec
ALTER DATABASE prefect_restored RENAME TO prefect;
COMMIT;
SQL
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

# switch_to VERSION [DUMP]: run that release; when it is not well, run the one before again and fail.
# Where Prefect changes, the database is dumped, and the one of DUMP is loaded.
switch_to() {
    local version=$1 dump=${2:-} before backup=
    before=$(current_release)
    if is_release "$before"; then
        stop_worker
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
    run_release "$before" || die "neither release $version nor $before is well"
    die "release $version was not well; $before runs again"
}
