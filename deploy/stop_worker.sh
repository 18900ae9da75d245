#!/bin/bash
# stop_worker.sh PID: the worker's flow runs are told to end, so that each reports itself Crashed and
# frees its slot; then the worker is. 20 s are the runs' own; systemd ends what is left after that.
set -euo pipefail
worker=${1:?usage: stop_worker.sh PID}

# wait_while COMMAND...: until it fails, or 20 s.
wait_while() {
    for ((i = 0; i < 200; i++)); do
        "$@" >/dev/null 2>&1 || break
        sleep 0.1
    done
}

pkill -TERM --parent "$worker" || true
wait_while pgrep --parent "$worker"
kill -TERM "$worker" 2>/dev/null || true
# systemd sends SIGTERM again as soon as this returns.
wait_while kill -0 "$worker"
