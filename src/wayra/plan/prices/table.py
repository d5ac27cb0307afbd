"""The price file: what renting and buying hardware costs and, for models no list knows, what tokens cost.

The shipped table (data/prices.toml) and a user's file have one format and one reader. Every row carries unit, date and
source; a unit that is not known is refused, never guessed.
"""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from wayra.base.errors import FileFormatError, InvalidParameter
from wayra.plan.files import read_text
from wayra.plan.prices.dated import first_day
from wayra.plan.quantity import Quantity, given, with_interval

HOURS_PER_MONTH = 730.0
MAX_FILE_BYTES = 1 << 20
MAX_ROWS = 10_000
MAX_USD = 1e9

RENT_UNITS: Mapping[str, float] = MappingProxyType(
    {"USD/h": 1.0, "USD/s": 3600.0, "USD/day": 1 / 24, "USD/month": 1 / HOURS_PER_MONTH}
)
PURCHASE_UNITS: Mapping[str, float] = MappingProxyType({"USD": 1.0, "kUSD": 1000.0})
API_UNITS: Mapping[str, float] = MappingProxyType({"USD/Mtok": 1.0, "USD/ktok": 1e3, "USD/tok": 1e6})


@dataclass(frozen=True, slots=True)
class Rent:
    """An hour of one GPU at a provider."""

    gpu: str
    provider: str
    usd_per_h: float
    as_of: str
    source: str

    def quantity(self) -> Quantity:
        return given("rent_usd_per_h", self.usd_per_h, "USD/h", f"{self.provider}: {self.source}, {self.as_of}")


@dataclass(frozen=True, slots=True)
class Purchase:
    """One GPU bought. low_usd, high_usd: the range the source gives, None for a single price."""

    gpu: str
    usd: float
    as_of: str
    source: str
    low_usd: float | None = None
    high_usd: float | None = None

    def quantity(self) -> Quantity:
        price = given("gpu_price_usd", self.usd, "USD", f"{self.source}, {self.as_of}")
        if self.low_usd is None or self.high_usd is None:
            return price
        return with_interval(price, self.low_usd, self.high_usd)


@dataclass(frozen=True, slots=True)
class ApiPrice:
    """Tokens of a model at a provider. cached_usd_per_mtok: input tokens found in the provider's prompt cache.

    context_len: the most tokens a prompt may have, None where the list does not say. note: what else applies.
    """

    provider: str
    model: str
    input_usd_per_mtok: float
    output_usd_per_mtok: float
    as_of: str
    source: str
    cached_usd_per_mtok: float | None = None
    context_len: int | None = None
    note: str = ""

    def input_price(self) -> Quantity:
        return given("input_usd_per_mtok", self.input_usd_per_mtok, "USD/Mtok", self._origin(), note=self.note)

    def output_price(self) -> Quantity:
        return given("output_usd_per_mtok", self.output_usd_per_mtok, "USD/Mtok", self._origin(), note=self.note)

    def cached_price(self) -> Quantity:
        """The price of cached input; the full input price where the list names none."""
        price = self.input_usd_per_mtok if self.cached_usd_per_mtok is None else self.cached_usd_per_mtok
        return given("cached_usd_per_mtok", price, "USD/Mtok", self._origin(), note=self.note)

    def _origin(self) -> str:
        return f"{self.provider} {self.model}: {self.source}, {self.as_of}"


@dataclass(frozen=True, slots=True)
class PriceTable:
    rents: tuple[Rent, ...] = ()
    purchases: tuple[Purchase, ...] = ()
    apis: tuple[ApiPrice, ...] = ()

    def overridden_by(self, other: "PriceTable") -> "PriceTable":
        """Both tables; where `other` prices a GPU or model at all, its rows alone count."""
        rented, bought = {row.gpu for row in other.rents}, {row.gpu for row in other.purchases}
        sold = {(row.provider, row.model) for row in other.apis}
        return PriceTable(
            other.rents + tuple(row for row in self.rents if row.gpu not in rented),
            other.purchases + tuple(row for row in self.purchases if row.gpu not in bought),
            other.apis + tuple(row for row in self.apis if (row.provider, row.model) not in sold),
        )

    def cheapest_rent(self, gpu: str, provider: str | None = None) -> Rent:
        """The lowest rent of a GPU, at one provider when named. Raises InvalidParameter with the nearest names."""
        rows = [row for row in self.rents if row.gpu == gpu and provider in (None, row.provider)]
        if not rows:
            at = f" at {provider}" if provider else ""
            raise InvalidParameter(f"no rent of {gpu!r}{at} is known; {_priced(gpu, [row.gpu for row in self.rents])}")
        return min(rows, key=lambda row: row.usd_per_h)

    def purchase(self, gpu: str) -> Purchase:
        """The price of buying a GPU. Raises InvalidParameter with the nearest names."""
        for row in self.purchases:
            if row.gpu == gpu:
                return row
        raise InvalidParameter(f"no price of buying {gpu!r} is known; {_priced(gpu, [r.gpu for r in self.purchases])}")


def stated_rent(gpu: str, usd_per_h: float, today: date) -> Rent:
    """A rent the user states. Raises InvalidParameter when it is no price."""
    _check_price(usd_per_h, "the rent", "USD/h")
    return Rent(gpu, "stated", usd_per_h, today.isoformat(), "stated by the user")


def shipped_prices() -> PriceTable:
    text = resources.files("wayra.plan").joinpath("data/prices.toml").read_text("utf-8")
    return parse_prices(text, "the shipped price table")


def read_prices(path: Path) -> PriceTable:
    """A user's price file. Raises FileFormatError naming the row and what is wrong with it."""
    where = f"price file {path.name}"
    found = parse_prices(read_text(path, MAX_FILE_BYTES, "list of prices", name=where), where)
    if not (found.rents or found.purchases or found.apis):
        raise FileFormatError(f"{where} holds no price; expected tables [[rent]], [[purchase]] or [[api]]")
    return found


def parse_prices(text: str, where: str) -> PriceTable:
    """A price file's text. Raises FileFormatError."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise FileFormatError(f"{where} is no TOML: {error}") from None
    kinds = {"rent": _rent, "purchase": _purchase, "api": _api}
    for key in document:
        if key not in kinds:
            raise FileFormatError(f"{where} has a table {key!r}; expected [[rent]], [[purchase]] or [[api]]")
    rows = {kind: _rows(document, kind, where) for kind in kinds}
    return PriceTable(
        tuple(_rent(row) for row in rows["rent"]),
        tuple(_purchase(row) for row in rows["purchase"]),
        tuple(_api(row) for row in rows["api"]),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the file with its place, for messages."""

    cells: Mapping[str, object]
    place: str

    def text(self, key: str) -> str:
        value = self.cells.get(key)
        if not isinstance(value, str) or not value.strip():
            raise FileFormatError(f"{self.place} needs a text {key!r}, it has {value!r}")
        return value.strip()

    def price(self, key: str, units: Mapping[str, float]) -> float:
        unit = self.text("unit")
        if unit not in units:
            raise FileFormatError(f"{self.place} has the unit {unit!r}; expected {', '.join(units)}")
        value = self.cells.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FileFormatError(f"{self.place} needs a number {key!r}, it has {value!r}")
        try:
            _check_price(value, f"{key!r}", unit)
        except InvalidParameter as error:
            raise FileFormatError(f"{self.place}: {error}") from None
        return value * units[unit]

    def optional_price(self, key: str, units: Mapping[str, float]) -> float | None:
        return self.price(key, units) if key in self.cells else None

    def as_of(self) -> str:
        value = self.cells.get("as_of")
        text = str(value) if value is not None else ""
        try:
            first_day(text)
        except InvalidParameter as error:
            raise FileFormatError(f"{self.place}, 'as_of': {error}") from None
        return text

    def only(self, *known: str) -> None:
        for key in self.cells:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; expected {', '.join(known)}"
                raise FileFormatError(f"{self.place} has an unknown key {key!r}{hint}")


def _rows(document: Mapping[str, object], kind: str, where: str) -> list[_Row]:
    found = document.get(kind, [])
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise FileFormatError(f"{where}: {kind!r} must be written as [[{kind}]]")
    if len(found) > MAX_ROWS:
        raise FileFormatError(f"{where} has {len(found):,} rows of [[{kind}]], limit is {MAX_ROWS:,}")
    return [_Row(row, f"{where}, {kind} {number}") for number, row in enumerate(found, start=1)]


def _rent(row: _Row) -> Rent:
    row.only("gpu", "provider", "price", "unit", "as_of", "source")
    price = row.price("price", RENT_UNITS)
    return Rent(row.text("gpu").lower(), row.text("provider"), price, row.as_of(), row.text("source"))


def _purchase(row: _Row) -> Purchase:
    row.only("gpu", "price", "low", "high", "unit", "as_of", "source")
    price = row.price("price", PURCHASE_UNITS)
    low, high = row.optional_price("low", PURCHASE_UNITS), row.optional_price("high", PURCHASE_UNITS)
    if (low is None) != (high is None) or (low is not None and high is not None and not low <= price <= high):
        raise FileFormatError(f"{row.place} needs both 'low' and 'high' with the price between them, or neither")
    bought = Purchase(row.text("gpu").lower(), price, row.as_of(), row.text("source"))
    return replace(bought, low_usd=low, high_usd=high)


def _api(row: _Row) -> ApiPrice:
    row.only("provider", "model", "input", "output", "cached", "context", "unit", "as_of", "source", "note")
    context = row.cells.get("context")
    if context is not None and (isinstance(context, bool) or not isinstance(context, int) or context < 1):
        raise FileFormatError(f"{row.place} has a context of {context!r}; expected a number of tokens")
    return ApiPrice(
        row.text("provider"),
        row.text("model"),
        row.price("input", API_UNITS),
        row.price("output", API_UNITS),
        row.as_of(),
        row.text("source"),
        row.optional_price("cached", API_UNITS),
        context,
        row.text("note") if "note" in row.cells else "",
    )


def _check_price(value: float, what: str, unit: str) -> None:
    if not 0 < value <= MAX_USD:
        raise InvalidParameter(f"{what} is {value:g} {unit}; expected more than 0 and at most {MAX_USD:g}")


def _priced(name: str, known: list[str]) -> str:
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=3)
    listed = ", ".join(near or names) or "none"
    return f"{'nearest' if near else 'known'}: {listed}; pass another with --prices FILE"
