#!/bin/bash
# push.sh COMMIT: that commit runs on the VM of GCP_PROJECT, GCP_ZONE and GCP_VM.
#
# Its archive is copied through Google's proxy and handed to the update.sh that is in it. The exit code
# and what is printed are update.sh's, which goes on by itself when the connection is lost: then
# /var/log/data-pipelines-update.log on the VM says how it ended.
set -euo pipefail
commit=${1:?usage: push.sh COMMIT}
: "${GCP_PROJECT:?}" "${GCP_ZONE:?}" "${GCP_VM:?}"
cd "$(dirname "$0")/.."
archive=$(mktemp --suffix=.tar)
trap 'rm -f "$archive"' EXIT
git archive --format=tar --output="$archive" "$commit"
there=/tmp/data-pipelines-$commit
# Each machine that pushes has a key of its own, and the account's profile has room for about fifty.
place=(--project="$GCP_PROJECT" --zone="$GCP_ZONE" --tunnel-through-iap --ssh-key-expire-after=1h --quiet)
gcloud compute scp "${place[@]}" "$archive" "$GCP_VM:$there.tar"
# tee, unlike update.sh, does not mind that nobody reads any more.
update="
    set -eo pipefail
    trap 'rm -rf $there $there.tar' EXIT
    mkdir $there
    tar --extract --file=$there.tar --directory=$there
    $there/deploy/update.sh $there.tar $commit 2>&1 | tee -p /var/log/data-pipelines-update.log
"
detached=(sudo systemd-run --unit=data-pipelines-update --collect --wait --pipe --quiet bash -c "$update")
gcloud compute ssh "${place[@]}" "$GCP_VM" --command="$(printf '%q ' "${detached[@]}")"
