#!/bin/bash
# rotate.sh api: the API and the UI have a new password.
# rotate.sh encryption: the blocks in the database are encrypted with a new key.
# rotate.sh certificate (FILE KEY | --self-signed): nginx serves that certificate.
# rotate.sh blocks: what /etc/data-pipelines/.env and the key file say now is saved in the blocks, and
# the sources that it configures are deployed.
#
# Nothing secret is printed. Needs root.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/lib.sh
. "$here/lib.sh"
begin
case ${1:-} in
api)
    stop_worker
    put_setting server.env PREFECT_SERVER_API_AUTH_STRING "admin:$(random_text)"
    run_release "$(current_release)"
    say "the new password is PREFECT_API_AUTH_STRING in $ETC/worker.env"
    ;;
encryption)
    stop_worker
    systemctl stop data-pipelines-server
    # Written down before it is used. One that is may be what the blocks are encrypted with by now.
    [ -s "$ETC/rotation.env" ] || put_setting rotation.env NEW_ENCRYPTION_KEY "$(random_key)"
    systemd-run --quiet --collect --wait --pipe --uid=prefect \
        --property=EnvironmentFile="$CURRENT/deploy/env/server.env" \
        --property=EnvironmentFile="$ETC/server.env" \
        --property=EnvironmentFile="$ETC/rotation.env" \
        --property=WorkingDirectory="$CURRENT" \
        "$CURRENT/.venv/bin/python" -m deploy.reencrypt
    put_setting server.env PREFECT_SERVER_ENCRYPTION_KEY "$(setting rotation.env NEW_ENCRYPTION_KEY)"
    rm "$ETC/rotation.env"
    run_release "$(current_release)"
    say "older dumps need the older key: make one now (systemctl start data-pipelines-backup)"
    ;;
certificate)
    case $#,${2:-} in
    2,--self-signed) sign_certificate ;;
    3,*) install_certificate "$2" "$3" ;;
    *) die "usage: rotate.sh certificate (FILE KEY | --self-signed)" ;;
    esac
    nginx -t -q
    systemctl reload nginx
    say "nginx serves a certificate that is valid until $(openssl x509 -in "$TLS/certificate.pem" -noout -enddate | cut -d= -f2)"
    ;;
blocks)
    register_blocks
    in_release python -m deploy.apply
    in_release python -m blocks.register --check
    ;;
*) die "usage: rotate.sh api | encryption | certificate ... | blocks" ;;
esac
