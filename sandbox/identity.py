"""Google's place on this machine: a service account, its token endpoint and the egress gate.

`python -m sandbox.identity` serves the endpoint and the gate. Google's clients sign a JWT with the
generated key and exchange it here, as they do in the cloud.
"""

import argparse
import json
import os
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox.egress_proxy import serve_egress_proxy
from sandbox.secret_file import write_private

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
# What google-auth names as the audience whatever `token_uri` says (read in 2.62).
GOOGLE_AUDIENCE = "https://oauth2.googleapis.com/token"
TOKEN_SECONDS = 3599


def ensure_service_account(path: Path, project: str, token_uri: str) -> None:
    """The file holds a service account of `project` whose tokens come from `token_uri`.

    Its key is generated once and kept when the endpoint moves.
    """
    try:
        account: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        account = _new_account(project)
    if account.get("token_uri") != token_uri:
        write_private(path, json.dumps(account | {"token_uri": token_uri}, indent=2) + "\n")


def _new_account(project: str) -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return {
        "type": "service_account",
        "project_id": project,
        "private_key_id": os.urandom(20).hex(),
        "private_key": pem.decode(),
        "client_email": f"sandbox@{project}.iam.gserviceaccount.com",
        "client_id": "100000000000000000000",
        "universe_domain": "googleapis.com",
    }


class TokenEndpoint(BaseHTTPRequestHandler):
    """POST /token exchanges a signed assertion (RFC 7523) for an access token."""

    account: dict[str, Any]
    public_key: rsa.RSAPublicKey

    def do_GET(self) -> None:
        found = self.path == "/health"
        self._answer(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND, {"ok": found})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if urlsplit(self.path).path != "/token":
            self._answer(HTTPStatus.NOT_FOUND, {"error": "not_found"})
            return
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        if form.get("grant_type") != GRANT_TYPE:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": "unsupported_grant_type"})
            return
        try:
            claims = jwt.decode(
                form.get("assertion", ""),
                self.public_key,
                algorithms=["RS256"],
                audience=[GOOGLE_AUDIENCE, self.account["token_uri"]],
                issuer=self.account["client_email"],
                options={"require": ["iss", "aud", "exp", "iat"]},
                leeway=10,
            )
        except jwt.InvalidTokenError as error:
            refusal = {"error": "invalid_grant", "error_description": str(error)}
            self._answer(HTTPStatus.BAD_REQUEST, refusal)
            return
        if not claims.get("scope"):
            told = "Invalid OAuth scope or ID token audience provided."
            refusal = {"error": "invalid_scope", "error_description": told}
            self._answer(HTTPStatus.BAD_REQUEST, refusal)
            return
        token = f"sandbox.{os.urandom(24).hex()}"
        granted = {"access_token": token, "expires_in": TOKEN_SECONDS, "token_type": "Bearer"}
        self._answer(HTTPStatus.OK, granted)

    def _answer(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve both until killed. Raises OSError when a port is taken."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.identity")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--gate-port", type=int, required=True)
    parser.add_argument("--service-account", type=Path, required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--egress-log", type=Path, required=True)
    options = parser.parse_args()

    account = json.loads(options.service_account.read_text())
    key = serialization.load_pem_private_key(account["private_key"].encode(), password=None)
    assert isinstance(key, rsa.RSAPrivateKey)  # noqa: S101 - narrows the type of our own key
    TokenEndpoint.account, TokenEndpoint.public_key = account, key.public_key()
    serve_egress_proxy(options.gate_port, options.certificate, options.egress_log)
    ThreadingHTTPServer(("127.0.0.1", options.port), TokenEndpoint).serve_forever()


if __name__ == "__main__":
    main()
