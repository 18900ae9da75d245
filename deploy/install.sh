#!/bin/bash
# install.sh --host NAME (--self-signed | --certificate FILE --key FILE)
#
# The data platform runs on this Debian: PostgreSQL and nginx in the versions that it has, Prefect
# server, worker, TLS, daily backup. Repeating it changes nothing that is well; an existing setting,
# password, key or certificate is kept, unless a certificate is given. Needs root.
#
# Where 443, 4200 or 8080 are taken: HTTPS_LISTEN=[address:]port, PREFECT_PORT and HEALTH_PORT in the
# environment of the first run. Where the machine's own Python is not 3.11: PYTHON=/path/to/python3.11,
# which updates then use as well.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
. "$(dirname "$0")/lib/certificate.sh"
. "$(dirname "$0")/lib/switch.sh"

# That of who logged in may not be on this machine, and the database keeps the one that it is made with.
export LC_ALL=C.UTF-8
source=${DEPLOY%/deploy}
host='' self_signed='' certificate='' key=''
while (($#)); do
    case $1 in
    --host) host=$2 && shift 2 ;;
    --self-signed) self_signed=1 && shift ;;
    --certificate) certificate=$2 && shift 2 ;;
    --key) key=$2 && shift 2 ;;
    *) die "unknown argument $1; $(sed -n '2s/^# /usage: /p' "$0")" ;;
    esac
done
begin
[ -n "$host" ] || die "--host is missing: the name under which browsers find this machine"
[[ $host =~ ^[A-Za-z0-9.-]+$ ]] || die "--host $host is not a host's name"
command -v apt-get >/dev/null || die "this is written for Debian: there is no apt-get"
grep -qx 'ID=debian' /etc/os-release ||
    say "not tried on $(sed -n 's/^PRETTY_NAME=//p' /etc/os-release): this is written for Debian 12 and 13"

packages=(ca-certificates curl nginx openssl postgresql procps)
if ! python=$(find_python 2>/dev/null); then
    apt-get update -qq
    # Before anything is changed: one that this machine's archives do not have is a person's matter.
    if [ -n "${PYTHON:-}" ] || ! apt-cache show python3.11 >/dev/null 2>&1; then find_python; fi
    packages+=(python3.11 python3-pip-whl)
fi
missing=()
for package in "${packages[@]}"; do
    [ "$(dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null)" = "install ok installed" ] ||
        missing+=("$package")
done
if ((${#missing[@]})); then
    say "installing ${missing[*]} ..."
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

python=$(find_python)
# Debian makes none where the locale that it was given, as by SSH, is not there.
[ -n "$(postgresql_cluster)" ] || pg_createcluster "$(find /usr/lib/postgresql -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -V | tail -n 1)" main
postgresql=$(postgresql_cluster)
[ -n "$postgresql" ] || die "no PostgreSQL of this machine has port 5432 (pg_lsclusters shows them)"

# Users without a login, and who may read what.
id prefect >/dev/null 2>&1 ||
    useradd --system --home-dir /var/lib/data-pipelines-server --shell /usr/sbin/nologin prefect
id pipelines >/dev/null 2>&1 ||
    useradd --system --home-dir /var/lib/data-pipelines --shell /usr/sbin/nologin pipelines
install -d -m 0755 "$BASE" "$RELEASES" "$ENVIRONMENTS"
install -d -m 0750 -o root -g pipelines "$ETC"
install -d -m 0700 -o postgres -g postgres "$BACKUPS"
[ -e "$ETC/.env" ] || install -m 0600 -o pipelines -g pipelines "$source/.env.example" "$ETC/.env"

# Updates find that one as well.
[ -z "${PYTHON:-}" ] || put_setting install.env PYTHON "$python"

# Settings of this host; secrets are made once.
if [ ! -e "$ETC/server.env" ]; then
    say "making the API's password and the key that blocks are encrypted with"
    put_setting server.env PREFECT_SERVER_API_PORT "${PREFECT_PORT:-4200}"
    new_password
    new_encryption_key
    put_setting server.env DATA_PIPELINES_LISTEN "${HTTPS_LISTEN:-443}"
    put_setting worker.env PREFECT_API_URL "http://127.0.0.1:${PREFECT_PORT:-4200}/api"
    put_setting worker.env PREFECT_WORKER_WEBSERVER_PORT "${HEALTH_PORT:-8080}"
    # The watchdog looks there.
    put_setting worker.env WORKER_HEALTH_URL "http://127.0.0.1:${HEALTH_PORT:-8080}/health"
fi
listen=$(setting server.env DATA_PIPELINES_LISTEN)
port=${listen##*:}
put_setting server.env DATA_PIPELINES_HOST "$host"
address=https://$host$([ "$port" = 443 ] || echo ":$port")
put_setting server.env PREFECT_UI_URL "$address"
put_setting server.env PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS "$address"

# TLS.
install -d -m 0711 "$TLS"
if [ -n "$certificate" ]; then
    [ -n "$key" ] || die "--certificate goes with --key"
    install_certificate "$certificate" "$key"
elif [ ! -e "$TLS/certificate.pem" ]; then
    [ -n "$self_signed" ] || die "give --certificate and --key, or --self-signed"
    sign_certificate
fi
rm -f /etc/nginx/sites-enabled/default

# PostgreSQL: a database that the user prefect reaches over the socket, without a password.
configuration=/etc/postgresql/$postgresql/conf.d/data-pipelines.conf
if ! cmp --silent "$source/deploy/postgresql.conf" "$configuration"; then
    install -m 0644 "$source/deploy/postgresql.conf" "$configuration"
    systemctl restart "postgresql@${postgresql/\//-}"
fi
systemctl start "postgresql@${postgresql/\//-}"
run_sql --dbname=postgres <<'SQL'
SELECT 'CREATE ROLE prefect LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'prefect') \gexec
SELECT 'CREATE DATABASE prefect OWNER prefect' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'prefect') \gexec
SQL
run_sql --dbname=prefect --command='CREATE EXTENSION IF NOT EXISTS pg_trgm'

version=$(cd "$source" && find . -type f -not -path './.*' -not -name '*.pyc' -not -path '*/target/*' -print0 |
    sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12)
make_release "$source" "$version"
switch_to "$version"
say "$address asks for what PREFECT_API_AUTH_STRING in $ETC/worker.env says"
