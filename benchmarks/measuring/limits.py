"""What the machine allows a model at most: measured rates of memory and integer units over the cost model's counts."""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wayra.model.cost import cost
from wayra.model.program import Program
from wayra.model.record import record
from wayra.weights.loader import load_weights, model_spec, open_checkpoint

SOURCE = Path(__file__).with_name("roofline.cpp")


@dataclass(frozen=True, slots=True)
class Rates:
    """read_gb_s: of a buffer as large as the weights. int8_gop_s: a multiply-add is two; 0 where not measured."""

    read_gb_s: float
    int8_gop_s: float
    int8_instruction: str

    def best_with(self, other: "Rates") -> "Rates":
        """The higher of two measurements of the same machine: others can only slow one down."""
        return Rates(
            max(self.read_gb_s, other.read_gb_s), max(self.int8_gop_s, other.int8_gop_s), self.int8_instruction
        )


class Roofline:
    """The probe, compiled for this machine. Raises CalledProcessError or FileNotFoundError without a compiler."""

    def __init__(self, weight_bytes: int, threads: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._command = [str(Path(self._folder.name) / "roofline"), str(weight_bytes), str(threads)]
        build = ["g++", "-O3", "-march=native", "-std=c++17", "-pthread", str(SOURCE), "-o", self._command[0]]
        subprocess.run(build, check=True, capture_output=True)

    def measure(self) -> Rates:
        done = subprocess.run(self._command, check=True, capture_output=True, text=True)
        return Rates(**json.loads(done.stdout))

    def close(self) -> None:
        self._folder.cleanup()


@dataclass(frozen=True, slots=True)
class Work:
    """What has to be done for one token: bytes read from memory (decode), operations (prefill)."""

    bytes_a_token: float
    ops_a_token: float

    def limit_tokens_per_s(self, rates: Rates) -> float:
        """The stricter of the two limits."""
        by_bytes = rates.read_gb_s * 1e9 / self.bytes_a_token
        return min(by_bytes, rates.int8_gop_s * 1e9 / self.ops_a_token) if rates.int8_gop_s else by_bytes


class ModelWork:
    """The counts of a model file, from its recorded Program and the formats of its tensors."""

    def __init__(self, path: Path) -> None:
        checkpoint = open_checkpoint(path)
        spec = model_spec(checkpoint)
        self._program: Program = record(spec)
        weights = load_weights(checkpoint, spec)
        stored = {slot: sum(p.tensor.data.nbytes for p in weight.parts) for slot, weight in weights.matrices.items()}
        self._bits: Mapping[str, float] = {
            slot: 8 * stored[slot] / (weight.rows * weight.cols) for slot, weight in weights.matrices.items()
        }
        self.vocab_size = spec.vocab_size
        self.weight_bytes = sum(stored.values())
        self.num_weights = sum(weight.rows * weight.cols for weight in weights.matrices.values())
        checkpoint.close()

    def prefill(self, num_tokens: int) -> Work:
        found = cost(self._program, tokens=num_tokens, rows=1, kv_lens=[num_tokens], weight_bits=self._bits)
        return Work(found.memory_bytes / num_tokens, found.flops / num_tokens)

    def decode(self, prompt_len: int, num_tokens: int) -> Work:
        """The mean over the answer: the cost is linear in the context, so that of its middle."""
        middle = prompt_len + (num_tokens + 1) // 2
        found = cost(self._program, tokens=1, rows=1, kv_lens=[middle], weight_bits=self._bits)
        return Work(found.memory_bytes, found.flops)
