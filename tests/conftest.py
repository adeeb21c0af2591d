"""Every test runs with tensor shapes checked at call time: jaxtyping annotations, enforced by beartype."""

import jaxtyping

# Before anything imports the package: only modules imported under the hook are checked.
_hook = jaxtyping.install_import_hook("trueformer", "beartype.beartype")

import torch  # noqa: E402

# pytest-xdist runs a worker a core; threads inside workers would fight for the same cores.
torch.set_num_threads(1)
