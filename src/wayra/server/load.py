"""Makes the service of the models named: loads them, gives each its thread."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from wayra.base.settings import Settings
from wayra.llm.load import load
from wayra.llm.options import LLMOptions
from wayra.server.service import ServedModel, Service
from wayra.server.settings import ServerSettings

if TYPE_CHECKING:
    from wayra.weights.sources import Progress


def load_service(
    names: Sequence[str],
    settings: Settings,
    options: LLMOptions,
    server_settings: ServerSettings,
    on_death: Callable[[Exception], None],
    progress: "Progress | None" = None,
) -> Service:
    """Load models by path, alias, hub repository or package. Clients may call one as it was named here, or by its name.

    Raises as `wayra.llm.load.load`; what was loaded before is freed then.
    """
    models: list[ServedModel] = []
    try:
        for name in names:
            loaded = load(name, settings, options, progress)
            called = tuple(dict.fromkeys((name, loaded.name)))
            models.append(ServedModel(loaded, called, on_death))
    except BaseException:
        for model in models:
            model.close()
        raise
    return Service(models, server_settings)
