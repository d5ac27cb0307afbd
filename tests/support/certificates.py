"""A certificate authority of the tests' own, made when they run, and files as `wayra serve` takes them."""

import ssl
from pathlib import Path

import trustme


class Certificates:
    """A CA, and a server's certificate and key in two files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.ca = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.ca)
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self.renew()

    def renew(self) -> None:
        """Another certificate and key, in the same files."""
        leaf = self._ca.issue_cert("127.0.0.1", "localhost")
        self.cert.write_bytes(b"".join(part.bytes() for part in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(self.key)

    def issue(self, name: str) -> Path:
        """A file with a further certificate and its key."""
        path = self._folder / f"{name}.pem"
        self._ca.issue_cert(f"{name}@example.org").private_key_and_cert_chain_pem.write_to_path(path)
        return path

    def client(self, certificate: Path | None = None) -> ssl.SSLContext:
        """How a client connects that trusts the CA, and shows this certificate if it is asked for one."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context
