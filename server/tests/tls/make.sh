#!/bin/sh
# Makes the certificates of the tests, good from 2020 to 2120; their keys protect nothing.
#
#   authority.pem         who signed server.pem
#   server.pem .key       for 127.0.0.1 and localhost
#   self.pem .key         signed by itself
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
: > "$work/index"
cat > "$work/ca.conf" <<CONF
[ca]
default_ca = made
[made]
database = $work/index
new_certs_dir = $work
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = supplied
[authority]
basicConstraints = critical,CA:TRUE
subjectKeyIdentifier = hash
[server]
basicConstraints = critical,CA:FALSE
subjectAltName = IP:127.0.0.1,DNS:localhost
subjectKeyIdentifier = hash
CONF
# NAME EXTENSIONS SIGNER...: a key and a certificate.
make() {
    name=$1 extensions=$2
    shift 2
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$name.key" 2>/dev/null
    openssl req -new -key "$name.key" -subj "/CN=$name" -out "$work/$name.csr"
    openssl ca -batch -notext -config "$work/ca.conf" -extensions "$extensions" \
        -startdate 20200101000000Z -enddate 21200101000000Z -in "$work/$name.csr" \
        -out "$name.pem" "$@" 2>/dev/null
}
make authority authority -selfsign -keyfile authority.key
make server server -cert authority.pem -keyfile authority.key
make self server -selfsign -keyfile self.key
rm authority.key
