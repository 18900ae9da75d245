#!/bin/bash
# stop_worker.sh PID: the worker's flow runs are told to end, so that each reports itself Crashed and
# frees its slot; then the worker is. 20 s are the runs' own; systemd ends what is left after that.
set -euo pipefail
worker=${1:?usage: stop_worker.sh PID}
pkill -TERM --parent "$worker" || true
for ((i = 0; i < 200; i++)); do
    pgrep --parent "$worker" >/dev/null || break
    sleep 0.1
done
kill -TERM "$worker" 2>/dev/null || true
# systemd sends SIGTERM again as soon as this returns.
for ((i = 0; i < 200; i++)); do
    kill -0 "$worker" 2>/dev/null || break
    sleep 0.1
done
