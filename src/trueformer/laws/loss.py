"""The loss: of the right targets (`loss_targets.py`) and documents (`loss_documents.py`), and the cross-entropy of
them (`loss_values.py`).

Judged is what is minimised: the owner's `loss`, of a model and a batch or of logits and targets, or the model's own.
"""

from trueformer.laws import loss_documents as loss_documents
from trueformer.laws import loss_targets as loss_targets
from trueformer.laws import loss_values as loss_values
