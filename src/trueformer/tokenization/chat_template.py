"""Messages to the text a chat model was tuned on, by the Jinja template that came with it.

The template is a stranger's program: it runs in Jinja's sandbox, without files, attributes of our objects or
changes to what it is given. Leaves out tokens and loss masks (`chat_format.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment


def render_chat(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    reply: bool = True,
    bos: str = "",
    eos: str = "",
) -> str:
    """The text of `messages` (each with role and content); with `reply`, up to where the assistant's begins.

    Raises:
        ValueError: the template cannot be read, or refuses these messages; says why.
    """

    def refuse(message: str) -> NoReturn:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    try:
        return environment.from_string(template).render(
            messages=list(messages),
            add_generation_prompt=reply,
            bos_token=bos,
            eos_token=eos,
            raise_exception=refuse,
        )
    except TemplateError as error:
        raise ValueError(f"the model's chat template failed: {error}") from error
