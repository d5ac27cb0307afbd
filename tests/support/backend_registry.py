"""The backends the conformance table walks. A backend joins by a line here; one that cannot run here skips visibly."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest

from wayra.backends.api import BackendOptions, Model
from wayra.base.errors import BackendError
from wayra.model.program import Program
from wayra.weights.tensors import ModelWeights

Load = Callable[[Program, ModelWeights, BackendOptions], Model]


def _native(isa: str) -> Load:
    def load(program: Program, weights: ModelWeights, options: BackendOptions) -> Model:
        module = pytest.importorskip("wayra.backends.native.backend", reason="the native backend is not built here")
        try:
            return module.NativeBackend().load(program, weights, replace(options, isa=isa))
        except BackendError as error:
            if isa in str(error):
                pytest.skip(f"this processor or build has no {isa}: {error}")
            raise

    return load


BACKENDS: Mapping[str, Load] = MappingProxyType(
    {f"native-{isa}": _native(isa) for isa in ("avx512_bf16", "avx512", "avx2", "portable")}
)
