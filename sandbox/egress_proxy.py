"""The egress gate: a proxy that lets nothing leave this machine, and notes what would.

google-auth 2.62 asks iamcredentials.googleapis.com for `allowedLocations` in the background for
every service account of the default universe. There is no switch: the old variable
GOOGLE_AUTH_TRUST_BOUNDARY_ENABLED has no effect, and another universe domain would turn the token
exchange off. So the gate answers that one question itself, as the service does for an account
without a boundary, with a certificate that the clients trust through REQUESTS_CA_BUNDLE.
Everything else is refused.
"""

import json
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sandbox.secret_file import write_private

BOUNDARY_HOST = "iamcredentials.googleapis.com"
# What the service says of an account that may be used everywhere.
NO_BOUNDARY = {"locations": [], "encodedLocations": "0x0"}
CERTIFICATE_DAYS = 3650


class EgressProxy(BaseHTTPRequestHandler):
    """403 at once and a line `host:port` in the log, the one known question aside."""

    log: Path
    log_lock = threading.Lock()
    tls: ssl.SSLContext

    def do_CONNECT(self) -> None:
        if self.path == f"{BOUNDARY_HOST}:443":
            self._answer_boundary()
        else:
            self._refuse(self.path)

    def do_GET(self) -> None:
        target = urlsplit(self.path)
        if target.hostname:
            self._refuse(f"{target.hostname}:{target.port or 80}")
        elif self.path == "/health":
            self.send_response(HTTPStatus.NO_CONTENT)
            self.end_headers()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815

    def _answer_boundary(self) -> None:
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        body = json.dumps(NO_BOUNDARY).encode()
        with self.tls.wrap_socket(self.connection, server_side=True) as connection:
            request = b""
            while b"\r\n\r\n" not in request and (more := connection.recv(65536)):
                request += more
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                + f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )

    def _refuse(self, target: str) -> None:
        with self.log_lock, self.log.open("a") as log:
            log.write(f"{target}\n")
        self.close_connection = True
        self.send_error(HTTPStatus.FORBIDDEN, "The sandbox lets nothing leave this machine")


def serve_egress_proxy(port: int, certificate: Path, log: Path) -> None:
    """Serve the gate in a thread of this process."""
    EgressProxy.log = log
    EgressProxy.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    EgressProxy.tls.load_cert_chain(certificate)
    gate = ThreadingHTTPServer(("127.0.0.1", port), EgressProxy)
    threading.Thread(target=gate.serve_forever, daemon=True).start()


def ensure_certificate(path: Path, bundle: Path) -> None:
    """`path` holds the gate's key and certificate, `bundle` what clients trust: it and the world's.

    Made once. The key never leaves `path`, which only its owner can read.
    """
    if path.exists() and bundle.exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, BOUNDARY_HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=CERTIFICATE_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(BOUNDARY_HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_private(path, private.decode() + certificate)
    write_private(bundle, certifi.contents() + certificate)
