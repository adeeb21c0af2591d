"""The marks of the chat formats known token for token, ours and ChatML, and the same as Jinja templates.

Leaves out rendering (`chat_format.py`).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from trueformer.tokenization.chat_template import render_chat
from trueformer.tokenization.conversations import Role
from trueformer.tokenization.protocol import BOS


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The marks of a chat format: a turn is its role's token and heading, the text, `end` and `after`."""

    start: str | None  # the token a conversation begins with
    role_token: Mapping[Role, str]
    heading: Mapping[Role, str]  # text right after the role's token
    end: str
    after: str = ""  # text after the end of a turn
    default_system: str | None = None  # said where a conversation has no system message

    @property
    def tokens(self) -> tuple[str, ...]:
        """Names of the special tokens it needs, tools left out."""
        return tuple(dict.fromkeys([*self.role_token.values(), self.end]))


OURS = Layout(
    start=BOS,
    role_token={"system": "<|system_turn|>", "user": "<|user_turn|>", "assistant": "<|assistant_turn|>"},
    heading={"system": "", "user": "", "assistant": ""},
    end="<|end_of_turn|>",
)
CHATML = Layout(
    start=None,
    role_token={"system": "<|im_start|>", "user": "<|im_start|>", "assistant": "<|im_start|>"},
    heading={"system": "system\n", "user": "user\n", "assistant": "assistant\n"},
    end="<|im_end|>",
    after="\n",
)


def chatml_layout(template: str) -> Layout | None:
    """ChatML with the template's own default system message, if that is what the template renders."""
    said: list[dict[str, str]] = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "U"},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "V"},
    ]
    try:
        whole, bare = render_chat(template, said), render_chat(template, said[1:], reply=False)
    except ValueError:
        return None
    turns = [f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in said]
    default = bare.removesuffix("".join(turns[1:]))
    if whole != "".join(turns) + "<|im_start|>assistant\n" or bare == default:
        return None
    system_text = default.removeprefix("<|im_start|>system\n").removesuffix("<|im_end|>\n")
    known = default == "" or default == f"<|im_start|>system\n{system_text}<|im_end|>\n"
    if not known:
        return None
    return dataclasses.replace(CHATML, default_system=system_text or None)


# A tool's result is a message of role "tool" to other programs; here it is part of the assistant's turn, so
# the turn is opened before the first of these and closed after the last.
_JINJA = """\
{{{{- {start} -}}}}
{{%- if messages[0]['role'] != 'system' -%}}{{{{- {default} -}}}}{{%- endif -%}}
{{%- set heads = {heads} -%}}
{{%- for m in messages -%}}
{{%- if m['role'] == 'tool' -%}}{{{{- '<|output_start|>' + m['content'] + '<|output_end|>' -}}}}
{{%- else -%}}
{{%- if not (m['role'] == 'assistant' and loop.previtem is defined and loop.previtem['role'] == 'tool') -%}}
{{{{- heads[m['role']] -}}}}
{{%- endif -%}}
{{{{- m['content'] or '' -}}}}
{{%- for call in m.get('tool_calls') or [] -%}}
{{%- set asked = call['function'] -%}}
{{{{- '<|call_start|>' + asked['name'] + ' ' + asked['arguments']['input'] + '<|call_end|>' -}}}}
{{%- endfor -%}}
{{%- endif -%}}
{{%- set next = loop.nextitem['role'] if loop.nextitem is defined else '' -%}}
{{%- if next != 'tool' and not (m['role'] == 'tool' and next == 'assistant') -%}}
{{{{- {end} -}}}}
{{%- endif -%}}
{{%- endfor -%}}
{{%- if add_generation_prompt -%}}{{{{- heads['assistant'] -}}}}{{%- endif -%}}
"""


def jinja_template(layout: Layout) -> str:
    """The layout as a Jinja template, for other programs that read the tokenizer; tools included."""
    heads = {role: layout.role_token[role] + layout.heading[role] for role in layout.role_token}
    end = layout.end + layout.after
    default = "" if layout.default_system is None else heads["system"] + layout.default_system + end
    start = "''" if layout.start is None else "bos_token"
    return _JINJA.format(start=start, heads=repr(heads), end=repr(end), default=repr(default))
