#!/bin/bash
# activate.sh VERSION: that installed release is the one that runs, and all of it is well; for
# update.sh and its like, which hold the lock and go back when this fails.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
. "$(dirname "$0")/lib/database.sh"
. "$(dirname "$0")/lib/settings.sh"
version=${1:?usage: activate.sh VERSION}
# The watchdog, which looks every minute, counts a missing backup from this folder's age.
install -d -m 0755 -o postgres -g postgres /var/lib/data-pipelines-backup
# One that does not know this release's names has run, and may have made columns of its own.
[ -e "$CURRENT/deploy/ledger_names.py" ] || rm -f "$LEDGER_NAMED"
ln -sfn "releases/$version" "$CURRENT.new"
mv -T "$CURRENT.new" "$CURRENT"

# Flow runs write what nobody else may read; nginx reads here.
web=/var/www/data-pipelines
install -d -m 0755 -o pipelines -g pipelines "$web" "$web/catalog" "$web/serving" "$web"/serving/{snapshots,pages}
# Private pages are for nginx and their owner alone; what is made in these folders is of their group.
install -d -m 2750 -o pipelines -g www-data "$web"/serving/{snapshots,pages}/private

# systemd has what this release says; what every unit is denied stands once, in hardening.conf.
units=$CURRENT/deploy/systemd systemd=/etc/systemd/system
install -m 0644 "$units"/data-pipelines-*.timer "$systemd"
for unit in "$units"/data-pipelines-*.service; do
    cat "$units/hardening.conf" "$unit" | install -m 0644 /dev/stdin "$systemd/${unit##*/}"
done
# What Debian's own units may do and take is settled when one starts: a reload is not enough.
restarts=()
for unit in nginx "postgresql@$(postgresql_cluster | tr / -)"; do
    drop_in=$systemd/$unit.service.d/data-pipelines.conf
    ours=$(cat "$units/hardening.conf" "$units/${unit%@*}.conf")
    if [ "$ours" != "$(cat "$drop_in" 2>/dev/null)" ]; then
        install -D -m 0644 /dev/stdin "$drop_in" <<<"$ours"
        restarts+=("$unit")
    fi
done

# nginx: HTTP/2 is an option of its own since 1.25.1.
http2=('ssl http2' '')
printf '%s\n' 1.25.1 "$(nginx -v 2>&1 | sed 's/.*nginx\///; s/ .*//')" | sort -CV && http2=(ssl 'http2 on;')
listen=$(setting server.env DATA_PIPELINES_LISTEN)
sed -e "s/@SSL@/${http2[0]}/" -e "s/@HTTP2@/${http2[1]}/" -e "s/@LISTEN@/$listen/" \
    -e "s/@HOST@/$(setting server.env DATA_PIPELINES_HOST)/" \
    -e "s/@PORT@/$(setting server.env PREFECT_SERVER_API_PORT)/" \
    "$CURRENT/deploy/nginx/data-pipelines.conf" >/etc/nginx/sites-available/data-pipelines
ln -sfn ../sites-available/data-pipelines /etc/nginx/sites-enabled/data-pipelines
install -m 0755 "$CURRENT/deploy/pipelines.sh" /usr/local/bin/pipelines

# Flow runs know the API's user and password, nginx asks for them where it serves files by itself, and
# messages link to the address at which people read. All stand in server.env, also in one that was put
# back from another machine.
auth=$(setting server.env PREFECT_SERVER_API_AUTH_STRING)
put_setting worker.env PREFECT_API_AUTH_STRING "$auth"
put_setting worker.env PREFECT_UI_URL "$(setting server.env PREFECT_UI_URL)"
(umask 027 && printf '%s:%s\n' "${auth%%:*}" "$(printf '%s' "${auth#*:}" | openssl passwd -apr1 -stdin)" >"$TLS/users")
chown root:www-data "$TLS/users"

nginx -t -q
systemctl daemon-reload
systemctl --quiet enable data-pipelines-server data-pipelines-worker \
    data-pipelines-backup.timer data-pipelines-watchdog.timer nginx
systemctl start data-pipelines-backup.timer
for unit in "${restarts[@]}"; do systemctl restart "$unit"; done
systemctl reload-or-restart nginx

say "starting the server of release $version ..."
systemctl restart data-pipelines-server
register_blocks
pipelines python -m deploy.apply
pipelines python -m blocks.automations
pipelines python -m deploy.drain vm --resume
# Release 0.1 calls columns of the ledger otherwise; going back to it undoes this (lib/switch.sh).
if [ ! -e "$LEDGER_NAMED" ] && is_filled_in; then
    pipelines python -m deploy.ledger_names
    touch "$LEDGER_NAMED"
fi
say "starting the worker ..."
systemctl restart data-pipelines-worker
pipelines python -m deploy.verify vm --seconds 180
[[ $listen == *:* ]] || listen=127.0.0.1:$listen
"$CURRENT/deploy/answers.sh" "https://$listen/api/health" 10
systemctl start data-pipelines-watchdog.timer
