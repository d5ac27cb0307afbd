"""API prices from the list that `genai-prices` carries (extra `plan`); imported only when a price is asked for.

The list is the one inside the installed package: no network. Each price says the package's version and the newest date
at which its maintainers checked any of it.
"""

import difflib
import importlib
import importlib.metadata
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from wayra.base.errors import InvalidParameter, SourceError
from wayra.plan.prices.table import ApiPrice

_DATE = re.compile(r"20\d\d-\d\d-\d\d")
MAX_NAME = 200


def api_price(provider: str, model: str, *, on: date, prompt_tokens: int = 1) -> ApiPrice:
    """What `provider` asks for `model` on a day, for prompts of a length (some prices step up with it).

    Raises: SourceError when genai-prices is not installed; InvalidParameter for an unknown provider or model, with the
    nearest names, and for a model that is not priced by the token.
    """
    found = _provider(provider)
    entry = _model(found, model)
    moment = datetime(on.year, on.month, on.day, tzinfo=UTC)
    prices = entry.get_prices(moment)
    read = {
        key: _rate(getattr(prices, f"{key}_mtok", None), prompt_tokens) for key in ("input", "output", "cache_read")
    }
    if read["input"] is None or read["output"] is None:
        raise InvalidParameter(f"{provider} does not price {entry.id} by the token; take another model")
    return ApiPrice(
        provider=found.id,
        model=entry.id,
        input_usd_per_mtok=read["input"],
        output_usd_per_mtok=read["output"],
        cached_usd_per_mtok=read["cache_read"],
        context_len=entry.context_window,
        as_of=list_date(),
        source=f"genai-prices {list_version()}",
        note="the provider calls it deprecated" if entry.deprecated else "",
    )


def api_models(provider: str) -> tuple[str, ...]:
    """The ids of a provider's models. Raises as `api_price` does."""
    return tuple(entry.id for entry in _provider(provider).models)


def providers() -> tuple[str, ...]:
    return tuple(entry.id for entry in _list().providers)


def provider_of(url: str) -> str | None:
    """The provider whose API answers at `url`; None when the list knows none. Raises SourceError as above."""
    for entry in _list().providers:
        found = re.match(entry.api_pattern, url.lower())
        # The patterns do not say where a host ends: api.openai.com.example.org is somebody else's.
        if found is not None and url[found.end() : found.end() + 1] != ".":
            return entry.id
    return None


def list_version() -> str:
    return importlib.metadata.version("genai-prices")


@lru_cache(maxsize=1)
def list_date() -> str:
    """The newest day on which the list's maintainers say they checked a price, "2026-10-19"."""
    return max(_dates(), default=f"{datetime.now(tz=UTC).year - 1}")


def _dates() -> Iterator[str]:
    today = datetime.now(tz=UTC).date().isoformat()
    for provider in _list().providers:
        comments = [provider.price_comments, *(entry.price_comments for entry in provider.models)]
        for comment in comments:
            yield from (day for day in _DATE.findall(comment or "") if day <= today)


def _list() -> Any:
    try:
        snapshots = importlib.import_module("genai_prices.data_snapshot")
    except ImportError:
        raise SourceError(
            "API prices come from the package genai-prices, which is not installed; pip install 'wayra[plan]', or give "
            "them as [[api]] rows with --prices FILE"
        ) from None
    return snapshots.get_snapshot()


def _provider(name: str) -> Any:
    known = {entry.id: entry for entry in _list().providers}
    if name.lower() in known:
        return known[name.lower()]
    near = difflib.get_close_matches(name[:MAX_NAME].lower(), known, n=3)
    listed = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(known)}"
    raise InvalidParameter(f"there is no API provider {name[:MAX_NAME]!r}; {listed}")


def _model(provider: Any, name: str) -> Any:
    exact = [entry for entry in provider.models if entry.id.lower() == name.lower()]
    found = exact[0] if exact else provider.find_model(name[:MAX_NAME].lower())
    if found is not None:
        return found
    near = difflib.get_close_matches(name[:MAX_NAME].lower(), [entry.id for entry in provider.models], n=3, cutoff=0.3)
    listed = f"; nearest: {', '.join(near)}" if near else ""
    raise InvalidParameter(f"{provider.id} has no model {name[:MAX_NAME]!r} in the price list{listed}")


def _rate(price: Any, prompt_tokens: int) -> float | None:
    """USD a million tokens. A tier applies to every token of a prompt that reaches its start."""
    if price is None:
        return None
    if not hasattr(price, "tiers"):
        return float(price)
    reached = [tier.price for tier in price.tiers if prompt_tokens > tier.start]
    return float(reached[-1] if reached else price.base)
