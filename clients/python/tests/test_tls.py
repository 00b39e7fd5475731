"""Which servers are trusted over TLS."""

import hashlib
import os
import socket
import ssl
import threading
import unittest

from reproduceml_client import tls, wire

HERE = os.path.dirname(os.path.abspath(__file__))
CERTIFICATES = os.path.join(HERE, "..", "..", "..", "server", "tests", "tls")


def path(name):
    return os.path.join(CERTIFICATES, name)


def fingerprint(name):
    with open(path(name)) as file:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read())).hexdigest()


class Tls(unittest.TestCase):
    def dial(self, server, environment, host="127.0.0.1"):
        """What a client hears of an echo behind the certificate ``server``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path(server + ".pem"), path(server + ".key"))
        listener = socket.socket()
        self.addCleanup(listener.close)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)

        def serve():
            connection, _ = listener.accept()
            try:
                with context.wrap_socket(connection, server_side=True) as wrapped:
                    wrapped.sendall(wrapped.recv(100))
            except OSError:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        saved = {name: os.environ.pop(name, None) for name in (tls.FINGERPRINT, tls.AUTHORITIES)}
        os.environ.update(environment)
        try:
            with wire.dial("tls:%s:%d" % (host, listener.getsockname()[1]), 5) as connection:
                connection.sendall(b"hello")
                return connection.recv(100)
        finally:
            for name, value in saved.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value

    def test_the_right_server_is_known_by_its_signer_or_its_fingerprint(self):
        for server, authorities in (("server", "authority.pem"), ("self", "self.pem")):
            self.assertEqual(self.dial(server, {tls.AUTHORITIES: path(authorities)}), b"hello")
            self.assertEqual(self.dial(server, {tls.AUTHORITIES: path(authorities)}, "localhost"), b"hello")
            digest = fingerprint(server + ".pem")
            spelt = ":".join(digest[at : at + 2] for at in range(0, 64, 2)).upper()
            for text in (digest, spelt):
                self.assertEqual(self.dial(server, {tls.FINGERPRINT: text}), b"hello")

    def test_any_other_is_refused_for_good(self):
        cases = [
            ("self", {tls.AUTHORITIES: path("authority.pem")}),
            ("server", {tls.FINGERPRINT: fingerprint("self.pem")}),
            ("server", {tls.FINGERPRINT: "no digest"}),
            ("server", {}),
            ("server", {tls.AUTHORITIES: path("server.key")}),
            ("server", {tls.AUTHORITIES: path("nothing.pem")}),
        ]
        for server, environment in cases:
            with self.assertRaises(wire.Refused, msg=str(environment)) as caught:
                self.dial(server, environment)
            self.assertEqual((caught.exception.code, caught.exception.retry_after), ("tls", None))


if __name__ == "__main__":
    unittest.main()
