"""The models of a running script: found once among all live objects, to give parameters their names.

Leaves out how they are called: `observe`.
"""

import gc
import weakref
from collections import defaultdict
from collections.abc import Iterator

from torch import Tensor, nn

WRAPPERS = ("_orig_mod.", "module.")  # of torch.compile and of distributed data parallelism


class Models:
    """The outermost modules that hold parameters. They are not kept alive."""

    def __init__(self) -> None:
        self._models: list[weakref.ref[nn.Module]] = []
        self._names: dict[int, tuple[weakref.ref[Tensor], str]] = {}
        self._searches = 0

    def search(self) -> None:
        """Look through everything that is alive: about 0.1 s, so it is done when a name is missing."""
        self._searches += 1
        modules = [thing for thing in gc.get_objects() if issubclass(type(thing), nn.Module)]
        inside = {id(child) for module in modules for child in module._modules.values()}
        outermost = [m for m in modules if id(m) not in inside and any(True for _ in m.parameters())]
        self._models = [weakref.ref(module) for module in outermost]
        for module in outermost:
            for name, parameter in module.named_parameters():
                self._names[id(parameter)] = (weakref.ref(parameter), _plain(name))

    def holding(self, parameters: list[Tensor]) -> list[nn.Module]:
        """The models that have any of these parameters."""
        if not self._models and parameters:
            self.search()
        wanted = {id(p) for p in parameters}
        alive = [module for ref in self._models if (module := ref()) is not None]
        return [module for module in alive if any(id(p) in wanted for p in module.parameters())]

    def name(self, parameter: Tensor) -> str:
        """Its path in its model, or its shape where it has none."""
        known = self._names.get(id(parameter))
        if (known is None or known[0]() is not parameter) and self._searches < 5:
            self.search()
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
