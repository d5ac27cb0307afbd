"""Who gets a place to wait, and what a key can take of the queue."""

import pytest

from wayra.server.errors import ApiError
from wayra.server.places import Places


def take_all(places: Places, key: str, most: int = 10_000) -> int:
    """How many places the key gets."""
    for count in range(most):
        if refusal(places, key) is not None:
            return count
        places.take(key, 1)
    return most


def refusal(places: Places, key: str) -> ApiError | None:
    try:
        places.check(key, 1)
    except ApiError as error:
        return error
    return None


@pytest.mark.parametrize("weights", [{}, {"a": 3}])
def test_one_key_or_none_may_fill_the_queue(weights: dict[str, int]) -> None:
    assert take_all(Places(32, 256, weights), next(iter(weights), "")) == 288


def test_one_of_several_keys_gets_all_that_is_computed_and_four_fifths_of_what_waits() -> None:
    places = Places(32, 255, {"a": 1, "b": 1})
    assert take_all(places, "a") == 32 + 204
    assert take_all(places, "b") > 32
    assert places.in_flight < 32 + 255


def test_whoever_has_nothing_under_way_gets_a_place_while_there_is_one() -> None:
    places = Places(1, 2, {"a": 1, "b": 1})
    assert take_all(places, "a") == 2
    assert take_all(places, "b") == 1
    with pytest.raises(ApiError) as caught:
        places.check("c", 1)
    assert "3 requests are under way, limit is 3" in caught.value.message


def test_places_given_back_are_free_again_for_the_same_key() -> None:
    places = Places(2, 100, {"a": 1, "b": 1})
    num_taken = take_all(places, "a")
    for _ in range(num_taken):
        places.give_back("a", 1, 0.5)
    assert places.in_flight == 0
    assert take_all(places, "a") == num_taken


def test_a_key_of_less_weight_gets_less_of_the_queue() -> None:
    light, heavy = (take_all(Places(1, 999, {"light": 1, "heavy": 8}), key) for key in ("light", "heavy"))
    assert (light, heavy) == (1 + 333, 1 + 799)


def test_the_refusal_says_when_to_come_again_and_never_for_good_what_will_fit_later() -> None:
    places = Places(1, 100, {"a": 1, "b": 1})
    places.check("a", 101)
    places.take("a", 90)
    with pytest.raises(ApiError) as caught:
        places.check("a", 5)
    assert caught.value.status == 429
    assert caught.value.headers["retry-after-ms"] == "30000"
    assert caught.value.code == "queue_full"
    assert "90 requests of this API key are under way" in caught.value.message
    with pytest.raises(ApiError) as caught:
        places.check("b", 102)
    assert (caught.value.status, caught.value.param) == (400, "n")
