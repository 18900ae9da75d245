#!/bin/sh
# find_python.sh [PYTHON]: prints where the Python 3.11 is that environments are made of: the named one,
# else python3.11 or python3 of this machine. Where there is none that has a pip, says what to install
# and fails.
set -eu

# version_or_fault PYTHON: its version where environments can be made of it, else what is wrong with it.
version_or_fault() {
    command -v "$1" >/dev/null || {
        echo "not there"
        return
    }
    "$1" -c '
import glob, sys
found = ".".join(map(str, sys.version_info[:2]))
if found == "3.11":
    try:
        import ensurepip
    except ImportError:
        # Debian ships pip apart; environment.sh takes it from there.
        if not glob.glob("/usr/share/python-wheels/pip-*.whl"):
            found += " without a pip"
print(found)' 2>/dev/null || echo "does not run"
}

[ -n "${1:-}" ] || set -- python3.11 python3
for python in "$@"; do
    version=$(version_or_fault "$python")
    if [ "$version" = 3.11 ]; then
        command -v "$python"
        exit
    fi
    seen="${seen:+$seen; }$python: $version"
done
cat >&2 <<EOF
error: Python 3.11 with a pip is needed and was not found ($seen). Install it:
  Debian 12: apt-get install python3.11 python3-pip-whl
  Debian 13: the same, once apt knows the archive that has it: docs/install.md, "Debian 13 and others"
  elsewhere: any Python 3.11, named by PYTHON=/path/to/python3.11
Then repeat the command.
EOF
exit 1
