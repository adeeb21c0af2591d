"""Other people's sound models, small and random: what the doctor must stay silent on.

`FAMILIES` has a function for each, which builds it in evaluation mode with the same weights each time. All
take ids (B, T) below `VOCABULARY`, T up to `MAX_LEN`, and give logits (B, T, V), as a tensor or in a Hugging
Face output. `BIDIRECTIONAL` see what comes later, as they should; `SLIDING` have some layer with that window.
Nothing is read or downloaded.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import Tensor, nn

VOCABULARY, MAX_LEN, WINDOW, SEED = 101, 64, 8, 0

HIDDEN = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
PLAIN = {**HIDDEN, "max_position_embeddings": MAX_LEN, "intermediate_size": 48}
GROUPED = {**PLAIN, "num_key_value_heads": 2}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LONG_NAMES = IDS | {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": VOCABULARY, "n_positions": MAX_LEN}
MLA = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
EXPERTS = {"moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2}
TYPES = ["sliding_attention", "full_attention"]

# model class, config class, config
HUGGING_FACE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", LONG_NAMES),
    "llama": ("LlamaForCausalLM", "LlamaConfig", GROUPED),
    "llama-scaled-rope": (
        "LlamaForCausalLM",
        "LlamaConfig",
        GROUPED
        | {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16,
            }
        },
    ),
    "mistral": ("MistralForCausalLM", "MistralConfig", GROUPED | {"sliding_window": WINDOW, "head_dim": 8}),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", GROUPED),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", GROUPED | {"head_dim": 16}),
    "qwen3-moe": (
        "Qwen3MoeForCausalLM",
        "Qwen3MoeConfig",
        GROUPED | {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    ),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", GROUPED | {"head_dim": 16}),
    "gemma2": (
        "Gemma2ForCausalLM",
        "Gemma2Config",
        GROUPED
        | {"head_dim": 16, "sliding_window": WINDOW, "query_pre_attn_scalar": 16, "layer_types": TYPES},
    ),
    "gemma3": (
        "Gemma3ForCausalLM",
        "Gemma3TextConfig",
        GROUPED
        | {"head_dim": 16, "sliding_window": WINDOW, "query_pre_attn_scalar": 16, "layer_types": TYPES},
    ),
    "phi": ("PhiForCausalLM", "PhiConfig", PLAIN),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", GROUPED | IDS),
    "olmo": ("OlmoForCausalLM", "OlmoConfig", GROUPED | IDS),
    "olmo2": ("Olmo2ForCausalLM", "Olmo2Config", GROUPED | IDS),
    "gpt-neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", PLAIN | {"rotary_pct": 0.5}),
    "gpt-j": ("GPTJForCausalLM", "GPTJConfig", LONG_NAMES | {"rotary_dim": 4}),
    "codegen": ("CodeGenForCausalLM", "CodeGenConfig", LONG_NAMES | {"rotary_dim": 4, "n_ctx": MAX_LEN}),
    "gpt-neo": (
        "GPTNeoForCausalLM",
        "GPTNeoConfig",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "max_position_embeddings": MAX_LEN,
            "attention_types": [[["global", "local"], 1]],
            "window_size": WINDOW,
        },
    ),
    "opt": (
        "OPTForCausalLM",
        "OPTConfig",
        HIDDEN | {"ffn_dim": 48, "max_position_embeddings": MAX_LEN, "word_embed_proj_dim": 32},
    ),
    "bloom": (
        "BloomForCausalLM",
        "BloomConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    ),
    "falcon": ("FalconForCausalLM", "FalconConfig", HIDDEN | {"alibi": False}),
    "falcon-alibi": (
        "FalconForCausalLM",
        "FalconConfig",
        HIDDEN | {"alibi": True, "multi_query": False, "parallel_attn": False, "bias": True},
    ),
    "mpt": (
        "MptForCausalLM",
        "MptConfig",
        {"vocab_size": VOCABULARY, "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": MAX_LEN},
    ),
    "stablelm": ("StableLmForCausalLM", "StableLmConfig", GROUPED),
    "starcoder2": ("Starcoder2ForCausalLM", "Starcoder2Config", GROUPED),
    "gpt-bigcode": ("GPTBigCodeForCausalLM", "GPTBigCodeConfig", LONG_NAMES | {"multi_query": True}),
    "cohere": ("CohereForCausalLM", "CohereConfig", GROUPED | IDS),
    "granite": (
        "GraniteForCausalLM",
        "GraniteConfig",
        GROUPED | {"attention_multiplier": 0.2, "residual_multiplier": 0.5, "embedding_multiplier": 3.0},
    ),
    "smollm3": ("SmolLM3ForCausalLM", "SmolLM3Config", GROUPED | IDS | {"no_rope_layers": [1, 0]}),
    "mixtral": (
        "MixtralForCausalLM",
        "MixtralConfig",
        GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "gpt-oss": (
        "GptOssForCausalLM",
        "GptOssConfig",
        GROUPED
        | IDS
        | {
            "head_dim": 8,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": WINDOW,
            "layer_types": TYPES,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        },
    ),
    "deepseek-v3": (
        "DeepseekV3ForCausalLM",
        "DeepseekV3Config",
        PLAIN
        | MLA
        | EXPERTS
        | {
            "num_key_value_heads": 4,
            "n_shared_experts": 1,
            "first_k_dense_replace": 1,
            "n_group": 1,
            "topk_group": 1,
        },
    ),
    "bert": ("BertForMaskedLM", "BertConfig", PLAIN),
    "bert-decoder": ("BertLMHeadModel", "BertConfig", PLAIN | {"is_decoder": True}),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", PLAIN | {"max_position_embeddings": MAX_LEN + 2}),
}
SEQ2SEQ: dict[str, tuple[str, str, dict[str, Any]]] = {
    "t5": (
        "T5ForConditionalGeneration",
        "T5Config",
        {"vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    ),
    "bart": (
        "BartForConditionalGeneration",
        "BartConfig",
        IDS
        | {
            "vocab_size": VOCABULARY,
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "max_position_embeddings": MAX_LEN,
            "decoder_start_token_id": 2,
            "forced_eos_token_id": None,
        },
    ),
}
SLIDING = dict.fromkeys(("mistral", "gemma2", "gemma3", "gpt-neo", "gpt-oss"), WINDOW)
BIDIRECTIONAL = frozenset({"bert", "roberta"})


class Decoding(nn.Module):
    """An encoder–decoder that writes about one fixed source: ids of the target in, its logits out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("source", torch.arange(5, 15)[None])

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V) of the decoder."""
        return self.model(input_ids=self.source.expand(len(ids), -1), decoder_input_ids=ids).logits


class Sinusoids(nn.Module):
    """The table of the 2017 paper, added to embeddings scaled by √d."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        rates = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10_000.0) / d_model))
        angles = torch.arange(MAX_LEN)[:, None] * rates
        self.register_buffer("table", torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1))
        self.scale = math.sqrt(d_model)

    def forward(self, embedded: Tensor) -> Tensor:
        """The scaled embeddings with their positions."""
        return embedded * self.scale + self.table[: embedded.shape[1]].to(embedded.dtype)


class TorchStack(nn.Module):
    """torch's own encoder layers under a causal mask, with embeddings, sinusoids and a head."""

    def __init__(self, *, norm_first: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 32)
        nn.init.normal_(self.embed.weight, std=32**-0.5)
        self.positions = Sinusoids(32)
        layer = nn.TransformerEncoderLayer(32, 4, 48, dropout=0.1, batch_first=True, norm_first=norm_first)
        norm = nn.LayerNorm(32) if norm_first else None
        self.stack = nn.TransformerEncoder(layer, 2, norm=norm, enable_nested_tensor=False)
        self.head = nn.Linear(32, VOCABULARY)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        x = self.positions(self.embed(ids))
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1], device=x.device, dtype=x.dtype)
        return self.head(self.stack(x, mask=mask, is_causal=True))


class TorchTransformer(nn.Module):
    """torch's whole `nn.Transformer` of 2017, writing about one fixed source."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 32)
        nn.init.normal_(self.embed.weight, std=32**-0.5)
        self.positions = Sinusoids(32)
        self.body = nn.Transformer(32, 4, 2, 2, 48, dropout=0.1, batch_first=True)
        self.head = nn.Linear(32, VOCABULARY)
        self.register_buffer("source", torch.arange(5, 15)[None])

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V) of the decoder."""
        source = self.positions(self.embed(self.source.expand(len(ids), -1)))
        target = self.positions(self.embed(ids))
        mask = nn.Transformer.generate_square_subsequent_mask(
            ids.shape[1], device=ids.device, dtype=target.dtype
        )
        return self.head(self.body(source, target, tgt_mask=mask, tgt_is_causal=True))


class MultiheadBlock(nn.Module):
    """A pre-norm block around `nn.MultiheadAttention`, with a boolean mask (True hides)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
        self.attention = nn.MultiheadAttention(32, 4, dropout=0.1, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(32, 48), nn.GELU(), nn.Linear(48, 32))

    def forward(self, x: Tensor) -> Tensor:
        """The residual stream (B, T, D)."""
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        h = self.norm1(x)
        x = x + self.attention(h, h, h, attn_mask=hidden, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class TorchMultihead(nn.Module):
    """Two such blocks with learned positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.positions = nn.Embedding(VOCABULARY, 32), nn.Embedding(MAX_LEN, 32)
        for table in (self.embed, self.positions):
            nn.init.normal_(table.weight, std=0.02)
        self.blocks = nn.Sequential(MultiheadBlock(), MultiheadBlock())
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, VOCABULARY)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        x = self.embed(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        return self.head(self.norm(self.blocks(x)))


def hugging_face(model: str, config: str, options: dict[str, Any]) -> Callable[[], nn.Module]:
    """A function that builds a model of `transformers` from a configuration."""

    def make() -> nn.Module:
        return getattr(transformers, model)(getattr(transformers, config)(**options))

    return make


def decoding(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """The same, with its decoder's side alone to be seen."""
    return lambda: Decoding(make())


def seeded(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """The same weights each time, with the caller's random state left alone; in evaluation mode."""

    def build() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return make().eval()

    return build


def _families() -> dict[str, Callable[[], nn.Module]]:
    makers: dict[str, Callable[[], nn.Module]] = {}
    for name, entry in HUGGING_FACE.items():
        makers[name] = hugging_face(*entry)
    for name, entry in SEQ2SEQ.items():
        makers[name] = decoding(hugging_face(*entry))
    makers["torch-encoder-pre-norm"] = lambda: TorchStack(norm_first=True)
    makers["torch-encoder-post-norm"] = lambda: TorchStack(norm_first=False)
    makers["torch-transformer"] = TorchTransformer
    makers["torch-multihead"] = TorchMultihead
    return {name: seeded(make) for name, make in makers.items()}


FAMILIES = _families()


def logits_of(output: Any) -> Tensor:
    """The logits, whichever way they are given."""
    return output if isinstance(output, Tensor) else output.logits
