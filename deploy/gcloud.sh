#!/bin/bash
# gcloud.sh [--dry-run]: what the platform needs in a Google Cloud project stands: APIs, network and
# firewall, service accounts with their roles, bucket, datasets, VM, snapshots, and the federation that
# lets GitHub deploy without a key. With --dry-run nothing is asked or changed; every command is
# printed.
#
# Repeating it changes nothing that is as it should be. Needs gcloud (and its bq), logged in as an owner
# of the project. Environment:
#   GCP_PROJECT GCS_BUCKET           required
#   GCP_REGION (us-central1) GCP_ZONE (us-central1-a) GCP_VM (data-pipelines)
#   GCP_MACHINE_TYPE (e2-medium)
#   BIGQUERY_LOCATION (US) RAW_DATASET (raw)
#   GITHUB_REPOSITORY                owner/name; empty: no federation
set -euo pipefail

dry_run=''
case ${1:-} in
--dry-run) dry_run=1 ;;
'') ;;
*)
    sed -n '2,14s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
: "${GCP_PROJECT:?is not set}" "${GCS_BUCKET:?is not set}"
region=${GCP_REGION:-us-central1}
zone=${GCP_ZONE:-us-central1-a}
vm=${GCP_VM:-data-pipelines}
machine=${GCP_MACHINE_TYPE:-e2-medium}
location=${BIGQUERY_LOCATION:-US}
raw=${RAW_DATASET:-raw}
repository=${GITHUB_REPOSITORY:-}
readonly NETWORK=data-pipelines
# The VM's account runs flows; the other may only reach the VM and update it.
readonly RUNNER=pipelines@$GCP_PROJECT.iam.gserviceaccount.com
readonly DEPLOYER=pipelines-deploy@$GCP_PROJECT.iam.gserviceaccount.com

# do_ COMMAND...: run it, or print it.
do_() {
    if [ -n "$dry_run" ]; then
        printf '%q ' "$@"
        printf '\n'
    else
        "$@"
    fi
}
g() { do_ gcloud --project="$GCP_PROJECT" --quiet "$@"; }
# there KIND COMMAND...: whether a look-up finds it. A dry run asks nothing: there is nothing yet.
there() { [ -z "$dry_run" ] && gcloud --project="$GCP_PROJECT" "$@" >/dev/null 2>&1; }
# known COMMAND...: the same as do_, and again for two minutes: so long an account that was made a moment
# ago may not be known everywhere.
known() {
    local wait=2 said
    if [ -n "$dry_run" ]; then
        do_ "$@"
        return
    fi
    until said=$("$@" 2>&1); do
        if ((wait > 64)); then
            printf '%s\n' "$said" >&2
            return 1
        fi
        echo "not taken; again in $wait s" >&2
        sleep "$wait"
        ((wait *= 2))
    done
    printf '%s\n' "$said"
}
grant() { known gcloud --project="$GCP_PROJECT" --quiet "$@"; }
part() { printf '\n# %s\n' "$*"; }

part "APIs"
g services enable bigquery.googleapis.com bigquerystorage.googleapis.com cloudresourcemanager.googleapis.com \
    compute.googleapis.com iam.googleapis.com iamcredentials.googleapis.com iap.googleapis.com \
    oslogin.googleapis.com sheets.googleapis.com storage.googleapis.com sts.googleapis.com

part "Service accounts: no keys; the VM has its own attached, GitHub exchanges its token"
there iam service-accounts describe "$RUNNER" ||
    g iam service-accounts create pipelines --display-name="Data platform: flows"
there iam service-accounts describe "$DEPLOYER" ||
    g iam service-accounts create pipelines-deploy --display-name="Data platform: deployment from GitHub"

part "Landing bucket: private, in BigQuery's location. A lifecycle is a last resort against what was"
part "forgotten: runs remove their batches themselves, and what was never loaded must wait for it."
there storage buckets describe "gs://$GCS_BUCKET" ||
    g storage buckets create "gs://$GCS_BUCKET" --location="$location" \
        --uniform-bucket-level-access --public-access-prevention
lifecycle=$(mktemp)
trap 'rm -f "$lifecycle"' EXIT
cat >"$lifecycle" <<'JSON'
{"rule": [{"action": {"type": "Delete"}, "condition": {"age": 365}}]}
JSON
g storage buckets update "gs://$GCS_BUCKET" --soft-delete-duration=7d --lifecycle-file="$lifecycle"
# extract and upload: create, list, read; load: read; cleanup: delete. Not the bucket's own settings.
grant storage buckets add-iam-policy-binding "gs://$GCS_BUCKET" \
    --member="serviceAccount:$RUNNER" --role=roles/storage.objectAdmin
grant storage buckets add-iam-policy-binding "gs://$GCS_BUCKET" \
    --member="serviceAccount:$RUNNER" --role=roles/storage.legacyBucketReader

part "Datasets: staging tables expire after 3 days by themselves"
dataset() {
    local name=$1 description=$2
    shift 2
    if [ -n "$dry_run" ] || ! bq --project_id="$GCP_PROJECT" show --dataset "$GCP_PROJECT:$name" >/dev/null 2>&1; then
        do_ bq --project_id="$GCP_PROJECT" --location="$location" mk --dataset \
            --description="$description" "$@" "$GCP_PROJECT:$name"
    else
        do_ bq --project_id="$GCP_PROJECT" update --dataset --description="$description" "$@" \
            "$GCP_PROJECT:$name"
    fi
    # Writes to these datasets only.
    known bq --project_id="$GCP_PROJECT" --location="$location" query --use_legacy_sql=false \
        "GRANT \`roles/bigquery.dataEditor\` ON SCHEMA \`$GCP_PROJECT\`.$name TO 'serviceAccount:$RUNNER'"
}
dataset "$raw" "Raw tables and the platform's ledger"
dataset "${raw}_staging" "Batches on their way" --default_table_expiration=259200
dataset staging "dbt: one view per source table"
dataset silver "dbt: entities"
dataset gold "dbt: marts, for people"

part "Roles on the project: run jobs, read sizes; nothing else"
for role in roles/bigquery.jobUser roles/logging.logWriter roles/monitoring.metricWriter; do
    grant projects add-iam-policy-binding "$GCP_PROJECT" --condition=None \
        --member="serviceAccount:$RUNNER" --role="$role"
done

part "Network: 443 for the world; 22 only for Google's proxy, which asks who it is"
there compute networks describe "$NETWORK" ||
    g compute networks create "$NETWORK" --subnet-mode=custom
there compute networks subnets describe "$NETWORK" --region="$region" ||
    g compute networks subnets create "$NETWORK" --network="$NETWORK" --region="$region" \
        --range=10.10.0.0/24 --enable-private-ip-google-access
# rule NAME OPTIONS...: the rule says this, also where it stood and somebody had changed it.
rule() {
    local name=$1
    shift
    if there compute firewall-rules describe "$name"; then
        g compute firewall-rules update "$name" "$@"
    else
        g compute firewall-rules create "$name" --network="$NETWORK" "$@"
    fi
}
rule data-pipelines-https --allow=tcp:443 --source-ranges=0.0.0.0/0 --target-service-accounts="$RUNNER"
rule data-pipelines-iap --allow=tcp:22 --source-ranges=35.235.240.0/20 \
    --target-service-accounts="$RUNNER"

part "Address, disk with daily snapshots for 14 days, VM"
there compute addresses describe "$vm" --region="$region" ||
    g compute addresses create "$vm" --region="$region"
there compute resource-policies describe data-pipelines-daily --region="$region" ||
    g compute resource-policies create snapshot-schedule data-pipelines-daily --region="$region" \
        --daily-schedule --start-time=20:00 --max-retention-days=14 \
        --on-source-disk-delete=keep-auto-snapshots
if there compute instances describe "$vm" --zone="$zone"; then
    stands=$(gcloud --project="$GCP_PROJECT" compute instances describe "$vm" --zone="$zone" \
        --format='value(machineType.basename())')
    if [ "$stands" != "$machine" ]; then
        # Only a person knows when the machine may stand still for some minutes.
        part "$vm is an $stands. To make it an $machine:"
        echo "gcloud --project=$GCP_PROJECT compute instances stop $vm --zone=$zone"
        echo "gcloud --project=$GCP_PROJECT compute instances set-machine-type $vm --zone=$zone --machine-type=$machine"
        echo "gcloud --project=$GCP_PROJECT compute instances start $vm --zone=$zone"
    fi
else
    g compute instances create "$vm" --zone="$zone" --machine-type="$machine" \
        --image-family=debian-12 --image-project=debian-cloud \
        --boot-disk-size=30GB --boot-disk-type=pd-balanced --boot-disk-device-name="$vm" \
        --network-interface="subnet=$NETWORK,address=$vm" \
        --service-account="$RUNNER" --scopes=cloud-platform,https://www.googleapis.com/auth/spreadsheets.readonly \
        --shielded-secure-boot --shielded-vtpm --shielded-integrity-monitoring \
        --metadata=enable-oslogin=TRUE --deletion-protection
fi
if [ -n "$dry_run" ] || ! gcloud --project="$GCP_PROJECT" compute disks describe "$vm" --zone="$zone" \
    --format='value(resourcePolicies)' | grep -q data-pipelines-daily; then
    g compute disks add-resource-policies "$vm" --zone="$zone" --resource-policies=data-pipelines-daily
fi

if [ -n "$repository" ]; then
    part "Deployment from GitHub: only the main branch of $repository becomes $DEPLOYER"
    there iam workload-identity-pools describe github --location=global ||
        g iam workload-identity-pools create github --location=global --display-name=GitHub
    provider=(data-pipelines --location=global --workload-identity-pool=github
        --attribute-condition="assertion.repository == '$repository' && assertion.ref == 'refs/heads/main'")
    if there iam workload-identity-pools providers describe "${provider[@]:0:3}"; then
        g iam workload-identity-pools providers update-oidc "${provider[@]}"
    else
        g iam workload-identity-pools providers create-oidc "${provider[@]}" \
            --issuer-uri=https://token.actions.githubusercontent.com \
            --attribute-mapping=google.subject=assertion.sub,attribute.repository=assertion.repository
    fi
    number=PROJECT_NUMBER
    [ -n "$dry_run" ] || number=$(gcloud projects describe "$GCP_PROJECT" --format='value(projectNumber)')
    pool=projects/$number/locations/global/workloadIdentityPools/github
    grant iam service-accounts add-iam-policy-binding "$DEPLOYER" --role=roles/iam.workloadIdentityUser \
        --member="principalSet://iam.googleapis.com/$pool/attribute.repository/$repository"
    # To reach the VM through the proxy and be root on it; it acts there as the VM's account.
    grant compute instances add-iam-policy-binding "$vm" --zone="$zone" \
        --member="serviceAccount:$DEPLOYER" --role=roles/compute.osAdminLogin
    grant projects add-iam-policy-binding "$GCP_PROJECT" --condition=None \
        --member="serviceAccount:$DEPLOYER" --role=roles/iap.tunnelResourceAccessor
    grant projects add-iam-policy-binding "$GCP_PROJECT" --condition=None \
        --member="serviceAccount:$DEPLOYER" --role=roles/compute.viewer
    grant iam service-accounts add-iam-policy-binding "$RUNNER" --role=roles/iam.serviceAccountUser \
        --member="serviceAccount:$DEPLOYER"
    part "Variables of the repository on GitHub"
    printf 'GCP_PROJECT=%s\nGCP_ZONE=%s\nGCP_VM=%s\n' "$GCP_PROJECT" "$zone" "$vm"
    printf 'GCP_WORKLOAD_IDENTITY_PROVIDER=%s/providers/data-pipelines\n' "$pool"
    printf 'GCP_DEPLOY_SERVICE_ACCOUNT=%s\n' "$DEPLOYER"
fi
