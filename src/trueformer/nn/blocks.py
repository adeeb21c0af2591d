"""One transformer block: attention and a feed-forward layer, each with its norm and its residual.

Leaves out parallel blocks and cross-attention.

Shapes: B batch, T length, D d_model.
"""

from jaxtyping import Float
from torch import Tensor, nn

from trueformer.models.config import DecoderConfig
from trueformer.nn.attend import Mask
from trueformer.nn.attention import Attention, Cache
from trueformer.nn.dropout import dropout
from trueformer.nn.feed_forward import FeedForward
from trueformer.nn.norms import LayerNorm, RMSNorm
from trueformer.nn.plain import Backend
from trueformer.nn.rotary import Rotation


def make_norm(config: DecoderConfig, backend: Backend) -> RMSNorm | LayerNorm:
    """The norm the configuration names, d_model wide."""
    kind = RMSNorm if config.norm == "rmsnorm" else LayerNorm
    return kind(config.d_model, config.norm_eps, backend=backend)


class Block(nn.Module):
    """Pre-norm: x + f(norm(x)) (arXiv 2002.04745); post-norm: norm(x + f(x)) (arXiv 1706.03762)."""

    def __init__(self, config: DecoderConfig, layer: int, *, backend: Backend = "fast") -> None:
        super().__init__()
        self.pre = config.norm_placement == "pre"
        self.dropout = config.dropout
        self.attention_norm = make_norm(config, backend)
        self.attention = Attention(config, layer, backend=backend)
        self.feed_forward_norm = make_norm(config, backend)
        self.feed_forward = FeedForward(config)

    def forward(
        self,
        x_BTD: Float[Tensor, "B T D"],
        *,
        rotation: Rotation | None,
        mask: Mask | None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """One layer's change to the residual stream; arguments as in `Attention.forward`."""
        h_BTD = self.attention_norm(x_BTD) if self.pre else x_BTD
        h_BTD = self.attention(h_BTD, rotation=rotation, mask=mask, cache=cache)
        x_BTD = x_BTD + dropout(h_BTD, self.dropout, self.training)
        if not self.pre:
            x_BTD = self.attention_norm(x_BTD)
        h_BTD = self.feed_forward(self.feed_forward_norm(x_BTD) if self.pre else x_BTD)
        x_BTD = x_BTD + dropout(h_BTD, self.dropout, self.training)
        return x_BTD if self.pre else self.feed_forward_norm(x_BTD)
