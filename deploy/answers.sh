#!/bin/bash
# answers.sh URL SECONDS: wait until the URL answers with a success, SECONDS at most. As a unit's
# ExecStartPost it gives up as soon as the unit's own process is gone.
set -euo pipefail
deadline=$((SECONDS + $2))
until curl --silent --fail --insecure --noproxy '*' --max-time 5 --output /dev/null "$1"; do
    if [ -n "${MAINPID:-}" ] && ! kill -0 "$MAINPID" 2>/dev/null; then
        echo "the process that should answer at $1 has ended" >&2
        exit 1
    fi
    if ((SECONDS >= deadline)); then
        echo "$1 did not answer within $2 s" >&2
        exit 1
    fi
    sleep 0.5
done
