"""`wayra serve`: the HTTP server, on the default model without arguments."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import Exit

from wayra.base.errors import InvalidParameter
from wayra.base.settings import Settings
from wayra.cli.generation import DEFAULT_MODEL, MODEL_OPTIONS, SPECULATION_OPTIONS, with_options
from wayra.cli.output import emit, json_option, note, print_line

if TYPE_CHECKING:
    from wayra.llm.options import LLMOptions
    from wayra.server.service import Service
    from wayra.server.settings import ServerSettings
    from wayra.server.tls import TlsFiles
    from wayra.server.tracing import Tracing

EPILOG = """\b
Examples:
  wayra serve
  wayra serve llama3.2:1b --port 9000
  wayra serve --host 0.0.0.0 --api-key-file keys.txt --tls-cert cert.pem --tls-key key.pem
  wayra serve --model smollm2 --model llama3.2:1b --memory-budget 4
Then:
  curl localhost:8000/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"messages": [{"role": "user", "content": "Hello"}]}'
"""

SERVED_OPTIONS = (
    click.option("-m", "--model", "models", multiple=True, metavar="NAME",
                 help="Model: a path, an alias, org/repo[:QUANT] or pypi:...; may be given several times, the first is "
                      "the default one.  [default: smollm2]"),
    click.option("--memory-budget", type=click.FloatRange(min=0, min_open=True), metavar="GB",
                 help="What all loaded models may take together.  [default: 90 % of what is available]"),
    click.option("--load-timeout", type=click.FloatRange(0.1, 86_400), default=120.0, show_default=True,
                 metavar="SECONDS", help="How long a request may wait for its model to be loaded."),
)  # fmt: skip

SERVER_OPTIONS = (
    click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
                 help="Where to listen; other than this machine needs an API key."),
    click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, metavar="N",
                 help="0 takes a free one."),
    click.option("--api-key", "api_keys", multiple=True, metavar="KEY",
                 help="Clients must send it; may be given several times. Others on this machine can see it: "
                      "--api-key-file is safer."),
    click.option("--api-key-file", type=click.Path(path_type=Path), metavar="FILE",
                 help="API keys, one a line, and their limits and weights."),
    click.option("--tls-cert", type=click.Path(path_type=Path), metavar="FILE",
                 help="Serve over TLS, with this certificate and its chain (PEM)."),
    click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE",
                 help="The certificate's private key (PEM).  [default: the certificate's file]"),
    click.option("--tls-client-ca", type=click.Path(path_type=Path), metavar="FILE",
                 help="Take only clients with a certificate that this CA signed (PEM)."),
    click.option("--allowed-host", "allowed_hosts", multiple=True, metavar="NAME",
                 help="A further name clients may use for this server."),
    click.option("--cors-origin", "cors_origins", multiple=True, metavar="ORIGIN",
                 help="A web origin whose pages may call the API."),
    click.option("--max-batch", type=click.IntRange(1, 1024), default=32, show_default=True, metavar="N",
                 help="Requests computed side by side."),
    click.option("--max-waiting", type=click.IntRange(0, 1 << 20), default=256, show_default=True, metavar="N",
                 help="Requests that may wait; more get 429."),
    click.option("--max-body", type=click.IntRange(1, 1024), default=4, show_default=True, metavar="MIB",
                 help="Largest request."),
    click.option("--header-timeout", type=click.FloatRange(0.1, 86_400), default=10.0, show_default=True,
                 metavar="SECONDS", help="How long a client may take to send its headers."),
    click.option("--body-timeout", type=click.FloatRange(0.1, 86_400), default=60.0, show_default=True,
                 metavar="SECONDS", help="How long it may take to send its body."),
    click.option("--stall-timeout", type=click.FloatRange(0.1, 86_400), default=30.0, show_default=True,
                 metavar="SECONDS", help="How long it may take nothing of its answer."),
    click.option("--max-connections", type=click.IntRange(1, 1 << 20), default=4096, show_default=True, metavar="N",
                 help="More are closed at once."),
    click.option("--drain-timeout", type=click.IntRange(0, 86_400), default=60, show_default=True, metavar="SECONDS",
                 help="How long requests under way may go on after SIGTERM."),
    click.option("--no-prefix-cache", is_flag=True, help="Compute every prompt anew."),
    click.option("--prefix-disk", type=click.IntRange(0, 10**9), metavar="MB",
                 help="Most disk that computed prompts may take, 0 for none.  [default: 4096, or 5 % of what is free]"),
    click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]),
                 help="What is less is not logged: each request is info, one that failed by our fault an error.  "
                      "[default: info]"),
    click.option("--log-format", type=click.Choice(["json", "text"]), default="json", show_default=True,
                 help="How a line of the log is written."),
    click.option("--quiet", is_flag=True, help="Log only what goes wrong: --log-level warning."),
    click.option("--otel", is_flag=True,
                 help="Send traces (OpenTelemetry). Without this too where OTEL_EXPORTER_OTLP_ENDPOINT is set."),
)  # fmt: skip


@click.command(epilog=EPILOG)
@click.argument("name", required=False, metavar="[MODEL]")
@with_options(SERVED_OPTIONS, SERVER_OPTIONS, MODEL_OPTIONS[1:], SPECULATION_OPTIONS)
@json_option
@click.pass_obj
def serve(settings: Settings, name: str | None, as_json: bool, **options: Any) -> None:
    """Serve models over HTTP, with OpenAI's API.

    Of several models, those that fit into the memory budget are loaded; another one is loaded when it is asked for, and
    what was not used for the longest time makes room.

    Prints its address when it is ready, with --json as an object. Ctrl-C or SIGTERM lets requests under way finish and
    ends it; a second one ends it at once. The log is one line a request, on standard error.
    """
    from wayra.cli.progress import make_progress
    from wayra.server.catalog import CatalogRules
    from wayra.server.journal import Journal
    from wayra.server.load import Serving, load_service
    from wayra.server.run import serve as run_server

    names = ([] if name is None else [name]) + list(options["models"])
    tracing = _tracing(options["otel"], settings)
    journal = Journal(options["log_level"] or ("warning" if options["quiet"] else "info"), options["log_format"])
    budget_gb = options["memory_budget"]
    serving = Serving(
        names=names or [DEFAULT_MODEL],
        options=_llm_options(options),
        server=_server_settings(options),
        rules=CatalogRules(
            budget_bytes=None if budget_gb is None else int(budget_gb * 1e9),
            max_waiting=options["max_batch"] + options["max_waiting"],
            wait_s=options["load_timeout"],
            say=journal.say,
        ),
    )
    note(f"loading {', '.join(serving.names)} ...")
    progress = make_progress(settings)
    code = run_server(
        lambda on_death: load_service(serving, settings, on_death, progress),
        serving.server,
        journal,
        partial(_greet, as_json),
        tracing,
    )
    if code:
        raise Exit(code)


def _server_settings(options: Mapping[str, Any]) -> "ServerSettings":
    from wayra.server.keys import api_key, keys_from_file
    from wayra.server.settings import ServerSettings

    keys = tuple(api_key(text) for text in options["api_keys"])
    if options["api_key_file"] is not None:
        keys += keys_from_file(options["api_key_file"])
    return ServerSettings(
        host=options["host"],
        port=options["port"],
        api_keys=keys,
        allowed_hosts=tuple(options["allowed_hosts"]),
        cors_origins=tuple(options["cors_origins"]),
        max_waiting=options["max_waiting"],
        max_body_bytes=options["max_body"] << 20,
        max_connections=options["max_connections"],
        header_s=options["header_timeout"],
        body_s=options["body_timeout"],
        stall_s=options["stall_timeout"],
        drain_s=options["drain_timeout"],
        tls=_tls_files(options["tls_cert"], options["tls_key"], options["tls_client_ca"]),
    )


def _llm_options(options: Mapping[str, Any]) -> "LLMOptions":
    from wayra.llm.options import LLMOptions

    return LLMOptions(
        backend=options["backend"],
        context_len=options["context"],
        threads=options["threads"],
        kv_dtype=options["kv_dtype"],
        map_weights=options["mmap"],
        max_batch=options["max_batch"],
        prefix_cache=not options["no_prefix_cache"],
        prepare_chat=True,
        prefix_disk_mb=options["prefix_disk"],
        speculate=options["speculate"],
        draft_model=options["draft_model"],
    )


def _tracing(is_wanted: bool, settings: Settings) -> "Tracing | None":
    from wayra.server.tracing import start_tracing

    if is_wanted:
        return start_tracing()
    if not settings.has_otel_endpoint:
        return None
    try:
        return start_tracing()
    except InvalidParameter as error:
        # The variable may be set on every machine, whatever runs there.
        note(f"no traces are sent: {error}")
        return None


def _tls_files(cert: Path | None, key: Path | None, client_ca: Path | None) -> "TlsFiles | None":
    from wayra.server.tls import TlsFiles

    if cert is None:
        if key is not None or client_ca is not None:
            raise click.UsageError("--tls-key and --tls-client-ca belong to --tls-cert; pass that too.")
        return None
    return TlsFiles(cert, key or cert, client_ca)


def _greet(as_json: bool, service: "Service", url: str) -> None:
    """Say where the server is, and how to call it."""
    import sys

    names = [offer.name for offer in service.offers]

    def for_people() -> None:
        print_line(f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} served at {url}")
        print_line(f"  OpenAI clients: base_url={url}/v1")
        print_line("  Ctrl-C ends it")

    emit({"url": url, "base_url": f"{url}/v1", "model": names[0], "models": names}, as_json, for_people)
    sys.stdout.flush()
