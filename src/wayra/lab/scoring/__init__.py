"""Scoring: asks a model a suite's questions, records the answers, and computes metrics from the records.

with RunStore(settings).create("eval", msgspec.to_builtins(chosen), facts_of(chosen, suites)) as run:
    await Evaluation(llm, chosen, run, on_progress).run(suites)
    run.finish()
for scores in paired(run_a, run_b): ...
"""
