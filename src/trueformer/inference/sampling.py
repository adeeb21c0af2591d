"""From logits to the next token: filters in a fixed order, then one draw a row from the row's own generator.

The order is `SamplingConfig`'s: repetition penalty, temperature, top-k, top-p, min-p. Each row's filters and
random numbers are its own, so what a row gets never depends on its neighbours. `plain.py` has the readable
twin. Leaves out beams, and penalties by count.

Shapes: B batch, V vocabulary.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trueformer.inference.config import SamplingConfig

NEVER = float("-inf")


def penalise_repetition(
    logits_BV: Float[Tensor, "B V"], seen_BV: Bool[Tensor, "B V"], penalty_B: Float[Tensor, "B"]
) -> Float[Tensor, "B V"]:
    """Make seen tokens less likely: logits above 0 are divided, others multiplied (arXiv 1909.05858)."""
    penalty_B1 = penalty_B[:, None].to(logits_BV.dtype)
    penalised_BV = torch.where(logits_BV > 0, logits_BV / penalty_B1, logits_BV * penalty_B1)
    return torch.where(seen_BV, penalised_BV, logits_BV)


def scale_by_temperature(
    logits_BV: Float[Tensor, "B V"], temperature_B: Float[Tensor, "B"]
) -> Float[Tensor, "B V"]:
    """Logits / temperature, shifted so that each row's greatest is 0: no temperature above 0 overflows."""
    shifted_BV = logits_BV - logits_BV.amax(dim=-1, keepdim=True)
    return shifted_BV / temperature_B[:, None].to(logits_BV.dtype).clamp(min=1e-30)


def keep_top_k(logits_BV: Float[Tensor, "B V"], k_B: Int[Tensor, "B"]) -> Float[Tensor, "B V"]:
    """The k greatest logits of each row and any equal to the k-th; the others become -inf."""
    V = logits_BV.shape[-1]
    k_B1 = k_B.clamp(max=V)[:, None]
    greatest_BK = logits_BV.topk(int(k_B1.max()), dim=-1).values
    return logits_BV.masked_fill(logits_BV < greatest_BK.gather(-1, k_B1 - 1), NEVER)


def keep_top_p(logits_BV: Float[Tensor, "B V"], p_B: Float[Tensor, "B"]) -> Float[Tensor, "B V"]:
    """The smallest set of most likely tokens whose mass reaches p (arXiv 1904.09751); the others become -inf.

    The token whose mass makes the sum cross p belongs to that set: a token is dropped when the mass *before*
    it has already reached p. Example: masses [0.5, 0.3, 0.2] and p = 0.6 keep two tokens; p = 0.5 keeps one.
    """
    sorted_BV, order_BV = logits_BV.sort(dim=-1, descending=True, stable=True)
    mass_BV = sorted_BV.double().softmax(dim=-1)
    before_BV = mass_BV.cumsum(dim=-1) - mass_BV
    drop_BV = before_BV >= p_B[:, None]
    drop_BV[:, 0] = False
    return logits_BV.masked_fill(torch.zeros_like(drop_BV).scatter(-1, order_BV, drop_BV), NEVER)


def keep_min_p(logits_BV: Float[Tensor, "B V"], p_B: Float[Tensor, "B"]) -> Float[Tensor, "B V"]:
    """Tokens at least p times as likely as the row's likeliest (arXiv 2407.01082); the others become -inf."""
    ratio_BV = (logits_BV.double() - logits_BV.double().amax(dim=-1, keepdim=True)).exp()
    return logits_BV.masked_fill(ratio_BV < p_B[:, None], NEVER)


class Sampler:
    """The rows' settings as tensors and their generators: `sample` picks one token a row.

    A draw takes exactly one random number, whatever the filters, so a row's n-th token depends on its own
    seed and logits only.
    """

    def __init__(
        self,
        rows: Sequence[SamplingConfig],
        device: torch.device | str = "cpu",
        generators: list[torch.Generator] | None = None,
    ) -> None:
        assert rows, "a sampler needs at least one row"
        self.rows, self.device = list(rows), device

        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64, device=device)

        self.temperature_B = column([row.temperature for row in rows])
        self.top_p_B = column([row.top_p for row in rows])
        self.min_p_B = column([row.min_p for row in rows])
        self.penalty_B = column([row.repetition_penalty for row in rows])
        self.top_k_B = torch.tensor([row.top_k or 2**62 for row in rows], device=device)
        # On the CPU whatever the device, so that a seed means the same everywhere.
        self.generators = generators or [torch.Generator().manual_seed(row.seed) for row in rows]
        self.greedy_B = self.temperature_B == 0
        self.all_greedy = bool(self.greedy_B.all())
        self.uses = {
            "penalty": any(row.repetition_penalty != 1 for row in rows),
            "top_k": any(row.top_k is not None for row in rows),
            "top_p": any(row.top_p < 1 for row in rows),
            "min_p": any(row.min_p > 0 for row in rows),
        }

    def take(self, kept: Sequence[int]) -> "Sampler":
        """A sampler for some of the rows, whose random numbers go on where they were."""
        return Sampler(
            [self.rows[i] for i in kept], self.device, generators=[self.generators[i] for i in kept]
        )

    def filter(self, logits_BV: Float[Tensor, "B V"], seen_BV: Bool[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        """Logits after every filter, -inf where a token cannot be drawn; greedy rows take temperature 1."""
        if self.uses["penalty"]:
            logits_BV = penalise_repetition(logits_BV, seen_BV, self.penalty_B)
        logits_BV = scale_by_temperature(logits_BV, self.temperature_B.masked_fill(self.greedy_B, 1.0))
        if self.uses["top_k"]:
            logits_BV = keep_top_k(logits_BV, self.top_k_B)
        if self.uses["top_p"]:
            logits_BV = keep_top_p(logits_BV, self.top_p_B)
        if self.uses["min_p"]:
            logits_BV = keep_min_p(logits_BV, self.min_p_B)
        return logits_BV

    def sample(self, logits_BV: Float[Tensor, "B V"], seen_BV: Bool[Tensor, "B V"]) -> Int[Tensor, "B"]:
        """The next token of each row: the likeliest where greedy, else drawn from what the filters leave.

        Raises:
            FloatingPointError: a row of logits holds NaN, or nothing but -inf.
        """
        if self.all_greedy and not self.uses["penalty"]:
            likeliest = logits_BV.max(dim=-1)
            _refuse_not_finite(likeliest.values)
            return likeliest.indices
        filtered_BV = self.filter(logits_BV, seen_BV)
        likeliest = filtered_BV.max(dim=-1)
        _refuse_not_finite(likeliest.values)
        if self.all_greedy:
            return likeliest.indices
        return torch.where(self.greedy_B, likeliest.indices, draw(filtered_BV, self._uniform()))

    def _uniform(self) -> Float[Tensor, "B"]:
        """One number in [0, 1) a row, each from the row's own generator."""
        draws = [torch.rand((), dtype=torch.float64, generator=generator) for generator in self.generators]
        return torch.stack(draws).to(self.temperature_B.device)


def draw(logits_BV: Float[Tensor, "B V"], uniform_B: Float[Tensor, "B"]) -> Int[Tensor, "B"]:
    """The token in whose stretch of the cumulated probabilities `uniform_B` (in [0, 1)) falls.

    Example: probabilities [0.2, 0, 0.8] and 0.2 give token 2. A token of probability 0 is never drawn.
    """
    cumulated_BV = logits_BV.double().softmax(dim=-1).cumsum(dim=-1)
    target_B1 = uniform_B[:, None] * cumulated_BV[:, -1:]
    return torch.searchsorted(cumulated_BV, target_B1, right=True)[:, 0]


def _refuse_not_finite(greatest_B: Tensor) -> None:
    if not bool(greatest_B.isfinite().all()):
        bad = [i for i, ok in enumerate(greatest_B.isfinite().tolist()) if not ok]
        raise FloatingPointError(
            f"logits of rows {bad} are not finite: expected numbers; "
            "the weights are damaged, or training diverged"
        )
