"""The server's certificate: read and checked before anything listens, and again when its files change.

What OpenSSL says of a file it cannot use names neither the file nor what to do, so each file is looked at by itself.
"""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from wayra.base.errors import InvalidParameter

LEAST_VERSION = ssl.TLSVersion.TLSv1_2


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. cert: with the chain up to the root, the server's own first. key: its private key, without a password.

    client_ca: only clients with a certificate that one of these signed may connect. None asks for none.
    """

    cert: Path
    key: Path
    client_ca: Path | None = None


class Tls:
    """context: for connections to come. Raises InvalidParameter for files that cannot be used."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._seen = _stamps(files)
        self.context = _context(files)

    def refresh(self) -> bool:
        """Use what the files hold now for connections to come; whether they changed.

        Raises InvalidParameter, once a change, for files that cannot be used; what was used before stays.
        """
        stamps = _stamps(self._files)
        if stamps == self._seen:
            return False
        self._seen = stamps
        self.context = _context(self._files)
        return True


def _stamps(files: TlsFiles) -> list[tuple[int, int, int] | None]:
    stamps: list[tuple[int, int, int] | None] = []
    for path in (files.cert, files.key, files.client_ca):
        try:
            seen = None if path is None else os.stat(path)
        except OSError:
            seen = None
        stamps.append(None if seen is None else (seen.st_mtime_ns, seen.st_size, seen.st_ino))
    return stamps


def _context(files: TlsFiles) -> ssl.SSLContext:
    _check_certificates("certificate", files.cert)
    _check_readable("private key", files.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = LEAST_VERSION
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])

    def refuse() -> str:
        # Without this OpenSSL asks for it on the terminal.
        raise InvalidParameter(
            f"the private key {files.key} is protected by a password; write it without one "
            f"(openssl pkey -in {files.key.name} -out FILE) and keep that file readable by the server alone"
        )

    try:
        context.load_cert_chain(files.cert, files.key, refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise InvalidParameter(
                f"the private key {files.key} does not belong to the first certificate in {files.cert}; "
                "pass the two that were made together"
            ) from error
        if error.reason is None:
            raise InvalidParameter(
                f"the private key {files.key} is none that can be read; a PEM file with "
                "-----BEGIN PRIVATE KEY----- is expected"
            ) from error
        raise InvalidParameter(f"the certificate {files.cert} cannot be used ({_said(error)})") from error
    if files.client_ca is not None:
        _check_certificates("client CA", files.client_ca)
        context.load_verify_locations(files.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _check_certificates(what: str, path: Path) -> None:
    _check_readable(what, path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
    except ssl.SSLError as error:
        raise InvalidParameter(
            f"the {what} {path} is none that can be read; a PEM file with -----BEGIN CERTIFICATE----- is expected"
        ) from error


def _check_readable(what: str, path: Path) -> None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise InvalidParameter(f"the {what} {path} cannot be read: {os.strerror(error.errno or 0)}") from error


def _said(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
