"""Optimizers: every parameter once (`optimizer_groups.py`), steps that are what they say (`optimizer_steps.py`),
and a state that is kept whole (`optimizer_state.py`).
"""

from trueformer.laws import optimizer_groups as optimizer_groups
from trueformer.laws import optimizer_state as optimizer_state
from trueformer.laws import optimizer_steps as optimizer_steps
