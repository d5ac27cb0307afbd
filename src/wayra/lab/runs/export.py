"""A run for other programs: its raw lines, its figures as CSV, or everything as one JSON object."""

import csv
import io
from collections.abc import Iterator

import msgspec

from wayra.lab.runs.stored_run import Run
from wayra.lab.runs.summary import summarise

FORMATS = ("json", "jsonl", "csv")
COLUMNS = ("group", "name", "value", "low", "high", "unit", "count", "why")
"""Of the figures; what each means follows as the last."""


def export(run: Run, form: str) -> Iterator[str]:
    """Text in pieces. jsonl: the raw records; csv: the figures; json: header, figures with their definitions, records.

    Raises RunError when the records are damaged.
    """
    if form == "jsonl":
        for record in run.records():
            yield msgspec.json.encode(record).decode() + "\n"
    elif form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*COLUMNS, "definition"])
        summary = summarise(run)
        meanings = summary.definitions()
        for figure in summary.figures:
            values = [getattr(figure, column) for column in COLUMNS]
            writer.writerow([*values, meanings.get(figure.name, "")])
        yield text.getvalue()
    else:
        summary = summarise(run)
        whole = {
            "run": run.header,
            "figures": summary.figures,
            "definitions": summary.definitions(),
            "records": list(run.records()),
        }
        yield msgspec.json.encode(whole).decode() + "\n"
