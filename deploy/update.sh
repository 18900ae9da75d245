#!/bin/bash
# update.sh ARCHIVE VERSION: the release in a tar archive (or a directory) runs.
#
# Its locked environment is installed beside the old one, the worker is drained and stopped, the
# release switched, blocks registered, deployments applied. When the new one is not well, the old one
# runs again and the exit code is 1. Needs root.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
. "$(dirname "$0")/lib/switch.sh"
(($# == 2)) || die "usage: update.sh ARCHIVE VERSION"
[[ $2 =~ ^[A-Za-z0-9._-]+$ ]] || die "$2 cannot be the name of a release"
begin
is_release "$(current_release)" || die "nothing is installed yet: run install.sh first"
make_release "$1" "$2"
switch_to "$2"
