#!/bin/sh
# install.sh PYTHON VENV: the locked environment in VENV, with hashes checked. PYTHON may be empty:
# then it is this machine's own.
set -eu
venv=$2
unset PYTHONDONTWRITEBYTECODE || true

if ! python=$(deploy/find_python.sh "$1" 2>/dev/null); then
    # Debian ships pip apart.
    if [ -z "$1" ] && command -v python3.11 >/dev/null && command -v apt-get >/dev/null &&
        { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }; then
        sudo=
        [ "$(id -u)" = 0 ] || sudo=sudo
        echo "installing python3-pip-whl ..."
        $sudo apt-get update -qq
        $sudo apt-get install -qq -y --no-install-recommends python3-pip-whl >/dev/null
    fi
    python=$(deploy/find_python.sh "$1")
fi
echo "installing the locked environment into $venv (about a minute) ..."
deploy/environment.sh "$python" "$venv" requirements-dev.lock
