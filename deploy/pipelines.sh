#!/bin/bash
# pipelines COMMAND...: run a command as the worker's flow runs are, with their user and settings:
#   pipelines prefect deployment run elt/finance --watch
#   pipelines python -m blocks.register --check
# Needs root; installed as /usr/local/bin/pipelines.
set -euo pipefail
if (($# == 0)); then
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
fi
terminal=--pipe
if [ -t 0 ] && [ -t 1 ]; then terminal=--pty; fi
release=/opt/data-pipelines/current
exec systemd-run --quiet --collect --wait "$terminal" --service-type=exec \
    --uid=pipelines --property=UMask=0077 \
    --property=EnvironmentFile=$release/deploy/env/worker.env \
    --property=EnvironmentFile=/etc/data-pipelines/worker.env \
    --property=WorkingDirectory=$release \
    --property=StateDirectory=data-pipelines --property=StateDirectoryMode=0700 \
    --property=ReadWritePaths=/var/www/data-pipelines \
    --property=NoNewPrivileges=yes --property=PrivateTmp=yes --property=ProtectSystem=strict \
    --property=ProtectHome=yes --property=CapabilityBoundingSet= --property=MemoryMax=1500M \
    --setenv=TERM="${TERM:-dumb}" \
    /usr/bin/env -- "$@"
