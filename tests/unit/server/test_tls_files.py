"""Certificate files: what is refused, and that a renewed one is used."""

import ssl
from pathlib import Path

import pytest
from certificates import Certificates
from cryptography.hazmat.primitives import serialization

from wayra.base.errors import InvalidParameter
from wayra.server.settings import ServerSettings
from wayra.server.tls import Tls, TlsFiles


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


def test_versions_before_1_2_are_not_spoken(made: Certificates) -> None:
    assert Tls(TlsFiles(made.cert, made.key)).context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_one_file_may_hold_both(made: Certificates, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(made.cert.read_bytes() + made.key.read_bytes())
    Tls(TlsFiles(both, both))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cert": None}, r"the certificate .*cert\.pem cannot be read: No such file"),
        ({"key": None}, r"the private key .*key\.pem cannot be read: No such file"),
        ({"client_ca": None}, r"the client CA .*client_ca\.pem cannot be read: No such file"),
        ({"cert": b""}, r"the certificate .* is none that can be read; a PEM file with -----BEGIN CERTIFICATE"),
        ({"cert": b"\x30\x82\x01\x0a"}, r"the certificate .* is none that can be read"),
        ({"key": b"hello"}, r"the private key .* is none that can be read; a PEM file with -----BEGIN PRIVATE KEY"),
        ({"client_ca": b"hello"}, r"the client CA .* is none that can be read"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    made: Certificates, tmp_path: Path, change: dict[str, bytes | None], message: str
) -> None:
    files = {"cert": made.cert.read_bytes(), "key": made.key.read_bytes(), "client_ca": made.ca.read_bytes(), **change}
    paths = {name: tmp_path / f"{name}.pem" for name in files}
    for name, content in files.items():
        if content is not None:
            paths[name].write_bytes(content)
    with pytest.raises(InvalidParameter, match=message):
        Tls(TlsFiles(**paths))


def test_a_key_of_another_certificate_is_refused(made: Certificates, tmp_path: Path) -> None:
    other = Certificates(tmp_path)
    with pytest.raises(InvalidParameter, match=r"key\.pem does not belong to the first certificate in .*cert\.pem"):
        Tls(TlsFiles(made.cert, other.key))


def test_certificate_and_key_the_wrong_way_round_are_refused(made: Certificates) -> None:
    with pytest.raises(InvalidParameter, match=r"the certificate .*key\.pem is none that can be read"):
        Tls(TlsFiles(made.key, made.cert))


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(made: Certificates, tmp_path: Path) -> None:
    key = serialization.load_pem_private_key(made.key.read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"secret")
    path = tmp_path / "secret.pem"
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(pem, pkcs8, secret))
    with pytest.raises(InvalidParameter, match=r"secret\.pem is protected by a password; write it without one"):
        Tls(TlsFiles(made.cert, path))


def test_what_the_files_hold_later_is_used_and_what_is_wrong_in_them_is_not(tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    tls = Tls(TlsFiles(made.cert, made.key))
    first = tls.context
    assert not tls.refresh()
    made.cert.write_bytes(b"half a certif")
    with pytest.raises(InvalidParameter, match="none that can be read"):
        tls.refresh()
    assert not tls.refresh()
    assert tls.context is first
    made.renew()
    assert tls.refresh()
    assert tls.context is not first


def test_others_than_this_machine_may_come_without_a_key_only_where_certificates_are_asked_for(
    made: Certificates,
) -> None:
    with pytest.raises(InvalidParameter, match="--tls-client-ca"):
        ServerSettings(host="0.0.0.0", tls=TlsFiles(made.cert, made.key))
    ServerSettings(host="0.0.0.0", tls=TlsFiles(made.cert, made.key, made.ca))
