#!/bin/bash
# gcloud.sh [--dry-run] [--adopt DATASET]...: what the platform needs in a Google Cloud project exists: APIs,
# a limit of queries and a budget, network and firewall, service accounts with their roles, bucket,
# datasets, VM, snapshots, and the federation that lets GitHub deploy without a key. With --dry-run
# nothing is asked or changed; every command is printed.
#
# Nothing foreign is touched: a dataset or bucket that has something in it and not our label (managed_by=
# data-pipelines) ends the command before anything is changed, with what to do. --adopt takes a dataset
# that you name, with the tables in it; these stay as they are. A bucket is never taken.
#
# It looks before it changes: repeated, it changes nothing that is as it should be. What differs is set
# right, or, where only a person can decide, printed with the command that sets it right. Needs gcloud
# with its alpha commands and bq, logged in as an owner of the project. Environment:
#   GCP_PROJECT GCS_BUCKET           required
#   GCP_REGION (us-central1) GCP_ZONE (us-central1-a) GCP_VM (data-pipelines)
#   GCP_MACHINE_TYPE (e2-medium)
#   BIGQUERY_LOCATION (US) RAW_DATASET (raw) DBT_DATASET_PREFIX (empty) LOG_RETENTION_DAYS (730)
#   GCS_LOCATION                     of a new bucket; empty: the region that BIGQUERY_LOCATION reads
#                                    from without a charge, us-central1 for US
#   GCP_DAILY_QUERY_GIB (100)        what queries of the project may bill a day; none: no limit is set
#   GCP_MONTHLY_BUDGET (40USD)       of the project, in the billing account's currency; none: no budget
#   GITHUB_REPOSITORY                owner/name; empty: no federation. With it, the numbers that stay
#   GITHUB_REPOSITORY_ID             when a name is given to somebody else; both are printed by
#   GITHUB_OWNER_ID                  gh api repos/OWNER/NAME --jq '.id, .owner.id'
set -euo pipefail

dry_run=''
adopted=' '
while (($#)); do
    case $1 in
    --dry-run) dry_run=1 ;;
    --adopt)
        adopted+="${2:?a dataset after --adopt} "
        shift
        ;;
    *)
        sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2
        exit 2
        ;;
    esac
    shift
done
: "${GCP_PROJECT:?is not set}" "${GCS_BUCKET:?is not set}"
region=${GCP_REGION:-us-central1}
zone=${GCP_ZONE:-us-central1-a}
vm=${GCP_VM:-data-pipelines}
machine=${GCP_MACHINE_TYPE:-e2-medium}
location=${BIGQUERY_LOCATION:-US}
raw=${RAW_DATASET:-raw}
prefix=${DBT_DATASET_PREFIX:-}
daily_gib=${GCP_DAILY_QUERY_GIB:-100}
budget=${GCP_MONTHLY_BUDGET:-40USD}
repository=${GITHUB_REPOSITORY:-}
repository_id=${GITHUB_REPOSITORY_ID:-}
owner_id=${GITHUB_OWNER_ID:-}
if [ -n "$repository" ] && [[ ! $repository_id =~ ^[0-9]+$ || ! $owner_id =~ ^[0-9]+$ ]]; then
    echo "set GITHUB_REPOSITORY_ID and GITHUB_OWNER_ID, which are numbers, also in private repositories:" >&2
    echo "gh api repos/$repository --jq '.id, .owner.id'" >&2
    exit 2
fi
if [[ ! $daily_gib =~ ^([1-9][0-9]*|none)$ ]]; then
    echo "GCP_DAILY_QUERY_GIB=$daily_gib must be a whole number of GiB, or none" >&2
    exit 2
fi
# Where BigQuery reads a bucket without a charge (BigQuery, locations, "Load Cloud Storage data").
case ${location^^} in
US) near=us-central1 ;;
EU) near=europe-west4 ;;
*) near=$location ;;
esac
readonly NETWORK=data-pipelines
# As in core/ownership.py.
readonly LABEL=managed_by OWNER=data-pipelines LABELLED='"managed_by":"data-pipelines"'
# What runs write into the bucket, below $GCP_PROJECT.$raw/.
SOURCES=$(sed -n '/^SOURCES = (/{:a;/)/!{N;ba};p}' "$(dirname "$0")/../sources/__init__.py" |
    grep -o '"[a-z0-9_]*"' | tr -d '"' | tr '\n' ' ')
readonly SOURCES
: "${SOURCES:?are not in sources/__init__.py}"
# The VM's account runs flows; the other may only reach the VM and update it.
readonly RUNNER=pipelines@$GCP_PROJECT.iam.gserviceaccount.com
readonly DEPLOYER=pipelines-deploy@$GCP_PROJECT.iam.gserviceaccount.com

# perform COMMAND...: run it, or print it.
perform() {
    if [ -n "$dry_run" ]; then
        printf '%q ' "$@"
        printf '\n'
    else
        "$@"
    fi
}
# retry COMMAND...: the same, and again for two minutes: so long an account that was made a moment ago may
# not be known everywhere.
retry() {
    local wait=2 said
    until said=$(perform "$@" 2>&1); do
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
change() { perform gcloud --project="$GCP_PROJECT" --quiet "$@"; }
# look COMMAND...: what it prints; nothing where there is nothing. A dry run asks nothing.
look() { [ -n "$dry_run" ] || gcloud --project="$GCP_PROJECT" "$@" 2>/dev/null || true; }
# exists COMMAND...: whether a look finds it.
exists() { [ -z "$dry_run" ] && gcloud --project="$GCP_PROJECT" "$@" >/dev/null 2>&1; }
# written COMMAND...: as a person types it.
written() { printf '%s' "gcloud --project=$GCP_PROJECT$(printf ' %q' "$@")"; }
big_query() { bq --project_id="$GCP_PROJECT" "$@"; }
# The way through Google's proxy to the VM. gcloud has no command for its policy; the page "Using IAP for TCP
# forwarding" has these calls.
tunnel_address() { echo "https://iap.googleapis.com/v1/projects/$number/iap_tunnel/zones/$zone/instances/$instance"; }
# tunnel_policy VERB BODY: what it answers. No list of processes shows the token.
tunnel_policy() {
    gcloud auth print-access-token | sed 's/.*/header = "Authorization: Bearer &"/' |
        curl --silent --show-error --fail-with-body --config - --header 'Content-Type: application/json' \
            --data "$2" "$(tunnel_address):$1"
}
heading() { printf '\n# %s\n' "$*"; }
# differs TEXT COMMAND...: what only a person can set right, and how.
differs() {
    heading "DIFFERS: $1"
    shift
    printf '%s\n' "$@"
}
has_line() { [[ $'\n'$1$'\n' == *$'\n'"$2"$'\n'* ]]; }
# has_pieces JSON PIECE...: whether it has every piece; they are written without spaces.
has_pieces() {
    local json=${1//[[:space:]]/} piece
    shift
    for piece in "$@"; do
        [[ $json == *"$piece"* ]] || return 1
    done
}
# bindings_of GROUP NAME [OPTION]...: member, role and condition of a policy, by tabs.
bindings_of() {
    local -a group
    read -ra group <<<"$1"
    shift
    look "${group[@]}" get-iam-policy "$@" --flatten='bindings[].members[]' \
        --format='value(bindings.members,bindings.role,bindings.condition.expression)'
}
# roles_of MEMBER GROUP NAME [OPTION]...: the roles that a member has there without a condition.
roles_of() { bindings_of "${@:2}" | awk -F '\t' -v member="$1" '$1 == member && $3 == "" { print $2 }'; }
# give_role MEMBER ROLE GROUP NAME [OPTION]...: the member has the role there.
give_role() {
    local -a group
    ! has_line "$(roles_of "$1" "${@:3}")" "$2" || return 0
    read -ra group <<<"$3"
    retry gcloud --project="$GCP_PROJECT" --quiet "${group[@]}" add-iam-policy-binding "${@:4}" \
        --member="$1" --role="$2" --condition=None
}
# tell_other_roles MEMBER ROLES GROUP NAME [OPTION]...: any role that the member has there beside these differs.
tell_other_roles() {
    local role
    for role in $(roles_of "$1" "${@:3}"); do
        [[ " $2 " == *" $role "* ]] ||
            differs "${1#*:} has a role on $4 that the platform does not need. To take it away:" \
                "gcloud --project=$GCP_PROJECT $3 remove-iam-policy-binding ${*:4} --member=$1 --role=$role --condition=None"
    done
}

heading "APIs"
apis=(bigquery bigquerystorage billingbudgets cloudbilling cloudresourcemanager compute iam iamcredentials
    iap oslogin serviceusage sheets storage sts)
enabled=$(look services list --enabled --format='value(config.name)')
missing=()
for api in "${apis[@]}"; do
    has_line "$enabled" "$api.googleapis.com" || missing+=("$api.googleapis.com")
done
[ ${#missing[@]} = 0 ] || change services enable "${missing[@]}"

# dataset_names RAW PREFIX: the datasets of a configuration.
dataset_names() { printf '%s ' "$1" "$1_staging" "$2staging" "$2silver" "$2gold"; }
# whose_dataset NAME: missing, ours, empty or foreign. What cannot be listed is not empty.
whose_dataset() {
    local described kind listed
    if ! described=$(big_query --format=json show --dataset "$GCP_PROJECT:$1" 2>/dev/null); then
        echo missing
    elif has_pieces "$described" "$LABELLED"; then
        echo ours
    else
        for kind in '' --routines --models; do
            listed=$(big_query --format=json ls ${kind:+"$kind"} --max_results=1 "$GCP_PROJECT:$1") || listed=unknown
            if [ -n "$listed" ] && [ "$listed" != '[]' ]; then
                echo foreign
                return
            fi
        done
        echo empty
    fi
}
# free_names: a configuration none of whose datasets is there.
free_names() {
    local number name
    for number in '' 2 3 4 5 6 7 8 9; do
        for name in $(dataset_names "pipelines${number}_raw" "pipelines${number}_"); do
            [ "$(whose_dataset "$name")" = missing ] || continue 2
        done
        echo "RAW_DATASET=pipelines${number}_raw DBT_DATASET_PREFIX=pipelines${number}_"
        return
    done
    echo "RAW_DATASET and DBT_DATASET_PREFIX of your own"
}
# refuse_foreign: ends the command, before anything is changed, where a dataset or the bucket is foreign.
refuse_foreign() {
    local name refused='' found
    for name in $(dataset_names "$raw" "$prefix"); do
        if [[ $adopted != *" $name "* ]] && [ "$(whose_dataset "$name")" = foreign ]; then
            echo "dataset $GCP_PROJECT:$name is not ours: it has something in it and no label $LABEL=$OWNER" >&2
            refused=1
        fi
    done
    if [ -n "$refused" ]; then
        echo "nothing in it was changed. Set $(free_names), which is free, here and in .env;" >&2
        echo "or, to work beside what is in it, name it: deploy/gcloud.sh --adopt NAME" >&2
    fi
    if [ -n "$bucket_described" ] && ! has_pieces "$bucket_described" "$LABELLED"; then
        found=$(gcloud --project="$GCP_PROJECT" storage ls --all-versions "$bucket") || found=unknown
        if [ -n "$found" ]; then
            echo "bucket $bucket is not ours: it has objects in it and no label $LABEL=$OWNER;" >&2
            echo "nothing in it was changed. Set GCS_BUCKET to a new name: this command makes the bucket" >&2
            refused=1
        fi
    fi
    [ -z "$refused" ] || exit 1
}
bucket=gs://$GCS_BUCKET
bucket_described=$(look storage buckets describe "$bucket" --format=json)
[ -n "$dry_run" ] || refuse_foreign

heading "Service accounts: no keys; the VM has its own attached, GitHub exchanges its token"
exists iam service-accounts describe "$RUNNER" ||
    change iam service-accounts create pipelines --display-name="Data platform: flows"
exists iam service-accounts describe "$DEPLOYER" ||
    change iam service-accounts create pipelines-deploy --display-name="Data platform: deployment from GitHub"

heading "Landing bucket: private, where BigQuery reads it without a charge. The lifecycle is a last resort"
heading "against batches that were forgotten: runs remove theirs. Logs and backups have a time of their own."
if [ -z "$bucket_described" ]; then
    change storage buckets create "$bucket" --location="${GCS_LOCATION:-$near}" \
        --uniform-bucket-level-access --public-access-prevention
elif [ -n "${GCS_LOCATION:-}" ] && ! has_pieces "${bucket_described^^}" "\"LOCATION\":\"${GCS_LOCATION^^}\""; then
    differs "bucket $bucket is not in $GCS_LOCATION, and a bucket cannot move. Set GCS_BUCKET to a new name"
fi
# lifecycle_rule DAYS NAME...: what is below these prefixes goes after so many days. As gcloud prints it: names in
# order, no spaces.
lifecycle_rule() {
    local days=$1 named
    shift
    named=$(printf "\"$GCP_PROJECT.$raw/%s/\"," "$@")
    printf '{"action":{"type":"Delete"},"condition":{"age":%s,"matchesPrefix":[%s]}}' "$days" "${named%,}"
}
read -ra sources <<<"$SOURCES"
rules=$(printf '{"rule":[%s,%s,%s]}' "$(lifecycle_rule 365 "${sources[@]}")" \
    "$(lifecycle_rule "${LOG_RETENTION_DAYS:-730}" _logs)" "$(lifecycle_rule 90 _backup)")
lifecycle=$(mktemp)
trap 'rm -f "$lifecycle"' EXIT
printf '%s\n' "$rules" >"$lifecycle"
[ -z "$dry_run" ] || sed 's/^/# /' "$lifecycle"
if ! has_pieces "$bucket_described" "\"lifecycle_config\":$rules" "$LABELLED" '"retentionDurationSeconds":"604800"' \
    '"uniform_bucket_level_access":true' '"public_access_prevention":"enforced"'; then
    change storage buckets update "$bucket" --update-labels="$LABEL=$OWNER" --soft-delete-duration=7d \
        --uniform-bucket-level-access --public-access-prevention --lifecycle-file="$lifecycle"
fi
# extract and upload: create, list, read; cleanup: delete. Our code asks nothing of the bucket itself; the
# second role is for load jobs, whose documentation wants storage.buckets.get of whoever starts them.
bucket_roles='roles/storage.objectUser roles/storage.legacyBucketReader'
for role in $bucket_roles; do
    give_role "serviceAccount:$RUNNER" "$role" "storage buckets" "$bucket"
done
tell_other_roles "serviceAccount:$RUNNER" "$bucket_roles" "storage buckets" "$bucket"

heading "Datasets: staging tables expire after 3 days by themselves"
make_dataset() {
    local name=$1 description=$2 described='' writer="\"role\":\"WRITER\",\"userByEmail\":\"$RUNNER\""
    shift 2
    if [ -n "$dry_run" ] || [ "$(whose_dataset "$name")" = missing ]; then
        perform bq --project_id="$GCP_PROJECT" --location="$location" mk --dataset \
            --description="$description" --label="$LABEL:$OWNER" "$@" "$GCP_PROJECT:$name"
    else
        described=$(big_query --format=json show --dataset "$GCP_PROJECT:$name")
        has_pieces "${described^^}" "\"LOCATION\":\"${location^^}\"" ||
            differs "dataset $GCP_PROJECT:$name is not in $location, and a dataset cannot move. Set BIGQUERY_LOCATION to its location"
        # Its description and expiry stay: of one that was taken, they are its owner's.
        has_pieces "$described" "$LABELLED" ||
            perform bq --project_id="$GCP_PROJECT" update --dataset --set_label="$LABEL:$OWNER" "$GCP_PROJECT:$name"
    fi
    # Writes to these datasets only. On a dataset, Data Editor is called WRITER.
    has_pieces "$described" "$writer" ||
        retry bq --project_id="$GCP_PROJECT" --location="$location" query --use_legacy_sql=false \
            "GRANT \`roles/bigquery.dataEditor\` ON SCHEMA \`$GCP_PROJECT\`.$name TO 'serviceAccount:$RUNNER'"
}
make_dataset "$raw" "Raw tables and the platform's ledger"
make_dataset "${raw}_staging" "Batches on their way" --default_table_expiration=259200
make_dataset "${prefix}staging" "dbt: one view per source table"
make_dataset "${prefix}silver" "dbt: entities"
make_dataset "${prefix}gold" "dbt: marts, for people"

heading "Roles on the project: run jobs; nothing else"
give_role "serviceAccount:$RUNNER" roles/bigquery.jobUser projects "$GCP_PROJECT"
tell_other_roles "serviceAccount:$RUNNER" roles/bigquery.jobUser projects "$GCP_PROJECT"

heading "Limits of cost: queries of a day, in the whole project, and a budget that tells by e-mail"
# The datasets of others, whose queries the limit would count as well.
others=''
for name in $([ -n "$dry_run" ] || big_query --format=json ls --max_results=1000 |
    grep -o '"datasetId": *"[^"]*"' | cut -d'"' -f4); do
    [[ " $(dataset_names "$raw" "$prefix") " == *" $name "* ]] || others+=" $name"
done
if [ "$daily_gib" != none ]; then
    metric=bigquery.googleapis.com/quota/query/usage
    limited=$(look alpha services quota list --service=bigquery.googleapis.com \
        --consumer="projects/$GCP_PROJECT" --flatten='consumerQuotaLimits[]' \
        --filter="metric=$metric AND consumerQuotaLimits.unit='1/d/{project}'" \
        --format='value(consumerQuotaLimits.quotaBuckets[0].consumerOverride.overrideValue)')
    # In MiB. It is far below the default of 200 TiB, hence --force.
    quota=(alpha services quota update --service=bigquery.googleapis.com --consumer="projects/$GCP_PROJECT"
        --metric="$metric" --unit='1/d/{project}' --value=$((daily_gib * 1024)) --force)
    if [ -n "$limited" ] && [ "$limited" != $((daily_gib * 1024)) ]; then
        differs "queries may bill $limited MiB a day, not $daily_gib GiB. To change the limit:" \
            "$(written "${quota[@]}")"
    elif [ -z "$limited" ] && [ -n "$others" ]; then
        differs "no limit of queries a day: it would bind the datasets of others as well ($others ). To set it:" \
            "$(written "${quota[@]}")"
    elif [ -z "$limited" ]; then
        change "${quota[@]}"
    fi
fi
if [ "$budget" != none ]; then
    account=BILLING_ACCOUNT
    [ -n "$dry_run" ] || account=$(look billing projects describe "$GCP_PROJECT" --format='value(billingAccountName.basename())')
    name="data-pipelines in $GCP_PROJECT"
    alert=(billing budgets create --billing-account="$account" --display-name="$name" --budget-amount="$budget"
        --filter-projects="projects/$GCP_PROJECT" --threshold-rule=percent=0.5 --threshold-rule=percent=0.9
        --threshold-rule=percent=1.0 '--threshold-rule=percent=1.0,basis=forecasted-spend')
    creation=$(written "${alert[@]}")
    if [ -z "$account" ]; then
        differs "the project has no billing account that this login may see, so no budget. Whoever may see it:" "$creation"
    elif [ -n "$dry_run" ]; then
        change "${alert[@]}"
    elif ! found=$(gcloud --project="$GCP_PROJECT" billing budgets list --billing-account="$account" \
        --filter="displayName='$name'" \
        --format='value(name.basename(),amount.specifiedAmount.units,amount.specifiedAmount.currencyCode)' 2>&1); then
        differs "this login may not see the budgets of $account: ${found%%$'\n'*} Whoever may:" "$creation"
    elif [ -z "$found" ]; then
        change "${alert[@]}" || differs "no budget was made; GCP_MONTHLY_BUDGET is in the account's currency, as 2500PHP"
    else
        IFS=$'\t' read -r id units currency <<<"$found"
        [ "$budget" = "$units$currency" ] || [ "$budget" = "$units" ] ||
            differs "the budget is $units$currency, not $budget. To change it:" \
                "gcloud --project=$GCP_PROJECT billing budgets update $id --billing-account=$account --budget-amount=$budget"
    fi
fi

heading "Network: 443 for the world; 22 only for Google's proxy, which asks who it is"
exists compute networks describe "$NETWORK" ||
    change compute networks create "$NETWORK" --subnet-mode=custom
exists compute networks subnets describe "$NETWORK" --region="$region" ||
    change compute networks subnets create "$NETWORK" --network="$NETWORK" --region="$region" \
        --range=10.10.0.0/24 --enable-private-ip-google-access
# firewall_rule NAME PORT RANGE: the rule says this, whoever has changed it.
firewall_rule() {
    local name=$1 port=$2 range=$3 found
    found=$(look compute firewall-rules describe "$name" \
        --format='value(allowed[0].IPProtocol,allowed[0].ports.list(),allowed[1].IPProtocol,sourceRanges.list(),targetServiceAccounts.list(),disabled)')
    set -- "$name" --allow="tcp:$port" --source-ranges="$range" --target-service-accounts="$RUNNER"
    if [ -z "$found" ]; then
        change compute firewall-rules create "$@" --network="$NETWORK"
    elif [ "$found" != tcp$'\t'"$port"$'\t\t'"$range"$'\t'"$RUNNER"$'\t'False ]; then
        change compute firewall-rules update "$@" --no-disabled
    fi
}
firewall_rule data-pipelines-https 443 0.0.0.0/0
firewall_rule data-pipelines-iap 22 35.235.240.0/20

heading "Address, disk with daily snapshots for 14 days, VM"
exists compute addresses describe "$vm" --region="$region" ||
    change compute addresses create "$vm" --region="$region"
exists compute resource-policies describe data-pipelines-daily --region="$region" ||
    change compute resource-policies create snapshot-schedule data-pipelines-daily --region="$region" \
        --daily-schedule --start-time=20:00 --max-retention-days=14 \
        --on-source-disk-delete=keep-auto-snapshots
scopes=(https://www.googleapis.com/auth/cloud-platform https://www.googleapis.com/auth/spreadsheets.readonly)
if exists compute instances describe "$vm" --zone="$zone"; then
    IFS=$'\t' read -r kind attached granted <<<"$(look compute instances describe "$vm" --zone="$zone" \
        --format='value(machineType.basename(),serviceAccounts[0].email,serviceAccounts[0].scopes.list())')"
    # Only a person knows when the machine may be off for some minutes.
    at="gcloud --project=$GCP_PROJECT compute instances"
    if [ "$kind" != "$machine" ]; then
        differs "$vm is an $kind. To make it an $machine:" "$at stop $vm --zone=$zone" \
            "$at set-machine-type $vm --zone=$zone --machine-type=$machine" "$at start $vm --zone=$zone"
    fi
    if [ "$attached" != "$RUNNER" ] || ! has_pieces ",$granted," ",${scopes[0]}," ",${scopes[1]},"; then
        differs "$vm runs as $attached with the scopes $granted. To give it its account and scopes:" \
            "$at stop $vm --zone=$zone" \
            "$at set-service-account $vm --zone=$zone --service-account=$RUNNER --scopes=${scopes[0]},${scopes[1]}" \
            "$at start $vm --zone=$zone"
    fi
else
    change compute instances create "$vm" --zone="$zone" --machine-type="$machine" \
        --image-family=debian-12 --image-project=debian-cloud \
        --boot-disk-size=30GB --boot-disk-type=pd-balanced --boot-disk-device-name="$vm" \
        --network-interface="subnet=$NETWORK,address=$vm" \
        --service-account="$RUNNER" --scopes="${scopes[0]},${scopes[1]}" \
        --shielded-secure-boot --shielded-vtpm --shielded-integrity-monitoring \
        --metadata=enable-oslogin=TRUE --deletion-protection
fi
[[ $(look compute disks describe "$vm" --zone="$zone" --format='value(resourcePolicies)') == *data-pipelines-daily* ]] ||
    change compute disks add-resource-policies "$vm" --zone="$zone" --resource-policies=data-pipelines-daily

if [ -n "$repository" ]; then
    heading "Deployment from GitHub: only the main branch of $repository, in its environment production,"
    heading "becomes $DEPLOYER. Names can be given to somebody else, numbers cannot"
    exists iam workload-identity-pools describe github --location=global ||
        change iam workload-identity-pools create github --location=global --display-name=GitHub
    provider=(data-pipelines --location=global --workload-identity-pool=github)
    mapping=''
    for claim in environment ref repository_id repository_owner_id; do
        mapping+=attribute.$claim=assertion.$claim,
    done
    mapping+=google.subject=assertion.sub
    condition="assertion.repository_id == '$repository_id' && assertion.repository_owner_id == '$owner_id'"
    condition+=" && assertion.ref == 'refs/heads/main' && assertion.environment == 'production'"
    found=$(look iam workload-identity-pools providers describe "${provider[@]}" \
        --format='value(attributeCondition,attributeMapping)')
    if [ -z "$found" ]; then
        change iam workload-identity-pools providers create-oidc "${provider[@]}" \
            --issuer-uri=https://token.actions.githubusercontent.com \
            --attribute-mapping="$mapping" --attribute-condition="$condition"
    elif [ "$found" != "$condition"$'\t'"${mapping//,/;}" ]; then
        change iam workload-identity-pools providers update-oidc "${provider[@]}" \
            --attribute-mapping="$mapping" --attribute-condition="$condition"
    fi
    number=PROJECT_NUMBER instance=INSTANCE_ID
    if [ -z "$dry_run" ]; then
        number=$(gcloud projects describe "$GCP_PROJECT" --format='value(projectNumber)')
        instance=$(gcloud --project="$GCP_PROJECT" compute instances describe "$vm" --zone="$zone" --format='value(id)')
    fi
    pool=projects/$number/locations/global/workloadIdentityPools/github
    trusted=principalSet://iam.googleapis.com/$pool/attribute.repository_id/$repository_id
    give_role "$trusted" roles/iam.workloadIdentityUser "iam service-accounts" "$DEPLOYER"
    for member in $(bindings_of "iam service-accounts" "$DEPLOYER" |
        awk -F '\t' '$2 == "roles/iam.workloadIdentityUser" { print $1 }'); do
        [ "$member" = "$trusted" ] ||
            differs "$member may become $DEPLOYER as well. To end that:" \
                "gcloud --project=$GCP_PROJECT iam service-accounts remove-iam-policy-binding $DEPLOYER --member=$member --role=roles/iam.workloadIdentityUser --all"
    done
    # To reach the VM, and no other, through the proxy and be root on it; it acts there as the VM's account.
    deployer=serviceAccount:$DEPLOYER
    give_role "$deployer" roles/compute.osAdminLogin "compute instances" "$vm" --zone="$zone"
    give_role "$deployer" roles/compute.viewer projects "$GCP_PROJECT"
    give_role "$deployer" roles/iam.serviceAccountUser "iam service-accounts" "$RUNNER"
    tell_other_roles "$deployer" roles/compute.viewer projects "$GCP_PROJECT"
    way="{\"role\":\"roles/iap.tunnelResourceAccessor\",\"members\":[\"$deployer\"]}"
    if [ -n "$dry_run" ]; then
        printf '# POST %s:setIamPolicy {"policy":{"bindings":[%s]}}\n' "$(tunnel_address)" "$way"
        policy=$way
    else
        policy=$(retry tunnel_policy getIamPolicy '{}' | tr -d '[:space:]')
    fi
    if ! has_pieces "$policy" '"role":'; then
        etag=$(grep -o '"etag":"[^"]*"' <<<"$policy" || true)
        retry tunnel_policy setIamPolicy "{\"policy\":{\"bindings\":[$way]${etag:+,$etag}}}"
    elif ! has_pieces "$policy" "\"roles/iap.tunnelResourceAccessor\"" "\"$deployer\""; then
        differs "the way through the proxy to $vm is given to others, and not to $DEPLOYER. In the console, under" \
            "Security, Identity-Aware Proxy, SSH and TCP resources, give it IAP-secured Tunnel User on $vm"
    fi
    heading "Variables of the repository on GitHub"
    printf 'GCP_PROJECT=%s\nGCP_ZONE=%s\nGCP_VM=%s\n' "$GCP_PROJECT" "$zone" "$vm"
    printf 'GCP_WORKLOAD_IDENTITY_PROVIDER=%s/providers/data-pipelines\n' "$pool"
    printf 'GCP_DEPLOY_SERVICE_ACCOUNT=%s\n' "$DEPLOYER"
fi
