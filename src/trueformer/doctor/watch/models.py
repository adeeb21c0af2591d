"""The models of a running script, to give parameters their names and to compare blocks of one build.

A model is the called module that holds all of an optimizer's parameters. Where no call shows one (a script may
call its parts), the outermost modules are searched among all live objects.
"""

import gc
import weakref
from collections import defaultdict
from collections.abc import Iterator

from torch import Tensor, nn

MOST_SEARCHES = 5
WRAPPERS = ("_orig_mod.", "module.")  # of torch.compile and of distributed data parallelism


class Models:
    """The outermost modules that hold parameters. They are not kept alive; `called` are those seen so far."""

    def __init__(self, called: "weakref.WeakSet[nn.Module]") -> None:
        self._called = called
        self._models: list[weakref.ref[nn.Module]] = []
        self._names: dict[int, tuple[weakref.ref[Tensor], str]] = {}
        self._searches = 0

    def _search(self) -> None:
        """Look through everything that is alive: this takes about 0.1 s, so it is done a few times at most."""
        if self._searches == MOST_SEARCHES:
            return
        self._searches += 1
        modules = [thing for thing in gc.get_objects() if issubclass(type(thing), nn.Module)]
        inside = {id(child) for module in modules for child in module._modules.values()}
        outermost = [m for m in modules if id(m) not in inside and any(True for _ in m.parameters())]
        self._models = [weakref.ref(module) for module in outermost]
        for module in outermost:
            self._learn_names(module)

    def _learn_names(self, module: nn.Module) -> None:
        for name, parameter in module.named_parameters():
            self._names[id(parameter)] = (weakref.ref(parameter), _plain(name))

    def holding(self, parameters: list[Tensor]) -> list[nn.Module]:
        """The models that have any of these parameters."""
        wanted = {id(p) for p in parameters}
        for module in self._called:
            if wanted <= {id(p) for p in module.parameters()}:
                return [module]
        if not self._known(wanted):
            self._search()
        return self._known(wanted)

    def _known(self, wanted: set[int]) -> list[nn.Module]:
        alive = [module for ref in self._models if (module := ref()) is not None]
        return [module for module in alive if any(id(p) in wanted for p in module.parameters())]

    def name(self, parameter: Tensor) -> str:
        """Its path in its model, or its shape where it has none."""
        for module in self.holding([parameter]):
            self._learn_names(module)
        known = self._names.get(id(parameter))
        if known is None or known[0]() is not parameter:
            return f"a parameter of shape {tuple(parameter.shape)} outside any module"
        return known[1]


def families(model: nn.Module) -> Iterator[dict[str, nn.Module]]:
    """Blocks of one build side by side, three or more: their paths and modules, in order."""
    for path, module in model.named_modules():
        alike: dict[tuple, dict[str, nn.Module]] = defaultdict(dict)
        for name, child in module.named_children():
            build = tuple((key, tuple(p.shape)) for key, p in child.named_parameters(remove_duplicate=False))
            if build:
                alike[(type(child), build)][_plain(f"{path}.{name}" if path else name)] = child
        yield from (family for family in alike.values() if len(family) >= 3)


def _plain(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.removeprefix(wrapper)
    return name
