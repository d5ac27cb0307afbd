"""`inspect eval`, as far as wayra calls it."""

import json
import os
import sys
import urllib.request
from pathlib import Path


def option(name: str, default: str = "") -> str:
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def ask(url: str, model: str, question: str) -> str:
    body = {"model": model, "max_tokens": 4, "messages": [{"role": "user", "content": question}]}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ['WAYRA_API_KEY']}"}
    request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return str(json.load(answer)["choices"][0]["message"]["content"])


def main() -> int:
    task = sys.argv[2]
    if task == "broken":
        print("Error: this task is broken.", file=sys.stderr)
        return 1
    if task == "package/contained":
        print("ERROR: Docker sandbox environments require a working Docker Engine", file=sys.stderr)
        return 1
    if task == "package/lacking":
        print("ERROR: This download needs more. Install with:\n\npip install gdown\n", file=sys.stderr)
        return 1
    if task == "package/far":
        raise ConnectionError("Couldn't reach 'some/questions' on the Hub (LocalEntryNotFoundError)")
    if task == "raising":
        print("a line before", file=sys.stderr)
        raise KeyError("question")
    url, model = option("--model-base-url"), option("--model").removeprefix("openai-api/wayra/")
    with urllib.request.urlopen(f"{url}/models") as answer:
        card = json.load(answer)["data"][0]
    samples = [
        {"id": f"s{i}", "epoch": 1, "input": "2+2?", "target": "4", "output": {"completion": ask(url, model, "2+2?")},
         "scores": {"match": {"value": "I"}}, "error": None}
        for i in range(0 if task == "unfinished" else int(option("--limit", "2")))
    ]  # fmt: skip
    status = {"status": "error", "error": {"message": "the server hung up\nTraceback"}} if task == "unfinished" else {}
    name = Path(task).name.partition(".")[0] if ".py" in task else task
    log = {"version": 2, "status": "success", **status, "eval": {"task": name}, "samples": samples,
           "results": {"argv": sys.argv[1:], "context": card.get("max_model_len")}}  # fmt: skip
    folder = Path(option("--log-dir"))
    folder.mkdir(parents=True)
    (folder / "log.json").write_text(json.dumps(log))
    print("Log: log.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
