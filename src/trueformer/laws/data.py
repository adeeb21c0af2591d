"""Data: what is in the batches (`data_ids.py`), and in what order they come (`data_order.py`)."""

from trueformer.laws import data_ids as data_ids
from trueformer.laws import data_order as data_order
