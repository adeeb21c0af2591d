"""What a look at a subject can end in, other than an answer."""


class NotApplicable(Exception):
    """The law says nothing of this subject; the message says why."""


class NotUnderstood(ValueError):
    """The model cannot be called as a language model; the message says what it gave."""
