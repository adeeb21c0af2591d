"""A decoder-only language model: token ids in, next-token logits out.

Leaves out the loss, sampling, checkpoints and parallelism.

Shapes: B batch, T query length, S key length, D d_model, V vocabulary.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from trueformer.models.checks import check_inputs
from trueformer.models.config import DecoderConfig
from trueformer.nn import flex
from trueformer.nn.attend import Mask
from trueformer.nn.attention import Attention, Cache
from trueformer.nn.blocks import Block, make_norm
from trueformer.nn.dropout import dropout
from trueformer.nn.embeddings import SinusoidalPositions
from trueformer.nn.masks import attention_mask, positions_within
from trueformer.nn.norms import LayerNorm, RMSNorm
from trueformer.nn.plain import Backend
from trueformer.nn.rotary import Rotary
from trueformer.nn.tables import FixedTables


class DecoderLM(nn.Module):
    """The model a `DecoderConfig` describes, freshly initialised on the default device."""

    def __init__(self, config: DecoderConfig, *, backend: Backend = "fast") -> None:
        super().__init__()
        self.config, self.backend = config, backend
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.positions: nn.Embedding | SinusoidalPositions | None = None
        if config.positions == "learned":
            self.positions = nn.Embedding(config.max_len, config.d_model)
        elif config.positions == "sinusoidal":
            self.positions = SinusoidalPositions(config.max_len, config.d_model)
        self.rotary = Rotary(config) if config.positions == "rope" else None
        self.blocks = nn.ModuleList(Block(config, i, backend=backend) for i in range(config.n_layers))
        # A post-norm block ends in a norm; another would undo nothing and learn nothing.
        self.final_norm = make_norm(config, backend) if config.norm_placement == "pre" else nn.Identity()
        self.head = None if config.tied else nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Draw all weights anew: normal(init_std), biases and sinks zero, norms one.

        Matrices that end in the residual stream get init_std / sqrt(2 n_layers), so that its variance does
        not grow with depth (GPT-2), or zero.
        """
        std = self.config.init_std
        scaled = self.config.residual_init == "scaled"
        residual_std = std / math.sqrt(2 * self.config.n_layers) if scaled else 0.0
        for name, parameter in self.named_parameters():
            if name.endswith(".bias") or name.endswith(".sinks"):
                parameter.zero_()
            elif parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                residual = name.endswith(("attention.out.weight", "feed_forward.down.weight"))
                parameter.normal_(0.0, residual_std if residual else std)

    def tie_weights(self) -> None:
        """Make logits with the embedding matrix from now on.

        There is no second name for it, so no copy, move or load can part the two.
        """
        self.head = None
        self.config = dataclasses.replace(self.config, tied=True)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As `nn.Module`'s; fixed tables join the weights, so that `assign` makes a "meta" model whole."""
        result = super().load_state_dict(state_dict, strict, assign)
        for module in self.modules():
            if isinstance(module, FixedTables):
                module.build(self.embedding.weight.device)
        return result

    @property
    def head_weight(self) -> Float[Tensor, "V D"]:
        """The matrix logits are made with, tied or not."""
        return self.embedding.weight if self.head is None else self.head.weight

    def set_backend(self, backend: Backend) -> None:
        """Run on the fused operations ("fast") or on the readable twins ("plain"); weights stay."""
        self.backend = backend
        for module in self.modules():
            if isinstance(module, Attention | RMSNorm | LayerNorm):
                module.backend = backend

    def forward(
        self,
        ids_BT: Tensor,
        *,
        document_BT: Tensor | None = None,
        key_valid_BS: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "B T V"]:
        """Logits of the token after each position, in float32; arguments and errors as in `hidden`."""
        x_BTD = self.hidden(ids_BT, document_BT=document_BT, key_valid_BS=key_valid_BS, cache=cache)
        return self.logits(x_BTD)

    def logits(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch V"]:
        """Logits of hidden states, in float32, soft-capped at ±logit_softcap (Gemma 2, arXiv 2408.00118)."""
        logits = F.linear(x, self.embedding.weight) if self.head is None else self.head(x)
        logits = logits.float()
        cap = self.config.logit_softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def hidden(
        self,
        ids_BT: Tensor,
        *,
        document_BT: Tensor | None = None,
        key_valid_BS: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """The residual stream after the last norm.

        Tokens see only their own document (`document_BT`, integers) and only valid keys (`key_valid_BS`, S =
        T); learned and sinusoidal positions are counted within those. With a cache the ids follow what it
        holds, and it advances by T once all layers have written.

        Raises:
            ValueError: no tokens or more than fit, ids outside the vocabulary (looked at on the CPU only), a
                mask of the wrong shape or dtype, masks given along with a cache.
        """
        check_inputs(self.config, ids_BT, document_BT, key_valid_BS, cache)
        T = ids_BT.shape[1]
        slots_T = torch.arange(T, device=ids_BT.device) if cache is None else cache.slots(T)
        mask = self._mask(slots_T, document_BT, key_valid_BS, cache)
        start_B = None if cache is None else cache.start_B
        positions_BT = slots_T[None] if start_B is None else (slots_T - start_B[:, None]).clamp(min=0)
        # Rotary scores depend on differences alone, so only a table added to the input needs counting anew.
        if self.positions is not None and (document_BT is not None or key_valid_BS is not None):
            positions_BT = positions_within(ids_BT, document_BT, key_valid_BS)
        x_BTD = self.embed(ids_BT, positions_BT)
        rotation = None if self.rotary is None else self.rotary(positions_BT)
        for block in self.blocks:
            x_BTD = block(x_BTD, rotation=rotation, mask=mask, cache=cache)
        if cache is not None:
            cache.advance(T)
        return self.final_norm(x_BTD)

    def _mask(
        self,
        slots_T: Int[Tensor, "T"],
        document_BT: Tensor | None,
        key_valid_BS: Tensor | None,
        cache: Cache | None,
    ) -> Mask | None:
        """What this pass's queries may see, made once for all layers; None where kernels need no mask."""
        T, window = len(slots_T), self.config.window
        if cache is not None:
            return cache.mask(T, window)
        if document_BT is None and key_valid_BS is None and (window is None or window >= T):
            return None
        rules = {"window": window, "document_BT": document_BT, "key_valid_BS": key_valid_BS}
        if self.backend == "fast" and flex.suits_flex(slots_T.device, dropout=self._drops):
            return flex.block_mask(T, slots_T.device, **rules)
        return attention_mask(slots_T, T, **rules)

    @property
    def _drops(self) -> bool:
        """Whether this pass drops anything."""
        return self.training and self.config.dropout > 0

    def embed(self, ids_BT: Int[Tensor, "B T"], positions_BT: Int[Tensor, "#B T"]) -> Float[Tensor, "B T D"]:
        """What the first block reads: token embeddings, absolute positions if any, dropout in training."""
        x_BTD = self.embedding(ids_BT)
        if self.positions is not None:
            x_BTD = x_BTD + self.positions(positions_BT).to(x_BTD.dtype)
        return dropout(x_BTD, self.config.dropout, self.training)
