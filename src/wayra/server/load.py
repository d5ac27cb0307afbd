"""Makes the service of the models named: looks at all of them, and loads those that fit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wayra.base.errors import InvalidParameter, OutOfMemory
from wayra.base.settings import Settings
from wayra.llm.inspect import inspect, plan_memory
from wayra.llm.load import Loaded, load
from wayra.llm.memory import available_bytes
from wayra.llm.options import LLMOptions
from wayra.server.catalog import Catalog, CatalogRules
from wayra.server.metrics import RequestMetrics
from wayra.server.offer import Offer, OfferFacts
from wayra.server.served_model import ServedModel
from wayra.server.service import Service
from wayra.server.settings import ServerSettings

if TYPE_CHECKING:
    from wayra.weights.sources import Progress

OnDeath = Callable[[Exception], None]

BUDGET_SHARE = 0.9
"""Of the memory that is available at the start: the models may take so much together, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What is to be served, and how. names: by path, alias, hub repository or package; the first is the default one.

    rules: a budget of None is a share of the memory there is; it matters where several models are served.
    """

    names: Sequence[str]
    options: LLMOptions
    server: ServerSettings
    rules: CatalogRules


@dataclass(frozen=True, slots=True)
class _Seen:
    """An offer, and how to load it again."""

    asked: str
    facts: OfferFacts
    memory_bytes: int


def load_service(
    serving: Serving, settings: Settings, on_death: OnDeath, progress: "Progress | None" = None
) -> Service:
    """Clients may call a model as it was named here, or by its own name. on_death: told what an engine died of.

    Raises as `wayra.llm.load.load`, and for a model that does not fit the budget alone; then nothing stays loaded.
    """
    if len(serving.names) == 1:
        offers, make = _one(serving, settings, on_death, progress)
    else:
        serving = replace(serving, rules=_with_budget(serving.rules))
        offers, make = _several(serving, settings, on_death, progress)
    catalog = Catalog(offers, make, serving.rules, on_death)
    return Service(catalog, serving.server, serving.options.max_batch)


Make = Callable[[Offer], ServedModel]


def _one(
    serving: Serving, settings: Settings, on_death: OnDeath, progress: "Progress | None"
) -> tuple[list[Offer], Make]:
    """A single model may take the budget, or what memory there is, and stays."""
    (asked,) = serving.names
    loaded = load(asked, settings, serving.options, progress, serving.rules.budget_bytes)
    memory = loaded.memory()
    facts = OfferFacts(
        names=_names(asked, loaded.name),
        source=loaded.source,
        digest=loaded.digest,
        spec=loaded.spec,
        template_source=None if loaded.template is None else loaded.template.source,
        weights_bytes=memory.weights_bytes,
        context_len=loaded.engine.limits.max_context,
        need_bytes=memory.weights_bytes + memory.kv_bytes + memory.activation_bytes,
    )
    model = ServedModel(loaded, facts.names, on_death, RequestMetrics())

    def again(offer: Offer) -> ServedModel:
        raise InvalidParameter(f"{offer.name} is not loaded again")  # it is never unloaded

    return [Offer(facts, model)], again


def _several(
    serving: Serving, settings: Settings, on_death: OnDeath, progress: "Progress | None"
) -> tuple[list[Offer], Make]:
    if serving.options.draft_model is not None:
        raise InvalidParameter("a draft_model (--draft-model) guesses for one model; serve that alone, or leave it out")
    budget_bytes = serving.rules.budget_bytes or 0
    seen = [_look(asked, serving, settings, progress) for asked in serving.names]
    _check_names([one.facts for one in seen])
    by_name = {one.facts.names[0]: one for one in seen}
    # What is here now is not asked for again.
    local = replace(settings, hub_offline=True)

    def loaded(one: _Seen) -> Loaded:
        return load(one.asked, local, serving.options, None, one.memory_bytes)

    def make(offer: Offer) -> ServedModel:
        one = by_name[offer.name]
        return ServedModel(loaded(one), one.facts.names, on_death, offer.metrics)

    offers: list[Offer] = []
    try:
        for one in seen:
            held_bytes = sum(offer.held_bytes for offer in offers if offer.model is not None)
            fits = held_bytes + one.facts.need_bytes <= budget_bytes
            model = ServedModel(loaded(one), one.facts.names, on_death, RequestMetrics()) if fits else None
            offers.append(Offer(one.facts, model))
    except BaseException:
        for offer in offers:
            if offer.model is not None:
                offer.model.close()
        raise
    return offers, make


def _look(asked: str, serving: Serving, settings: Settings, progress: "Progress | None") -> _Seen:
    found = inspect(asked, settings, serving.options, progress)
    plan = plan_memory(found, serving.options, serving.rules.budget_bytes or 0, len(serving.names))
    facts = OfferFacts(
        names=_names(asked, found.name),
        source=found.source,
        digest=found.digest,
        spec=found.spec,
        template_source=found.template_source,
        weights_bytes=found.weights_bytes,
        context_len=plan.context_len,
        need_bytes=plan.need_bytes,
    )
    return _Seen(asked, facts, plan.memory_bytes)


def _with_budget(rules: CatalogRules) -> CatalogRules:
    if rules.budget_bytes is not None:
        return rules
    available = available_bytes()
    if available is None:
        raise OutOfMemory("how much memory there is cannot be found out; say how much models may take: --memory-budget")
    return replace(rules, budget_bytes=int(available * BUDGET_SHARE))


def _names(asked: str, own: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((asked, own)))


def _check_names(found: Sequence[OfferFacts]) -> None:
    """Each model must have a name that no other one has, by which answers and figures tell it."""
    names = [facts.names[0] for facts in found]
    for name in names:
        if names.count(name) > 1:
            raise InvalidParameter(f"the model {name!r:.120} is named twice; serve it once")
