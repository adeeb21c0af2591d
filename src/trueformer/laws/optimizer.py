"""Optimizers: every parameter once (`optimizer_groups.py`), and steps that are what they say (`optimizer_steps.py`)."""

from trueformer.laws import optimizer_groups as optimizer_groups
from trueformer.laws import optimizer_steps as optimizer_steps
