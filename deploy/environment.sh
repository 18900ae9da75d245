#!/bin/sh
# environment.sh PYTHON DIRECTORY LOCK: an environment of that Python with what the lock names, hashes
# checked; what was in the directory is gone.
set -eu
python=$1 directory=$2 lock=$3
if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv --clear "$directory"
    pip='-m pip'
else
    # Debian's own pip, of python3-pip-whl, which runs as it is.
    "$python" -m venv --clear --without-pip "$directory"
    pip=$(find /usr/share/python-wheels -name 'pip-*.whl' | sort | tail -n 1)/pip
fi
# shellcheck disable=SC2086 # two words
"$directory/bin/python" $pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
    --requirement "$lock"
