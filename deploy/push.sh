#!/bin/bash
# push.sh COMMIT: that commit runs on the VM of GCP_PROJECT, GCP_ZONE and GCP_VM.
#
# Its archive is copied through Google's proxy and handed to the update.sh that is in it. The exit code
# is update.sh's.
set -euo pipefail
commit=${1:?usage: push.sh COMMIT}
: "${GCP_PROJECT:?}" "${GCP_ZONE:?}" "${GCP_VM:?}"
cd "$(dirname "$0")/.."
archive=$(mktemp --suffix=.tar)
trap 'rm -f "$archive"' EXIT
git archive --format=tar --output="$archive" "$commit"
there=/tmp/data-pipelines-$commit
place=(--project="$GCP_PROJECT" --zone="$GCP_ZONE" --tunnel-through-iap --quiet)
gcloud compute scp "${place[@]}" "$archive" "$GCP_VM:$there.tar"
# shellcheck disable=SC2029 # the names are expanded here on purpose
gcloud compute ssh "${place[@]}" "$GCP_VM" --command="
    set -e
    trap 'rm -rf $there $there.tar' EXIT
    mkdir $there
    tar --extract --file=$there.tar --directory=$there
    sudo $there/deploy/update.sh $there.tar $commit
"
