"""What a run reads: a corpus, or conversations, and how they are cut into rows."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """A corpus and how it becomes batches.

    Raises:
        ValueError: a size or fraction that cannot work.
    """

    source: str = "shakespeare"  # a named corpus, a file, a folder or a glob
    validation: str | None = None  # a separate source; None: documents of `source` picked by hash
    val_fraction: float = 0.1
    tokenizer: str = (
        "bpe"  # "bpe" or "char" (trained on the training documents), or a path to a tokenizer.json
    )
    vocab_size: int = 4096  # of a BPE trained here
    cache: str | None = None  # where token shards are kept; None: ~/.cache/trueformer
    seq_len: int = 256
    document_mask: bool = False  # tokens attend within their own document only

    def __post_init__(self) -> None:
        if self.seq_len < 1:
            raise ValueError(f"seq_len is {self.seq_len}: expected at least 1 token a row")
        if not 0 < self.val_fraction < 1:
            raise ValueError(
                f"val_fraction is {self.val_fraction}: expected a share between 0 and 1, such as 0.1"
            )
        if self.tokenizer == "bpe" and self.vocab_size < 259:
            raise ValueError(
                f"vocab_size is {self.vocab_size}: expected at least 259, for 256 bytes and 3 special tokens"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatConfig:
    """Conversations and how they become batches.

    Raises:
        ValueError: no source, or a size or fraction that cannot work.
    """

    sources: tuple[str, ...]  # names of tasks, or JSONL files of conversations
    val_fraction: float = 0.05  # of the conversations, picked by hash
    seq_len: int = 256
    skip_bad: int = 0  # lines of a file that may be unreadable

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("there are no conversations to learn from: name a task or a JSONL file")
        if self.seq_len < 1:
            raise ValueError(f"seq_len is {self.seq_len}: expected at least 1 token a row")
        if not 0 < self.val_fraction < 1:
            raise ValueError(
                f"val_fraction is {self.val_fraction}: expected a share between 0 and 1, such as 0.05"
            )
        if self.skip_bad < 0:
            raise ValueError(f"skip_bad is {self.skip_bad}: expected 0 or more lines")
