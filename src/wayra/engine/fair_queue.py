"""What waits, ordered so that nobody's many requests keep another's few waiting: start-time fair queueing.

Time is counted in tokens a unit of weight. A flow (all requests of one share) has a tag, the time at which its next
request is due; taking one moves the tag on by the request's tokens divided by the weight, and the flow whose tag is
least comes next. A flow that has had nothing waiting begins at the present: leaving capacity unused earns no credit.
What a request was charged for and did not use comes back when it ends.

Between two flows with requests waiting all the while, tokens taken by weight differ by at most one request of each.
Source: Goyal, Vin and Cheng 1996; the correction at the end as in Sheng et al. 2024.
"""

import heapq
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from wayra.engine.request import Share

T = TypeVar("T", bound=Hashable)


class _Flow(Generic[T]):
    """waiting: item to (number of its arrival, time it takes). start: its tag. floor: the present when it came back."""

    __slots__ = ("floor", "start", "waiting")

    def __init__(self) -> None:
        self.waiting: OrderedDict[T, tuple[int, float]] = OrderedDict()
        self.start = 0.0
        self.floor = 0.0


class FairQueue(Generic[T]):
    """Items of one share leave in the order they came; those of several by the shares' weights."""

    def __init__(self) -> None:
        self._flows: dict[str, _Flow[T]] = {}
        self._flow_of: dict[T, _Flow[T]] = {}
        self._present = 0.0
        self._num_arrived = 0

    def __len__(self) -> int:
        return len(self._flow_of)

    def __contains__(self, item: object) -> bool:
        return item in self._flow_of

    def __iter__(self) -> Iterator[T]:
        """In the order they would leave if nothing else came. Not to be changed meanwhile."""
        heads: list[tuple[float, int, float, T, Iterator[tuple[T, tuple[int, float]]]]] = []
        for flow in self._flows.values():
            rest = iter(flow.waiting.items())
            for item, (number, span) in rest:
                heads.append((flow.start, number, span, item, rest))
                break
        heapq.heapify(heads)
        while heads:
            start, _, span, item, rest = heads[0]
            yield item
            following = next(rest, None)
            if following is None:
                heapq.heappop(heads)
            else:
                item, (number, next_span) = following
                heapq.heapreplace(heads, (start + span, number, next_span, item, rest))

    def add(self, item: T, share: Share, tokens: int) -> None:
        """tokens: the most the item may use. An item may wait once."""
        flow = self._flows.get(share.name)
        if flow is None:
            flow = self._flows[share.name] = _Flow[T]()
        if not flow.waiting:
            flow.floor = self._present
            flow.start = max(flow.start, self._present)
        flow.waiting[item] = (self._num_arrived, tokens / share.weight)
        self._num_arrived += 1
        self._flow_of[item] = flow

    def take(self, item: T) -> None:
        """The item, usually the first, is served now: it leaves and its share is charged."""
        flow = self._flow_of.pop(item)
        _, span = flow.waiting.pop(item)
        self._present = max(self._present, flow.start)
        flow.start += span

    def remove(self, item: T) -> None:
        """The item leaves unserved."""
        del self._flow_of.pop(item).waiting[item]

    def give_back(self, share: Share, tokens: int) -> None:
        """A served item of the share has ended with so many tokens unused."""
        flow = self._flows.get(share.name)
        if flow is not None:
            # Not before it came back: while it had nothing waiting it could not have used them.
            flow.start = max(flow.floor, flow.start - tokens / share.weight)

    def forget(self) -> None:
        """Nothing waits and nothing is served any more: all begin anew, equal."""
        if self._flow_of:
            raise RuntimeError(f"{len(self._flow_of)} requests still wait")
        self._flows.clear()
        self._present = 0.0
