"""What the planner's price list says of a model behind a provider's URL."""

from datetime import date

from wayra.base.errors import InvalidParameter, SourceError
from wayra.lab.compare.tables import Price
from wayra.plan.prices.api import api_price, provider_of


def listed_price(url: str, model: str, on: date) -> Price | None:
    """None for an address of no provider in the list.

    Raises SourceError when the list is not installed, InvalidParameter when it has no price of that model.
    """
    provider = provider_of(url)
    if provider is None:
        return None
    found = api_price(provider, model, on=on)
    return Price(
        found.input_usd_per_mtok,
        found.output_usd_per_mtok,
        f"{found.source}, {found.provider} {found.model}, checked {found.as_of}",
    )


def price_or_reason(url: str, model: str, on: date) -> tuple[Price | None, str]:
    """The price, or why there is none of a provider that sells it; neither for any other server."""
    try:
        return listed_price(url, model, on), ""
    except (SourceError, InvalidParameter) as error:
        return None, f"no price of {model}: {error}"
