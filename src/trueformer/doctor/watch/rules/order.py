"""Clear, backward, clip, step: whether a training step's parts come in that order."""

from torch import Tensor

from trueformer.doctor.watch.owners import Owner
from trueformer.doctor.watch.place import place
from trueformer.doctor.watch.rule import Rule
from trueformer.laws.law import Law, write

MEASURES_ONLY = 1e4  # a bound so large that the call is there to read the norm


class ZeroGrad(Rule):
    """Judges live/zero-grad."""

    law = write(
        Law(
            id="live/zero-grad",
            statement="No update is made with gradients that an earlier update has used already.",
            source="g_t = ∇L(w_t): an optimizer's step is a function of this step's gradient alone.",
            looks=(
                "Follows each .grad by identity and version from one step to the next; values are read to "
                "exclude zeros."
            ),
            tolerance=(
                "Exact. Any way of clearing counts, at any time between a step and the next one's backward."
            ),
            symptoms=(
                "The loss falls for a few steps, then grows or oscillates; gradient norms rise with the step."
            ),
            causes=(
                "A forgotten optimizer.zero_grad(); zero_grad() between backward() and step(); clearing "
                "another model."
            ),
            lesson=(
                "Backward adds to .grad. After step 1 a gradient of 2 stays there; the 3 of step 2 makes it"
                " 5, and 5 is applied."
            ),
        )
    )
    unjudged = "no optimizer stepped twice"

    def prepare(self) -> None:
        self._places: dict[int, str] = {}

    def backward_ends(self, roots: tuple[Tensor, ...]) -> None:
        for owner in self.run.all_owners():
            if owner.gradients.stale():
                self._places.setdefault(id(owner), place())

    def step_begins(self, owner: Owner) -> None:
        self._judge(owner)
        self.judged += owner.steps > 0

    def step_ends(self, owner: Owner) -> None:
        self._judge(owner)  # a closure runs backward inside the step
        self._places.pop(id(owner), None)

    def _judge(self, owner: Owner) -> None:
        if id(owner) not in self._places:
            return
        at = self._places.pop(id(owner))
        stale = owner.gradients.stale()
        if stale:
            self.broke(
                "backward added to gradients that the last step had used: they were not cleared in between",
                measured=owner.gradients.pending + 1,
                bound=owner.gradients.pending,
                where=self.run.models.name(stale[0]),
                at=at,
            )


class ClipOrder(Rule):
    """Judges live/clip-order."""

    law = write(
        Law(
            id="live/clip-order",
            statement=(
                "Gradients are clipped whole: after the last backward, in their true scale, before the step."
            ),
            source=(
                "Pascanu et al. 2013, arXiv 1211.5063: the norm that is clipped is that of the gradient "
                "applied."
            ),
            looks="Sees every clip with the gradients it is given, and what happened since the last step.",
            tolerance="Exact. A bound of 10⁴ or more is taken for a way to read the norm.",
            symptoms="Clipping has no effect: spikes in the loss stay, though the log shows a bounded norm.",
            causes=(
                "Clip after step(); before unscale_(); after every micro-batch; an exhausted generator of "
                "parameters."
            ),
            lesson=(
                "With norm 40 and bound 1, a clip after the step divides a gradient by 40 that nobody will "
                "use."
            ),
        )
    )
    unjudged = "no gradient was clipped"

    def prepare(self) -> None:
        self._backward_at = ""
        self._between: dict[int, tuple[int, str, str]] = {}  # owner: pending, backward before, clip
        self._unscaled: set[int] = set()

    def clip_begins(self, parameters: list[Tensor], bound: object) -> None:
        self.judged += 1
        if not parameters:
            self.broke("the clip was given no parameter: a generator that was used up?", measured=0, bound=1)
            return
        owner = self.run.owner_of(parameters[0])
        if owner is None or float(bound) >= MEASURES_ONLY:  # type: ignore[arg-type]
            return
        owner.gradients.look()
        if owner.gradients.idle and owner.backwards == self.run.backwards:
            self._no_effect(owner)
        elif self.run.scaling and self.run.scale != 1 and id(owner) not in self._unscaled:
            self.broke(
                f"clipped gradients that still carry the scale {self.run.scale:g}: call unscale_ first",
                measured=self.run.scale,
                bound=1,
            )

    def _no_effect(self, owner: Owner) -> None:
        when = "after the step" if owner.steps else "before any backward"
        self.broke(f"clipped {when}: no update will use these gradients", measured=0, bound=1)

    def clip_ends(self, parameters: list[Tensor], bound: object, norm: object) -> None:
        owner = self.run.owner_of(parameters[0]) if parameters else None
        if owner is None or not self.run.close_look or not isinstance(norm, Tensor):
            return
        if float(norm) > float(bound) and not owner.gradients.idle:  # type: ignore[arg-type]
            self._between[id(owner)] = (owner.gradients.pending, self._backward_at, place())

    def backward_begins(self, roots: tuple[Tensor, ...]) -> None:
        self._backward_at = place()
        for owner in self.run.all_owners():
            pending, before, _ = self._between.get(id(owner), (0, "", ""))
            if owner.gradients.pending == 0 or before != self._backward_at or not pending:
                self._between.pop(id(owner), None)

    def step_begins(self, owner: Owner) -> None:
        pending, _, at = self._between.pop(id(owner), (0, "", ""))
        more = owner.gradients.pending - pending
        if pending and more > 0:
            self.broke(
                f"clipped after {pending} of {owner.gradients.pending} backward passes, not after the last",
                measured=more,
                bound=0,
                at=at,
            )

    def scaler_unscales(self, owner: Owner) -> None:
        self._unscaled.add(id(owner))

    def scaler_updates(self, scale: float | None) -> None:
        self._unscaled.clear()


class ClipPart(Rule):
    """Judges live/clip-part."""

    law = write(
        Law(
            id="live/clip-part",
            statement="Where an optimizer's gradients are clipped, all of them are.",
            source="Pascanu et al. 2013, arXiv 1211.5063: the global norm keeps the direction of the update.",
            looks="Compares the parameters given to clips with those of the optimizer that steps next.",
            tolerance="Advice: some leave a part out on purpose.",
            symptoms="Spikes in the loss that clipping should have prevented.",
            causes="Clipping one submodule; a list of parameters made before others were added.",
            lesson=(
                "clip_grad_norm_(model.head.parameters(), 1.0) leaves the body's gradient as large as it is."
            ),
            advice=True,
        )
    )
    unjudged = "no gradient was clipped"

    def prepare(self) -> None:
        self._clipped: set[int] = set()
        self._at = ""

    def clip_begins(self, parameters: list[Tensor], bound: object) -> None:
        self._clipped |= {id(p) for p in parameters}
        self._at = place()

    def step_begins(self, owner: Owner) -> None:
        mine = self._clipped & owner.ids
        if mine:
            self.judged += 1
            left = [p for p in owner.parameters if p.grad is not None and id(p) not in mine]
            if left:
                self.broke(
                    f"{len(left)} of {len(owner.parameters)} parameters were not clipped",
                    measured=len(left),
                    bound=0,
                    where=self.run.models.name(left[0]),
                    at=self._at,
                )
        self._clipped -= mine
