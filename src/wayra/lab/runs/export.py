"""A run for other programs: its raw lines, its figures as CSV, or everything as one JSON object."""

import csv
import io
from collections.abc import Iterator

import msgspec

from wayra.lab.runs.stored_run import Run
from wayra.lab.runs.summary import summarise

FORMATS = ("json", "jsonl", "csv")
COLUMNS = ("group", "name", "value", "low", "high", "unit", "count", "why")


def export(run: Run, form: str) -> Iterator[str]:
    """Text in pieces. jsonl: the raw records; csv: the figures; json: header, figures and records.

    Raises RunError when the records are damaged.
    """
    if form == "jsonl":
        for record in run.records():
            yield msgspec.json.encode(record).decode() + "\n"
    elif form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for figure in summarise(run).figures:
            writer.writerow([getattr(figure, column) for column in COLUMNS])
        yield text.getvalue()
    else:
        whole = {"run": run.header, "figures": summarise(run).figures, "records": list(run.records())}
        yield msgspec.json.encode(whole).decode() + "\n"
