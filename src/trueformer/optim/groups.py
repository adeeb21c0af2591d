"""Which parameter belongs to which optimizer group: matrices, embeddings, head, vectors.

Made once for each optimizer, by module type and name, and asserted complete and disjoint, so that no
parameter is left out, stepped twice, or handed to the optimizer of another group. Leaves out frozen
parameters: they get no state.
"""

from torch import nn

Named = tuple[str, nn.Parameter]
GROUPS = ("matrices", "embeddings", "head", "vectors")


def plain_name(name: str) -> str:
    """A parameter's name without what `torch.compile` and DDP add: `module._orig_mod.x` gives `x`."""
    return name.replace("_orig_mod.", "").removeprefix("module.")


def parameter_groups(model: nn.Module) -> dict[str, list[Named]]:
    """Every trainable parameter once, as `{group: [(name, parameter)]}` with the groups of `GROUPS`.

    A head tied to the embedding is one parameter and counts as an embedding.

    Raises:
        ValueError: nothing to train, or a parameter with more than two axes.
    """
    owners = {plain_name(name): module for name, module in model.named_modules(remove_duplicate=False)}
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.requires_grad:
            names.setdefault(parameter, []).append(plain_name(name))
    if not names:
        raise ValueError("the model has no trainable parameter: set requires_grad on those to train")
    groups: dict[str, list[Named]] = {group: [] for group in GROUPS}
    for parameter, aliases in names.items():
        kinds = [_kind(name, parameter, owners) for name in aliases]
        kind = "embeddings" if "embeddings" in kinds else kinds[0]
        groups[kind].append((aliases[kinds.index(kind)], parameter))
    _assert_partition(model, groups)
    return groups


def _kind(name: str, parameter: nn.Parameter, owners: dict[str, nn.Module]) -> str:
    if parameter.ndim > 2:
        raise ValueError(
            f"{name} has shape {tuple(parameter.shape)}: expected one or two axes; store it as a matrix"
        )
    owner = name.rpartition(".")[0]
    if isinstance(owners.get(owner), nn.Embedding):
        return "embeddings"
    if parameter.ndim < 2:
        return "vectors"
    return "head" if owner.rpartition(".")[2] == "head" else "matrices"


def _assert_partition(model: nn.Module, groups: dict[str, list[Named]]) -> None:
    grouped = [id(parameter) for members in groups.values() for _, parameter in members]
    trainable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert len(grouped) == len(set(grouped)), "a parameter is in two groups"
    assert set(grouped) == trainable, "the groups miss a trainable parameter"
