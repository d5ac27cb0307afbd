"""Fair queueing on the queue alone: who leaves when, for any requests, weights and arrivals."""

import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wayra.engine.fair_queue import FairQueue
from wayra.engine.request import Share

MAX_COST = 1000


@dataclass(frozen=True)
class Item:
    share: Share
    number: int
    tokens: int


def first(queue: FairQueue[Item]) -> Item:
    return next(iter(queue))


def serve(queue: FairQueue[Item]) -> Item:
    item = first(queue)
    queue.take(item)
    return item


def filled(queue: FairQueue[Item], share: Share, tokens: list[int], begin: int = 0) -> list[Item]:
    items = [Item(share, begin + number, cost) for number, cost in enumerate(tokens)]
    for item in items:
        queue.add(item, share, item.tokens)
    return items


costs = st.lists(st.integers(1, MAX_COST), min_size=1, max_size=60)
backlogs = st.lists(st.tuples(st.integers(1, 20), costs), min_size=1, max_size=6)


@given(backlogs)
def test_while_two_wait_what_they_get_by_weight_differs_by_a_request_of_each_at_most(
    flows: list[tuple[int, list[int]]],
) -> None:
    queue = FairQueue[Item]()
    shares = [Share(str(index), weight) for index, (weight, _) in enumerate(flows)]
    left = {share.name: list(tokens) for share, (_, tokens) in zip(shares, flows, strict=True)}
    for share in shares:
        filled(queue, share, left[share.name])
    got = {share.name: 0 for share in shares}
    while len(queue):
        item = serve(queue)
        assert left[item.share.name].pop(0) == item.tokens
        got[item.share.name] += item.tokens
        waiting = [share for share in shares if left[share.name]]
        for a in waiting:
            for b in waiting:
                most_a, most_b = (max(flows[int(share.name)][1]) / share.weight for share in (a, b))
                apart = got[a.name] / a.weight - got[b.name] / b.weight
                assert abs(apart) <= (most_a + most_b) * (1 + 1e-9)
    assert all(not tokens for tokens in left.values())


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 1000))
def test_a_backlog_of_any_length_delays_another_share_by_one_request_only(
    seed: int, weight: int, num_heavy: int
) -> None:
    rng = random.Random(seed)
    queue, heavy, light = FairQueue[Item](), Share("heavy", weight), Share("light", weight)
    filled(queue, heavy, [rng.randint(1, MAX_COST) for _ in range(num_heavy)])
    for _ in range(rng.randrange(num_heavy)):
        serve(queue)
    filled(queue, light, [rng.randint(1, MAX_COST)])
    assert light in [serve(queue).share for _ in range(2)]


@given(st.integers(1, 500), st.integers(1, 20))
def test_who_has_been_away_takes_no_more_than_its_weight_when_it_comes_back(num_served: int, weight: int) -> None:
    queue, busy, idle = FairQueue[Item](), Share("busy", 1), Share("idle", weight)
    filled(queue, idle, [10])
    filled(queue, busy, [10] * (num_served + 100))
    for _ in range(num_served + 1):
        serve(queue)
    filled(queue, idle, [10] * 2000, begin=1)
    served = [serve(queue).share for _ in range(50 * (weight + 1))]
    assert abs(served.count(busy) - 50) <= 2


@given(st.integers(0, 2**32), st.integers(1, 8))
def test_what_was_asked_for_and_not_used_is_not_counted_in_the_long_run(seed: int, weight: int) -> None:
    """Both use ten tokens a request; one asks for up to a thousand. Eight are served at a time."""
    rng = random.Random(seed)
    queue, modest, greedy = FairQueue[Item](), Share("modest", 1), Share("greedy", weight)
    filled(queue, modest, [10] * 3000)
    filled(queue, greedy, [rng.randint(10, MAX_COST) for _ in range(3000)])
    running: list[Item] = []
    used = {"modest": 0, "greedy": 0}
    while used["modest"] + used["greedy"] < 20_000:
        while len(running) < 8:
            running.append(serve(queue))
        item = running.pop(rng.randrange(len(running)))
        used[item.share.name] += 10
        queue.give_back(item.share, item.tokens - 10)
    # What may be under way and not yet corrected, on either side.
    assert abs(used["greedy"] - weight * used["modest"]) <= 8 * MAX_COST * weight


def test_tokens_given_back_are_no_credit_for_the_time_away() -> None:
    queue, away, busy = FairQueue[Item](), Share("away"), Share("busy")
    filled(queue, away, [5000])
    serve(queue)
    filled(queue, busy, [10] * 1000)
    for _ in range(400):
        serve(queue)
    filled(queue, away, [10] * 1000, begin=1)
    queue.give_back(away, 4990)
    served = [serve(queue).share for _ in range(200)]
    assert abs(served.count(away) - 100) <= 1


def test_who_comes_while_another_catches_up_does_not_catch_up_with_it() -> None:
    queue, asked, busy, new = FairQueue[Item](), Share("asked too much"), Share("busy"), Share("new")
    filled(queue, asked, [5000, *[10] * 1000])
    serve(queue)
    filled(queue, busy, [10] * 1000)
    for _ in range(400):
        serve(queue)
    queue.give_back(asked, 4990)
    assert serve(queue).share == asked
    filled(queue, new, [10] * 1000)
    served = [serve(queue).share for _ in range(600)]
    assert served.count(asked) > 400
    assert abs(served.count(new) - served.count(busy)) <= 2


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.integers(1, 50)), max_size=40), st.integers(0))
def test_the_order_shown_is_the_order_served_and_removing_changes_no_other(
    arrivals: list[tuple[str, int, int]], seed: int
) -> None:
    queue = FairQueue[Item]()
    items = [Item(Share(name, weight), n, tokens) for n, (name, weight, tokens) in enumerate(arrivals)]
    for item in items:
        queue.add(item, item.share, item.tokens)
    rng = random.Random(seed)
    for item in rng.sample(items, len(items) // 3):
        queue.remove(item)
        assert item not in queue
    shown = list(queue)
    assert len(shown) == len(queue) == len(items) - len(items) // 3
    assert [serve(queue) for _ in range(len(queue))] == shown
    queue.forget()


def test_one_share_is_first_come_first_served() -> None:
    queue, share = FairQueue[Item](), Share()
    items = filled(queue, share, [5, 1, 1000, 3, 1])
    assert [serve(queue) for _ in items] == items


def test_forgetting_while_something_waits_is_a_bug() -> None:
    queue = FairQueue[Item]()
    filled(queue, Share(), [1])
    with pytest.raises(RuntimeError, match="1 requests still wait"):
        queue.forget()
