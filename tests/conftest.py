"""Every test runs with tensor shapes checked at call time: jaxtyping annotations, enforced by beartype."""

import signal

import jaxtyping
import torch

# Before anything imports the package: only modules imported under the hook are checked.
jaxtyping.install_import_hook("trueformer", "beartype.beartype")

# Dynamo cannot trace the checker and would break the graph; code that it traces ran checked when run eagerly.
type(jaxtyping.config).jaxtyping_disable = property(lambda config: torch.compiler.is_compiling())

# pytest-xdist runs a worker a core; threads inside workers would fight for the same cores.
torch.set_num_threads(1)

# What a shell starts in the background ignores SIGINT, and so would every program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
