"""What comes from the disk is what would have been computed: engines come and go over one folder, answers stay."""

import importlib.util
import random
from pathlib import Path

import pytest
from engine_schedules import MAX_STEP_SEQS, MAX_STEP_TOKENS, check_schedule, is_identical, joined, random_schedule
from tiny_llama import blocky_spec, tiny_weights

from wayra.backends.api import KV_BLOCK_LEN, BackendOptions, Model
from wayra.backends.null import NullModel, null_spec
from wayra.base.formats import Q4_1
from wayra.engine.engine import Engine
from wayra.engine.prefix_store import PrefixStore, use_of
from wayra.engine.request import Request, SamplingParams
from wayra.engine.settings import EngineSettings
from wayra.engine.stored_prefixes import StoredPrefixes
from wayra.model.record import record

VOCAB_SIZE = 251
OPTIONS = BackendOptions(max_step_tokens=MAX_STEP_TOKENS, max_step_seqs=MAX_STEP_SEQS, packed_cache=False, threads=1)


def null_model() -> Model:
    return NullModel(null_spec(VOCAB_SIZE), OPTIONS)


def native_model() -> Model:
    if importlib.util.find_spec("wayra.backends.native.backend") is None:
        pytest.skip("the native backend is not built here")
    from wayra.backends.native.backend import NativeBackend

    spec = blocky_spec(VOCAB_SIZE)
    return NativeBackend().load(record(spec), tiny_weights(spec, Q4_1), OPTIONS)


def stored_on(model: Model, root: Path) -> StoredPrefixes:
    return StoredPrefixes(model, PrefixStore(root, model.kv_layout(), model.kv_bytes_per_block(), 1 << 30))


def answer(model: Model, request: Request, stored: StoredPrefixes | None) -> tuple[object, Engine]:
    engine = Engine(model, EngineSettings(max_context=400, prefix_cache=stored is not None), stored=stored)
    engine.add(request)
    outputs = [o for _ in range(500) if engine.has_work() for o in engine.step()]
    engine.check_integrity()
    engine.close()
    return joined(outputs), engine


@pytest.mark.parametrize("make", [null_model, native_model])
def test_a_restarted_engine_answers_bit_for_bit_alike_from_disk(make: object, tmp_path: Path) -> None:
    assert callable(make)
    prompt = tuple(random.Random(1).choices(range(VOCAB_SIZE), k=10 * KV_BLOCK_LEN + 5))
    request = Request("r", prompt, SamplingParams(temperature=0.9, seed=4, max_tokens=20, logprobs=3))
    cold, _ = answer(make(), request, None)
    model = make()
    first, _ = answer(model, request, stored_on(model, tmp_path))
    for _ in range(2):
        model = make()
        again, engine = answer(model, request, stored_on(model, tmp_path))
        assert is_identical(again, cold)
        assert again.cached_tokens == 10 * KV_BLOCK_LEN
        metrics = engine.metrics()
        assert metrics.stored_prompt_tokens == metrics.cached_prompt_tokens == 10 * KV_BLOCK_LEN
        assert metrics.stored_bytes_read == 10 * model.kv_bytes_per_block()
    assert is_identical(first, cold)
    assert first.cached_tokens == 0


def test_another_salt_shares_nothing(tmp_path: Path) -> None:
    prompt = tuple(range(200))
    for salt, cached in (("a", 0), ("b", 0), ("a", 192), ("b", 192)):
        model = null_model()
        request = Request("r", prompt, SamplingParams(temperature=0, max_tokens=1), salt=salt)
        result, _ = answer(model, request, stored_on(model, tmp_path))
        assert result.cached_tokens == cached


def test_short_prompts_are_not_stored(tmp_path: Path) -> None:
    model = null_model()
    answer(model, Request("r", tuple(range(100)), SamplingParams(max_tokens=1)), stored_on(model, tmp_path))
    assert use_of(tmp_path).files == 0


def test_a_prefix_damaged_half_way_is_used_up_to_the_damage(tmp_path: Path) -> None:
    model = null_model()
    request = Request("r", tuple(range(240)), SamplingParams(temperature=0, max_tokens=3, logprobs=0))
    cold, _ = answer(model, request, stored_on(model, tmp_path))
    (path,) = tmp_path.glob("*/*.kv")
    damaged = bytearray(path.read_bytes())
    damaged[4096 + 5 * model.kv_bytes_per_block() + 3] ^= 16
    path.write_bytes(damaged)
    model = null_model()
    again, _ = answer(model, request, stored_on(model, tmp_path))
    assert is_identical(again, cold)
    assert again.cached_tokens == 5 * KV_BLOCK_LEN


@pytest.mark.parametrize("make", [null_model, native_model])
def test_schedules_over_one_folder_answer_as_if_alone(make: object, tmp_path: Path, fuzz_cases: int) -> None:
    """Each schedule runs three times, by a new engine each, with damage in between."""
    assert callable(make)
    rng = random.Random(7)
    num_read = 0
    for seed in range(max(4, fuzz_cases // 50)):
        schedule = random_schedule(seed, VOCAB_SIZE, max_requests=6)
        for _ in range(3):
            model = make()
            stored = stored_on(model, tmp_path)
            check_schedule(model, schedule, is_identical, stored=stored)
            stored.close()
            num_read += stored.loaded_blocks
            for path in tmp_path.glob("*/*.kv"):
                if rng.random() < 0.2:
                    damaged = bytearray(path.read_bytes())
                    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
                    path.write_bytes(damaged)
    assert num_read > 0
