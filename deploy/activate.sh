#!/bin/bash
# activate.sh VERSION: that installed release is the one that runs, and all of it is well; for
# update.sh and its like, which hold the lock and go back when this fails.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/lib.sh
. "$here/lib.sh"
version=${1:?usage: activate.sh VERSION}
# The watchdog, which looks every minute, counts a missing backup from this folder's age.
install -d -m 0755 -o postgres -g postgres /var/lib/data-pipelines-backup
ln -sfn "releases/$version" "$CURRENT.new"
mv -T "$CURRENT.new" "$CURRENT"

# Flow runs write what nobody else may read; nginx reads here.
install -d -m 0755 -o pipelines -g pipelines "$WEB" "$WEB/catalog" "$WEB/serving"
# Private pages are for nginx and their owner alone; what is made in these folders is of their group.
for kind in snapshots pages; do
    install -d -m 0755 -o pipelines -g pipelines "$WEB/serving/$kind"
    install -d -m 2750 -o pipelines -g www-data "$WEB/serving/$kind/private"
done

# systemd and nginx have what this release says.
for name in "$CURRENT"/deploy/systemd/data-pipelines-*; do
    install -m 0644 "$name" /etc/systemd/system/
done
# What Debian's own units may do and take. That is settled when one starts: a reload is not enough.
restarts=()
postgresql=$(cluster)
for pair in nginx:nginx "postgresql:postgresql@${postgresql/\//-}"; do
    ours=$CURRENT/deploy/systemd/${pair%%:*}.conf unit=${pair#*:}
    theirs=/etc/systemd/system/$unit.service.d/data-pipelines.conf
    if ! cmp --silent "$ours" "$theirs"; then
        install -D -m 0644 "$ours" "$theirs"
        restarts+=("$unit")
    fi
done
# HTTP/2 is an option of its own since nginx 1.25.1.
http2=('ssl http2' '')
printf '%s\n' 1.25.1 "$(nginx -v 2>&1 | sed 's/.*nginx\///; s/ .*//')" | sort -CV && http2=(ssl 'http2 on;')
sed -e "s/@SSL@/${http2[0]}/" -e "s/@HTTP2@/${http2[1]}/" \
    -e "s/@HOST@/$(setting server.env DATA_PIPELINES_HOST)/" \
    -e "s/@LISTEN@/$(setting server.env DATA_PIPELINES_LISTEN)/" \
    -e "s/@PORT@/$(setting server.env PREFECT_SERVER_API_PORT)/" \
    "$CURRENT/deploy/nginx/data-pipelines.conf" >/etc/nginx/sites-available/data-pipelines
ln -sfn ../sites-available/data-pipelines /etc/nginx/sites-enabled/data-pipelines
install -m 0755 "$CURRENT/deploy/pipelines.sh" /usr/local/bin/pipelines
give_access
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
in_release python -m deploy.apply
in_release python -m blocks.automations
in_release python -m deploy.drain vm --resume
say "starting the worker ..."
systemctl restart data-pipelines-worker
in_release python -m deploy.verify vm --seconds 180
"$CURRENT/deploy/answers.sh" "https://$(https_address)/api/health" 10
systemctl start data-pipelines-watchdog.timer
