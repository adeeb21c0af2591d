"""Data: what is in the batches (`data_ids.py`), in what order they come (`data_order.py`), to which of several
processes (`data_ranks.py`), and what became of documents (`data_documents.py`) and conversations (`data_chats.py`).
"""

from trueformer.laws import data_chats as data_chats
from trueformer.laws import data_documents as data_documents
from trueformer.laws import data_ids as data_ids
from trueformer.laws import data_order as data_order
from trueformer.laws import data_ranks as data_ranks
