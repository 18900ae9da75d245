#!/bin/bash
# rotate.sh api: the API and the UI have a new password.
# rotate.sh encryption: the blocks are encrypted with a new key, made again from /etc/data-pipelines/.env;
# one that somebody made in the UI is gone.
# rotate.sh certificate (FILE KEY | --self-signed): nginx serves that certificate.
# rotate.sh blocks: what /etc/data-pipelines/.env and the key file say now is saved in the blocks, and
# the sources that it configures are deployed.
#
# Nothing secret is printed. Needs root.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
. "$(dirname "$0")/lib/certificate.sh"
. "$(dirname "$0")/lib/switch.sh"
begin
case ${1:-} in
api)
    stop_worker
    new_password
    run_release "$(current_release)"
    say "the new password is PREFECT_API_AUTH_STRING in $ETC/worker.env"
    ;;
encryption)
    # Where they cannot be made again, this ends before one is gone.
    is_filled_in || die "$ETC/.env is not filled in: blocks are made from it"
    systemctl start data-pipelines-server
    register_blocks
    stop_worker
    systemctl stop data-pipelines-server
    run_sql --dbname=prefect --command="DELETE FROM block_document"
    new_encryption_key
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
    pipelines python -m deploy.apply
    pipelines python -m blocks.register --check
    ;;
*) die "usage: rotate.sh api | encryption | certificate ... | blocks" ;;
esac
