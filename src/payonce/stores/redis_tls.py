"""What a Redis URL says of TLS is tried before anything connects: its files are there, and are what they should be.

OpenSSL alone would say "PEM lib" of them all, and the wire that a server can't be reached. Nothing here connects. This
room must never show what a file holds.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from payonce.errors import StoreUrlError
from payonce.stores.redis_url import Place, read_url


def read_checked(scheme: str, rest: str) -> Place:
    """What stands behind `scheme`, its files looked at. Raises StoreUrlError, which names the file and what to do."""
    place = read_url(scheme, rest)
    if place.ca or place.cert or place.key:
        _check_files(place)
    return place


def _check_files(place: Place) -> None:
    named = {name: path for name in ("ca", "cert", "key") if (path := getattr(place, name))}
    for name, path in named.items():
        _readable(name, path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if place.ca:
        try:
            context.load_verify_locations(place.ca)
        except ssl.SSLError:
            fix = "name the certificate, in PEM, of who has signed the servers' own"
            raise StoreUrlError(f"ca={place.ca} holds no certificate", fix) from None
    if place.key and not place.cert:
        raise StoreUrlError(f"key={place.key} is a private key without its certificate", "add  &cert=FILE")
    if place.cert:
        try:
            context.load_cert_chain(place.cert, place.key or None, password="")  # else OpenSSL asks at the terminal
        except ssl.SSLError:
            raise StoreUrlError(*_unfitting(place)) from None


def _readable(name: str, path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        fix = "correct the path, or let the user that Payonce runs as read it"
        raise StoreUrlError(f"{name}={path} can't be read ({error.strerror})", fix) from None


def _unfitting(place: Place) -> tuple[str, str]:
    if not place.key:
        return f"cert={place.cert} holds no certificate with its private key", "name the key's own file with  &key=FILE"
    what = f"cert={place.cert} and key={place.key} are no certificate and its private key"
    return what, "name files in PEM that belong together, the key without a passphrase"
