#!/bin/sh
# install.sh PYTHON VENV: the locked environment in VENV, with hashes checked.
set -eu
python=$1
venv=$2
unset PYTHONDONTWRITEBYTECODE || true

if ! command -v "$python" >/dev/null; then
    echo "error: $python is not installed (on Debian 12: apt-get install python3)" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    # Debian ships venv's ensurepip apart.
    version=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')
    sudo=
    if [ "$(id -u)" != 0 ]; then
        sudo=sudo
        command -v sudo >/dev/null || {
            echo "error: python$version-venv is missing; as root: apt-get install python$version-venv" >&2
            exit 1
        }
    fi
    echo "installing python$version-venv ..."
    $sudo apt-get update -qq
    $sudo apt-get install -qq -y "python$version-venv" >/dev/null
fi
echo "installing the locked environment into $venv (about a minute) ..."
"$python" -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
    -r requirements-dev.lock
