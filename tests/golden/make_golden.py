"""Writes tests/golden/data: tiny random checkpoints and the float32 logits transformers gives for them.

Run it in an environment with wayra[parity]:  python tests/golden/make_golden.py
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def main() -> None:
    sys.path.insert(0, str(HERE.parent / "support"))
    import hf_models
    from hf_cases import CASES

    for case in CASES:
        folder = HERE / "data" / case.name
        model = hf_models.build(case)
        hf_models.save(case, model, folder)
        token_ids = hf_models.prompt(case)
        np.savez(folder / "golden.npz", token_ids=token_ids, logits=hf_models.logits(model, token_ids))
        print(case.name, sum(file.stat().st_size for file in folder.iterdir()), "bytes")


if __name__ == "__main__":
    main()
