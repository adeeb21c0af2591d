"""Whether what should learn has an optimizer, and every optimizer has the model's parameters."""

from collections import Counter
from collections.abc import Iterator

from torch import Tensor, nn

from trueformer.doctor.watch.models import families
from trueformer.doctor.watch.owners import Owner
from trueformer.doctor.watch.place import place
from trueformer.doctor.watch.rule import Rule
from trueformer.laws.law import Law, write


class Frozen(Rule):
    """Judges live/frozen."""

    law = write(
        Law(
            id="live/frozen",
            statement=(
                "Blocks of one build learn alike: none is frozen or left out while most of its equals learn."
            ),
            source=(
                "A stack of L equal blocks has one rule of training; fine-tuning freezes most, or the "
                "lowest ones."
            ),
            looks=(
                "Compares requires_grad, and membership in optimizers, of three or more equal modules side "
                "by side."
            ),
            tolerance=(
                "Legal: most are frozen (fine-tuning, adapters); the lowest are, together with an embedding."
            ),
            symptoms="Training works and ends a little worse; a block keeps its random weights.",
            causes=(
                "requires_grad left False after a probe; a filter on names that catches one block; a "
                "detach()."
            ),
            lesson=(
                "Of 12 blocks block 3 has requires_grad=False: 8 % of the network is noise, and the loss "
                "still falls."
            ),
        )
    )
    unjudged = "no model with three or more blocks of one build stepped"

    def prepare(self) -> None:
        self._suspects: list[tuple[str, Tensor, int, str]] = []
        self._silent: Counter[str] = Counter()

    def step_ends(self, owner: Owner) -> None:
        if owner.steps == 0:
            for model in self.run.models.holding(owner.parameters):
                for family in families(model):
                    self.judged += 1
                    self._judge_frozen(model, family)
                    self._suspect_left_out(family)
        if owner.steps < SILENT_STEPS:
            self._judge_silent(owner)

    def _judge_frozen(self, model: nn.Module, family: dict[str, nn.Module]) -> None:
        odd = _odd_ones({name: _trainable(block) for name, block in family.items()})
        lowest = list(family)[: len(odd)] == odd and _has_frozen_embedding(model)
        if odd and not lowest:
            self._accuse(odd, family, "requires_grad is False there")

    def _accuse(self, odd: list[str], family: dict[str, nn.Module], why: str) -> None:
        self.broke(
            f"{', '.join(odd)} of {len(family)} equal blocks cannot learn: {why}",
            measured=len(odd),
            bound=0,
            where=odd[0],
        )

    def _suspect_left_out(self, family: dict[str, nn.Module]) -> None:
        held = {id(p) for owner in self.run.owners.values() for p in owner.parameters}
        for name in _odd_ones({name: _held(block, held) for name, block in family.items()}):
            for p in family[name].parameters():
                if p.grad is not None and id(p) not in held:
                    self._suspects.append((name, p, p._version, place()))

    def backward_begins(self, roots: tuple[Tensor, ...]) -> None:
        suspects, self._suspects = self._suspects, []
        held = {id(p) for owner in self.run.owners.values() for p in owner.parameters} if suspects else set()
        for name, parameter, version, at in suspects:
            if parameter._version == version and id(parameter) not in held:
                self.broke(
                    f"{name} gets gradients, and no optimizer holds it, though its equals are held",
                    measured=1,
                    bound=0,
                    where=self.run.models.name(parameter),
                    step=self.run.done,
                    at=at,
                )
                return

    def _judge_silent(self, owner: Owner) -> None:
        """A block no gradient ever reaches, while each of its equals has had one at every step."""
        if all(p.grad is not None for p in owner.parameters):
            return
        for model in self.run.models.holding(owner.parameters):
            for family in families(model):
                mine = {n: b for n, b in family.items() if any(id(p) in owner.ids for p in b.parameters())}
                silent = [n for n, b in mine.items() if all(p.grad is None for p in b.parameters())]
                if len(silent) == 1 and len(mine) >= 3:
                    self._silent[silent[0]] += 1
                    if self._silent[silent[0]] == SILENT_STEPS:
                        self._accuse(silent, family, f"no gradient reached it in {SILENT_STEPS} steps")


SILENT_STEPS = 8  # an expert of a mixture, or a dropped layer, may miss one step


def _trainable(block: nn.Module) -> tuple[bool, ...]:
    return tuple(p.requires_grad for p in block.parameters())


def _held(block: nn.Module, held: set[int]) -> tuple[bool, ...]:
    return tuple(id(p) in held or not p.requires_grad for p in block.parameters())


def _odd_ones(patterns: dict[str, tuple[bool, ...]]) -> list[str]:
    """The few that lack something which most have."""
    usual, count = Counter(patterns.values()).most_common(1)[0]
    if count * 2 <= len(patterns):
        return []
    return [
        name
        for name, pattern in patterns.items()
        if len(pattern) == len(usual) and any(u and not p for u, p in zip(usual, pattern, strict=True))
    ]


def _has_frozen_embedding(model: nn.Module) -> bool:
    return any(isinstance(m, nn.Embedding) and not m.weight.requires_grad for m in model.modules())


class LeftOut(Rule):
    """Judges live/left-out."""

    law = write(
        Law(
            id="live/left-out",
            statement="Whatever gets a gradient is moved by some optimizer.",
            source="Gradients that nobody uses cost time and memory, and are rarely meant.",
            looks=(
                "After two steps, looks for parameters with a gradient that no optimizer holds and nothing "
                "has changed."
            ),
            tolerance=(
                "Advice: training a head alone, with the body's requires_grad left True, is legal and "
                "wasteful."
            ),
            symptoms="A layer keeps its random weights.",
            causes=(
                "An optimizer built from a list that misses a part; a layer added after the optimizer was "
                "built."
            ),
            lesson="Adam([p for n, p in model.named_parameters() if 'block' in n]) forgets the head.",
            advice=True,
        )
    )
    unjudged = "no torch optimizer stepped twice"

    def backward_begins(self, roots: tuple[Tensor, ...]) -> None:
        hand, run = self.run.hand, self.run
        if self.judged or hand.steps or max((o.steps for o in run.owners.values()), default=0) < 2:
            return
        self.judged = 1
        left = [p for p in hand.parameters if p.grad is not None]
        if left and hand.gradients.reached > 1:
            self.broke(
                f"{len(left)} parameters get gradients that no optimizer uses",
                measured=len(left),
                bound=0,
                where=run.models.name(left[0]),
                step=run.done,
            )


class ForeignParameters(Rule):
    """Judges live/foreign-parameters."""

    law = write(
        Law(
            id="live/foreign-parameters",
            statement="An optimizer holds the parameters of the model that is called, each in one optimizer.",
            source=(
                "torch.optim: parameters are held by identity, so a copy or a rebuilt layer is another "
                "parameter."
            ),
            looks="Compares which parameters backward reaches with those the optimizer holds.",
            tolerance="Exact. Extra parameters outside any module are legal while gradients reach them.",
            symptoms="The loss does not move at all, or one rebuilt layer does not learn.",
            causes=(
                "An optimizer built before deepcopy, before a layer was replaced, or from another instance."
            ),
            lesson=(
                "opt = Adam(model.parameters()); model = deepcopy(model): every step moves weights nobody "
                "calls."
            ),
        )
    )
    unjudged = "no torch optimizer stepped"

    def step_begins(self, owner: Owner) -> None:
        for other in self.run.owners.values():
            if other is owner or not other.ids & owner.ids or other.steps == 0:
                continue
            other.gradients.look()
            twice = [p for p in other.gradients.used() if id(p) in owner.ids]
            if twice:
                self.broke(
                    f"{other} has stepped with this gradient already, and {owner} steps with it again",
                    measured=2,
                    bound=1,
                    where=self.run.models.name(twice[0]),
                )

    def step_ends(self, owner: Owner) -> None:
        hand = self.run.hand
        if owner.by_hand or not self.run.backwards:
            return
        self.judged += 1
        if not hand.gradients.reached or hand.steps:
            return
        if owner.gradients.reached == 0 and all(p.grad is None for p in owner.parameters):
            self.broke(
                f"gradients reach the model, and none of the {len(owner.parameters)} parameters held here",
                measured=0,
                bound=1,
                where=self.run.models.name(hand.parameters[0]),
            )
        elif owner.steps == 0:
            self._judge_rebuilt(owner)

    def _judge_rebuilt(self, owner: Owner) -> None:
        called = {id(p) for root in self.run.roots for p in root.parameters()}
        lost = [p for p in owner.parameters if p.grad is None and id(p) not in called]
        for ours, theirs in _same_shapes(lost, self.run.hand.parameters):
            self.broke(
                "the optimizer holds a parameter of this shape that the model no longer has",
                measured=len(lost),
                bound=0,
                where=f"{self.run.models.name(theirs)} {tuple(ours.shape)}",
            )
            return


def _same_shapes(lost: list[Tensor], free: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    yield from ((a, b) for a in lost for b in free if b.grad is not None and a.shape == b.shape)
