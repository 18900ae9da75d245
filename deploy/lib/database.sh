# shellcheck shell=bash
# The PostgreSQL cluster of this machine and the Prefect database in it.

# postgresql_cluster: version and name of the one that clients reach where no port is named, with a
# slash between, as in Debian's paths. Nothing where there is none.
postgresql_cluster() { pg_lsclusters --no-header | awk '$3 == 5432 { print $1 "/" $2 }'; }

as_postgres() { (cd / && PGOPTIONS=--client-min-messages=warning runuser -u postgres -- "$@"); }

# run_sql OPTION...: by psql, up to the first error.
run_sql() { as_postgres psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 "$@"; }

# load_database FILE [NAME]: the Prefect database is the one of that dump; the one that stood is dropped,
# or is called NAME from then on. The server must be stopped. First into a database of its own: a dump
# that is no good leaves the standing one alone. There is one at any time, and none is needed before.
load_database() {
    local aside=prefect_replaced
    as_postgres dropdb --if-exists prefect_restored &&
        as_postgres dropdb --if-exists "$aside" &&
        as_postgres createdb --owner=prefect prefect_restored &&
        as_postgres pg_restore --exit-on-error --dbname=prefect_restored <"$1" &&
        run_sql --dbname=postgres --output=/dev/null --set=aside="${2:-$aside}" <<'SQL' &&
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = 'prefect';
BEGIN;
SELECT format('ALTER DATABASE prefect RENAME TO %I', :'aside')
WHERE EXISTS (SELECT FROM pg_database WHERE datname = 'prefect') \gexec
ALTER DATABASE prefect_restored RENAME TO prefect;
COMMIT;
SQL
        { as_postgres dropdb --if-exists "$aside" || true; }
}
