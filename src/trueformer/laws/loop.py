"""The training loop: gradients (`loop_gradients.py`), modes (`loop_modes.py`), progress (`loop_progress.py`)
and rates (`loop_rates.py`).
"""

from trueformer.laws import loop_gradients as loop_gradients
from trueformer.laws import loop_modes as loop_modes
from trueformer.laws import loop_progress as loop_progress
from trueformer.laws import loop_rates as loop_rates
