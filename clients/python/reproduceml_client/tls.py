"""TLS below the frames (docs/protocol.md, "TLS"): how this client knows its server.

    REPRODUCEML_TLS_FINGERPRINT   the SHA-256 of the server's certificate, in hexadecimal, or
    REPRODUCEML_TLS_CA            a PEM file with the certificates that may have signed it

With neither, the system's own authorities are asked. There is no way to take any certificate.
"""

import hashlib
import hmac
import os
import ssl

from .wire import Refused

FINGERPRINT, AUTHORITIES = "REPRODUCEML_TLS_FINGERPRINT", "REPRODUCEML_TLS_CA"


def context(environment):
    """The context for a connection, and the fingerprint that the server must have, if any."""
    fingerprint = environment.get(FINGERPRINT, "").replace(":", "").strip().lower()
    authorities = environment.get(AUTHORITIES)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if fingerprint:
        # The certificate is compared whole, so neither its names nor its signer matter.
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    elif authorities:
        try:
            made.load_verify_locations(cafile=authorities)
        except (OSError, ValueError) as error:
            raise Refused("tls", "%s is %s, which cannot be used: %s"
                          % (AUTHORITIES, authorities, error))
    else:
        made.load_default_certs()
    return made, fingerprint


def wrap(connection, host, environment=None):
    """The connection, encrypted, once its server is known to be the right one."""
    made, fingerprint = context(os.environ if environment is None else environment)
    try:
        wrapped = made.wrap_socket(connection, server_hostname=host)
    except ssl.CertificateError as error:
        raise Refused("tls", "the server is not trusted: %s; set %s or %s"
                      % (error, FINGERPRINT, AUTHORITIES))
    except ssl.SSLError as error:
        # Until Python 3.7 a wrong certificate is one of many errors of TLS.
        if error.reason == "CERTIFICATE_VERIFY_FAILED":
            raise Refused("tls", "the server is not trusted: %s; set %s or %s"
                          % (error, FINGERPRINT, AUTHORITIES))
        raise
    if fingerprint:
        found = hashlib.sha256(wrapped.getpeercert(binary_form=True)).hexdigest()
        if not hmac.compare_digest(found.encode(), fingerprint.encode("utf-8", "replace")):
            wrapped.close()
            raise Refused("tls", "the server's certificate has the fingerprint %s, expected %s"
                          % (found, fingerprint))
    return wrapped
