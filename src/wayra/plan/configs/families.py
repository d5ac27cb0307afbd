"""What a config.json does not say of its family, because the family's code does: norms, biases, gates, tied tables."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Family:
    """Defaults are those of Llama. tied: where the file does not say.

    matrices: of a feed-forward layer, 2 without a gate; no_feed_forward: has none; wide: is four times as wide as the
    model where the file does not say; apart: are counted with what the family has besides. norms: of the model's width
    in a layer; final: around the layers; norm_terms: of a norm, 2 with a shift, 0 without parameters. head_norms: of
    queries and keys, the "head" has one or "all" heads together; where use_qk_norm says so, the head ("option") or each
    head its own ("heads").
    qkv_bias, o_bias, mlp_bias: whatever the file says, None for its attention_bias or mlp_bias. head_bias: of the head
    over the vocabulary. gated_query: queries carry a gate as wide.
    sliding: which layers have the window where the file lists no kinds: "all", "none", "alternate" (every second does
    not), "pattern" (every `pattern`-th does not), "qwen", "chunked". states, both: layers have a state, or one beside
    attention, where it lists none. latent: attention is. positions: learnt ones, as many more than the context has
    tokens, -1 for none. shared_gate, router_terms, expert_bias: of a layer's shared expert, of its router an expert, of
    its experts.
    """

    tied: bool = False
    matrices: int = 3
    norms: int = 2
    final: int = 1
    norm_terms: int = 1
    head_norms: str = ""
    qkv_bias: bool | None = None
    o_bias: bool | None = None
    mlp_bias: bool | None = None
    head_bias: bool = False
    gated_query: bool = False
    sliding: str = "none"
    pattern: int = 1
    shared_gate: bool = False
    router_terms: int = 0
    expert_bias: bool = False
    positions: int = -1
    states: bool = False
    both: bool = False
    latent: bool = False
    wide: bool = False
    no_feed_forward: bool = False
    apart: bool = False


LLAMA = Family()
_MISTRAL = Family(sliding="all")
_HEAD_NORMS = Family(head_norms="head")
_HEAD_NORMS_ALL = Family(head_norms="all")
_QWEN2 = Family(qkv_bias=True, o_bias=False, mlp_bias=False, sliding="qwen")
_QWEN3 = Family(head_norms="head", sliding="qwen")
_DELTA = Family(head_norms="head", gated_query=True, shared_gate=True, states=True)
_GEMMA3 = Family(tied=True, norms=4, head_norms="head", sliding="pattern", pattern=6)
_GPT = Family(tied=True, matrices=2, norm_terms=2, qkv_bias=True, o_bias=True, mlp_bias=True, positions=0, wide=True)
_GPT_J = Family(
    matrices=2, norms=1, norm_terms=2, qkv_bias=False, o_bias=False, mlp_bias=True, head_bias=True, wide=True
)
_LATENT = Family(latent=True)
_MAMBA = Family(norms=1, states=True, no_feed_forward=True)
_MINIMAX = Family(states=True)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        # As Llama, or told apart by keys alone.
        **dict.fromkeys(
            (
                "llama", "mllama", "granite", "smollm3", "internlm3", "helium", "ministral", "ministral3", "granitemoe",
                "granitemoeshared", "mimo", "mimov2flash", "iquestcoder", "ernie45", "kimilinear", "dbrx", "yi",
                "internlm", "mistral4",
            ),
            LLAMA,
        ),
        **dict.fromkeys(("mistral", "mixtral", "phi3"), _MISTRAL),
        **dict.fromkeys(("llama4",), Family(sliding="chunked")),
        **dict.fromkeys(
            ("deepseekv2", "deepseekv3", "deepseekv32", "glmmoedsa", "kimik2", "youtu", "minicpm3", "glm4moelite"),
            _LATENT,
        ),
        "axk1": Family(latent=True, norms=3),
        **dict.fromkeys(("qwen2", "qwen2vl", "qwen25vl"), _QWEN2),
        "qwen2moe": Family(qkv_bias=True, o_bias=False, sliding="qwen", shared_gate=True),
        **dict.fromkeys(("qwen3", "qwen3moe", "qwen3vl", "qwen3vlmoe"), _QWEN3),
        **dict.fromkeys(("qwen3next", "qwen35", "qwen35moe"), _DELTA),
        "gemma": Family(tied=True),
        "gemma2": Family(tied=True, norms=4, sliding="alternate"),
        "gemma3": _GEMMA3,
        "gemma3n": _GEMMA3,
        "gemma4": _GEMMA3,
        "olmo": Family(norm_terms=0),
        "olmo2": _HEAD_NORMS_ALL,
        "olmo3": Family(head_norms="all", sliding="pattern", pattern=4),
        **dict.fromkeys(("olmoe", "flexolmo", "minimaxm2"), _HEAD_NORMS_ALL),
        **dict.fromkeys(
            (
                "exaone4", "exaonemoe", "hyv3", "mellum", "minimaxm3vl", "minimaxm3", "minimaxm3sparse", "dots1",
                "hunyuanv1dense", "hunyuanv1moe",
            ),
            _HEAD_NORMS,
        ),
        "glm": Family(o_bias=False),
        "glm4": Family(o_bias=False, norms=4),
        "glm4moe": Family(o_bias=False, head_norms="option"),
        "cohere": Family(tied=True, norms=1, head_norms="heads"),
        "cohere2": Family(tied=True, norms=1, sliding="pattern", pattern=4),
        "cohere2moe": Family(tied=True, norms=1, sliding="pattern", pattern=4),
        "seedoss": Family(o_bias=False),
        "arcee": Family(matrices=2),
        "apertus": Family(matrices=2, head_norms="head"),
        "nanochat": Family(matrices=2, norm_terms=0),
        "nemotron": Family(matrices=2, norm_terms=2),
        "stablelm": Family(norm_terms=2, o_bias=False),
        "persimmon": Family(matrices=2, norm_terms=2, qkv_bias=True, o_bias=True, mlp_bias=True, head_norms="head"),
        "jais2": Family(matrices=2, norm_terms=2),
        "starcoder2": Family(
            tied=True, matrices=2, norm_terms=2, qkv_bias=True, o_bias=True, mlp_bias=True, sliding="all"
        ),
        "gptneox": Family(matrices=2, norm_terms=2, qkv_bias=True, o_bias=True, mlp_bias=True),
        "gptj": _GPT_J,
        "codegen": _GPT_J,
        **dict.fromkeys(("gpt2", "gptsw3"), _GPT),
        "gptbigcode": _GPT,
        "gptneo": replace(_GPT, qkv_bias=False),
        "opt": Family(tied=True, matrices=2, norm_terms=2, qkv_bias=True, o_bias=True, mlp_bias=True, positions=2),
        "bloom": Family(
            tied=True, matrices=2, norm_terms=2, final=2, qkv_bias=True, o_bias=True, mlp_bias=True, wide=True
        ),
        "falcon": Family(tied=True, matrices=2, norm_terms=2, wide=True),
        "mpt": Family(tied=True, matrices=2, wide=True),
        "phi": Family(matrices=2, norms=1, norm_terms=2, qkv_bias=True, o_bias=True, mlp_bias=True, head_bias=True),
        "phimoe": Family(norm_terms=2, sliding="all"),
        "gptoss": Family(qkv_bias=True, o_bias=True, expert_bias=True, router_terms=1, sliding="alternate"),
        "ernie45moe": Family(router_terms=1),
        "nemotronh": Family(matrices=2, norms=1, qkv_bias=False, o_bias=False, states=True),
        **dict.fromkeys(("granitemoehybrid", "bamba", "jamba"), Family(states=True)),
        "falconh1": Family(both=True),
        **dict.fromkeys(("mamba", "falconmamba", "mamba2"), _MAMBA),
        **dict.fromkeys(("minimax", "minimaxtext01"), _MINIMAX),
        **dict.fromkeys(("zamba", "zamba2"), Family(tied=True, norms=1, states=True, apart=True)),
        "recurrentgemma": Family(tied=True, o_bias=True, mlp_bias=True),
        "deepseekv4": LLAMA,
        "rwkv": Family(matrices=2, norm_terms=2, final=2, states=True, wide=True),
        **dict.fromkeys(("decilm", "nemotronnas"), Family(norms=0, apart=True)),
        **dict.fromkeys(("lfm2", "lfm2moe"), Family(tied=True, head_norms="head")),
    }
)  # fmt: skip
