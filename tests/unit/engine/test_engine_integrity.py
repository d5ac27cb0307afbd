"""check_integrity notices each kind of damage it is there for."""

from collections.abc import Callable

import pytest

from wayra.backends.null import NullModel, null_spec
from wayra.base.errors import IntegrityError
from wayra.engine.engine import Engine
from wayra.engine.request import Request, SamplingParams
from wayra.engine.settings import EngineSettings


def busy_engine() -> Engine:
    """Two sequences that share two blocks, and a cached chain nobody holds."""
    engine = Engine(NullModel(null_spec(500, 256)), EngineSettings())
    params = SamplingParams(temperature=0.0, max_tokens=100)
    engine.add(Request("gone", tuple(range(200, 270)), SamplingParams(max_tokens=1)))
    engine.step()
    for name in ("a", "b"):
        engine.add(Request(name, tuple(range(70)), params))
        engine.step()
    engine.step()
    engine.check_integrity()
    return engine


def lose_a_block(engine: Engine) -> None:
    engine._kv._pool._free.pop()


def free_a_held_block(engine: Engine) -> None:
    engine._kv._pool._free.append(engine._scheduler.running[0].blocks[-1])


def miscount(engine: Engine) -> None:
    engine._kv._pool.retain(engine._scheduler.running[0].blocks[0])


def own_twice(engine: Engine) -> None:
    first, second = engine._scheduler.running
    second.blocks[-1] = first.blocks[-1]


def change_a_table(engine: Engine) -> None:
    engine._kv.tables[engine._scheduler.running[0].slot, 0] += 1


def change_a_token(engine: Engine) -> None:
    engine._scheduler.running[0].token_ids[3] += 1


def forget_a_digest(engine: Engine) -> None:
    engine._kv._prefix.forget(engine._scheduler.running[0].blocks[0])


def promise_nothing_real(engine: Engine) -> None:
    engine._kv._prefix.promise([b"never"])


def lose_a_sequence(engine: Engine) -> None:
    del engine._live["a"]


def promise_more_than_there_is(engine: Engine) -> None:
    engine._scheduler.running[0].max_blocks = 10**9


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose_a_block, "leaked"),
        (free_a_held_block, "leaked|twice"),
        (miscount, "has reference count 3, but 2 tables hold it"),
        (own_twice, "reference count"),
        (change_a_table, "is not what it holds"),
        (change_a_token, "cached under other tokens"),
        (forget_a_digest, "disagree on which blocks are cached"),
        (promise_nothing_real, "promises"),
        (lose_a_sequence, "not the live ones"),
        (promise_more_than_there_is, "no longer be sure of its full length"),
    ],
)
def test_damage_is_noticed(damage: Callable[[Engine], None], message: str) -> None:
    engine = busy_engine()
    damage(engine)
    with pytest.raises(IntegrityError, match=message):
        engine.check_integrity()
