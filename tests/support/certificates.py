"""A certificate authority of a test's own, and a certificate for localhost that it vouches for; made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_certificates(folder: Path) -> None:
    """Write `ca.pem`, and `cert.pem` with `key.pem` for localhost and 127.0.0.1, good for two days."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
            "-subj", "/CN=Test CA", "-addext", "basicConstraints=critical,CA:TRUE")  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "req.pem", "-subj", "/CN=localhost")
    (folder / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "req.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", "cert.pem", "-days", "2", "-extfile", "ext")  # fmt: skip


def server_options(folder: Path, port: int) -> tuple[str, ...]:
    """What a Redis server is started with to speak TLS on `port`, and to ask its clients for certificates."""
    files = ("--tls-cert-file", f"{folder}/cert.pem", "--tls-key-file", f"{folder}/key.pem")
    return ("--tls-port", str(port), *files, "--tls-ca-cert-file", f"{folder}/ca.pem")


def url_options(folder: Path) -> str:
    """What a store's URL says, behind `?`, to trust that authority and to have its certificate."""
    return f"ca={folder}/ca.pem&cert={folder}/cert.pem&key={folder}/key.pem"
