# shellcheck shell=bash source-path=SCRIPTDIR
# The certificate and key that nginx takes when it is started or reloaded.
. "${BASH_SOURCE[0]%/*}/settings.sh"

# install_certificate FILE KEY: that pair, which is tried first.
install_certificate() {
    local public
    public=$(openssl x509 -in "$1" -noout -pubkey) || die "$1 is not a certificate"
    # One with a password would be asked for it, and nginx cannot know it.
    [ "$public" = "$(openssl pkey -in "$2" -passin pass: -pubout)" ] || die "$2 is not the key of $1"
    openssl x509 -in "$1" -noout -checkend 0 >/dev/null || die "$1 has expired"
    # And those that have signed it, which follow.
    openssl crl2pkcs7 -nocrl -certfile "$1" -out /dev/null || die "$1 cannot be read whole"
    install -m 0600 "$2" "$TLS/key.pem"
    install -m 0644 "$1" "$TLS/certificate.pem"
}

# sign_certificate: a pair that is made here, for this host's name.
sign_certificate() {
    local host
    host=$(setting server.env DATA_PIPELINES_HOST)
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 825 \
        -subj "/CN=$host" -addext "subjectAltName=DNS:$host" \
        -keyout "$TLS/key.pem" -out "$TLS/certificate.pem" 2>/dev/null
    chmod 0600 "$TLS/key.pem"
    chmod 0644 "$TLS/certificate.pem"
}
