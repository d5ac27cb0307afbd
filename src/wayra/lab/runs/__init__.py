"""Recorded measurements: one folder a run, raw data first, every number computed from it again.

store = RunStore(settings)
with store.create("bench", config, RunFacts(name="smollm2", seeds={"traffic": 0})) as run:
    run.append({"key": "0", ...})            # one line of requests.jsonl, there even after a kill
    run.finish()
for record in store.open(run.id).records(): ...
with store.resume(run.id) as run:            # run.completed: the keys already there
"""

from wayra.lab.runs.header import RunFacts, RunHeader
from wayra.lab.runs.store import RunStore
from wayra.lab.runs.stored_run import Run
from wayra.lab.runs.summary import Figure, Summary, summarise, with_bounds
from wayra.lab.runs.writer import RunWriter

__all__ = ["Figure", "Run", "RunFacts", "RunHeader", "RunStore", "RunWriter", "Summary", "summarise", "with_bounds"]
