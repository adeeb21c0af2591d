"""The training loop: gradients (`loop_gradients.py`), modes (`loop_modes.py`) and progress (`loop_progress.py`)."""

from trueformer.laws import loop_gradients as loop_gradients
from trueformer.laws import loop_modes as loop_modes
from trueformer.laws import loop_progress as loop_progress
