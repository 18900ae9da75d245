# shellcheck shell=bash source-path=SCRIPTDIR
# This host's settings and secrets under /etc/data-pipelines, and the blocks made of them.
. "${BASH_SOURCE[0]%/*}/machine.sh"

# setting FILE NAME: the value of a line NAME=value in a file under /etc/data-pipelines.
setting() { sed -n "s/^$2=//p" "$ETC/$1" | tail -n 1; }

# put_setting FILE NAME VALUE: the file has that line once, and stays readable by root only.
put_setting() {
    local file=$ETC/$1 new
    new=$(mktemp "$ETC/.new.XXXXXX")
    { grep -v "^$2=" "$file" 2>/dev/null || true; } >"$new"
    printf '%s=%s\n' "$2" "$3" >>"$new"
    chmod 0600 "$new"
    mv "$new" "$file"
}

new_password() { put_setting server.env PREFECT_SERVER_API_AUTH_STRING "admin:$(random_base64 24)"; }

# As Fernet wants it: 32 bytes in base64 for addresses.
new_encryption_key() { put_setting server.env PREFECT_SERVER_ENCRYPTION_KEY "$(random_base64 32)"; }

random_base64() { head -c "$1" /dev/urandom | base64 | tr '+/' '-_'; }

is_filled_in() { grep -q '^GCP_PROJECT=.' "$ETC/.env"; }

register_blocks() {
    if ! is_filled_in; then
        say "$ETC/.env is not filled in yet: no block is saved"
        return
    fi
    pipelines python -m blocks.register
}
