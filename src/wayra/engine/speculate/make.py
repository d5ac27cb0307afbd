"""Sets speculation up when it begins: nobody who waits for a first token should wait for the import of its modules.

Nothing is guessed before plain steps have been measured, so that beginning after the first token changes no answer.
"""

import logging
from typing import TYPE_CHECKING

from wayra.backends.api import Model
from wayra.base.errors import InvalidParameter
from wayra.engine.kv_cache import KvCache
from wayra.engine.settings import EngineSettings, Limits

if TYPE_CHECKING:
    from wayra.engine.speculate.drafter import Drafter
    from wayra.engine.speculate.speculator import Speculator

_log = logging.getLogger(__name__)


def check_drafter(settings: EngineSettings, drafter: "Drafter | None") -> None:
    """Raises InvalidParameter when the settings ask for the guesses of a draft model and there is none."""
    if settings.speculate == "draft" and drafter is None:
        raise InvalidParameter('speculate is "draft" without a draft model; give one or choose "lookup"')


def make_speculator(model: Model, limits: Limits, kv: KvCache, drafter: "Drafter | None") -> "Speculator | None":
    """drafter: None looks guesses up in the text itself. None when a step has no room for a guess."""
    if min(limits.max_rows, limits.step_tokens) < 2:
        _log.info("no speculation: a step has room for one row only")
        return None
    from wayra.engine.speculate.lookup import PromptLookup
    from wayra.engine.speculate.speculator import Speculator
    from wayra.engine.speculate.step_times import StepTimes, key_share

    chosen = PromptLookup(limits.draft_tokens) if drafter is None else drafter
    return Speculator(chosen, limits, kv, StepTimes(key_share(model.spec)), model.spec.vocab_size)
