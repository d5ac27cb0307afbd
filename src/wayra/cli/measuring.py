"""What verbs that measure keep of a model here, so that a run says what it measured and goes on with the same."""

from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

from wayra.base.errors import InvalidParameter
from wayra.base.settings import Settings

if TYPE_CHECKING:
    from wayra.lab.runs import Run

LOADED_WITH = ("context", "threads", "backend", "kv_dtype", "mmap")


def loading_of(options: Mapping[str, Any]) -> dict[str, object]:
    """For RunWriter.set_facts(loading=...): the options that say how a model here is loaded."""
    return {name: options[name] for name in LOADED_WITH}


def loaded_as_before(run: "Run", options: dict[str, Any]) -> dict[str, Any]:
    """The options of a command that resumes `run`, with its model loaded as when it began.

    Raises InvalidParameter for an option on the command line that would load it otherwise.
    """
    before = run.header.facts.get("loading")
    if not isinstance(before, Mapping):
        return options
    known = cast(Mapping[str, object], before)
    ctx = click.get_current_context()
    for name in LOADED_WITH:
        is_given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if is_given and options[name] != known.get(name):
            flag, was = name.replace("_", "-"), known.get(name)
            raise InvalidParameter(
                f"--{flag} {options[name]} is not how run {run.id} began ({'not given' if was is None else was}); "
                "leave it out, or begin a new run"
            )
    return {**options, **{name: known[name] for name in LOADED_WITH if name in known}}


def refuse_beside_resume(allowed: Collection[str]) -> None:
    """Raises UsageError for anything on the command line that a resumed run has already said itself.

    allowed: parameters that say nothing of what is measured, besides those of loading, which are compared.
    """
    ctx = click.get_current_context()
    for param in ctx.command.params:
        name = param.name or ""
        if name in {*allowed, *LOADED_WITH, "resume", "as_json"}:
            continue
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE and ctx.params.get(name):
            what = param.opts[0] if isinstance(param, click.Option) else name.upper().removesuffix("S")
            raise click.UsageError(f"a resumed run is measured as it began; leave out {what}, or begin a new run", ctx)


def weights_hash(settings: Settings) -> Callable[[str], str]:
    """A function from the name of a model that was loaded to the hash of its files; each is read once."""

    @cache
    def of(target: str) -> str:
        from wayra.lab.runs.content import model_hash
        from wayra.weights.sources import resolve

        # It was loaded a moment ago, so nothing is to be fetched.
        return model_hash(resolve(target, settings, offline=True).path)

    return of
