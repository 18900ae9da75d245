#!/bin/bash
# answers.sh URL SECONDS: wait until the URL answers with a success, SECONDS at most.
set -euo pipefail
deadline=$((SECONDS + $2))
until curl --silent --fail --insecure --noproxy '*' --max-time 5 --output /dev/null "$1"; do
    if ((SECONDS >= deadline)); then
        echo "$1 did not answer within $2 s" >&2
        exit 1
    fi
    sleep 0.5
done
