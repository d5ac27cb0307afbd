"""A draft model beside the model it guesses for: found, opened, and its tokenizer compared."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wayra.base.errors import InvalidParameter
from wayra.base.settings import Settings
from wayra.llm.tokenizers import load_tokenizer
from wayra.model.spec import ModelSpec
from wayra.text.tokenizer import Tokenizer
from wayra.weights.loader import load_weights, model_spec, open_checkpoint
from wayra.weights.tensors import Checkpoint, ModelWeights

if TYPE_CHECKING:
    from wayra.weights.sources import Progress


@dataclass(frozen=True, slots=True)
class DraftSource:
    """An opened draft model, not loaded yet: what it is decides how much memory is left for the rest."""

    name: str
    checkpoint: Checkpoint
    spec: ModelSpec
    weights: ModelWeights


def open_draft(name: str, settings: Settings, progress: "Progress | None") -> DraftSource:
    """Raises as `load`. The caller closes the checkpoint."""
    from wayra.weights.sources import resolve

    local = resolve(name, settings, progress=progress, offline=settings.hub_offline)
    checkpoint = open_checkpoint(local.path)
    try:
        spec = model_spec(checkpoint)
        return DraftSource(local.name, checkpoint, spec, load_weights(checkpoint, spec))
    except BaseException:
        checkpoint.close()
        raise


def check_tokenizers(target: Tokenizer, source: DraftSource, settings: Settings) -> None:
    """Raises InvalidParameter naming the first token that stands for different text in the two models."""
    draft = load_tokenizer(source.checkpoint, settings.cache_dir)
    for token_id in range(min(target.vocab_size, draft.vocab_size)):
        ours, theirs = target.token_bytes(token_id), draft.token_bytes(token_id)
        # Control tokens may be named differently: a wrong guess of one costs a guess.
        if ours != theirs and not (target.is_special(token_id) and draft.is_special(token_id)):
            raise InvalidParameter(
                f"token {token_id:,} is {ours[:40]!r} in the model and {theirs[:40]!r} in the draft model "
                f"{source.name}; take a draft model with the same tokenizer, a smaller one of the same family"
            )
