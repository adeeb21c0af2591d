"""From a batch of tokens to the number that is minimised: the model's hidden states, then the chunked loss.

One module, so that `torch.compile` and DDP each wrap one thing, and logits never leave it. Leaves out the
mean: the sum over target tokens comes out, and `accumulate` divides it by the count of the whole step.

Shapes: B batch, T query length.
"""

from jaxtyping import Float, Int
from torch import Tensor, nn

from trueformer.models.decoder import DecoderLM
from trueformer.training.config import LoopConfig
from trueformer.training.loss import token_loss


class Objective(nn.Module):
    """The summed training loss of a model, in nats, with the loop's z-loss and label smoothing."""

    def __init__(self, model: DecoderLM, config: LoopConfig) -> None:
        super().__init__()
        self.model = model
        self.chunk = config.loss_chunk
        self.z_loss = config.z_loss
        self.label_smoothing = config.label_smoothing

    def forward(
        self,
        inputs_BT: Int[Tensor, "B T"],
        targets_BT: Int[Tensor, "B T"],
        document_BT: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss summed over all targets that are not IGNORE."""
        hidden_BTD = self.model.hidden(inputs_BT, document_BT=document_BT)
        return token_loss(
            hidden_BTD,
            self.model.head_weight,
            targets_BT,
            softcap=self.model.config.logit_softcap,
            chunk=self.chunk,
            z_loss=self.z_loss,
            label_smoothing=self.label_smoothing,
        ).total
