"""Chat templates: the same text as transformers renders, and no way out of the sandbox."""

import pytest

from trueformer.tokenization.chat_template import render_chat

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'"
    " + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_chatml_ends_where_the_reply_begins():
    text = render_chat(CHATML, [{"role": "user", "content": "Hi {{ 1 + 1 }}"}])
    assert text == "<|im_start|>user\nHi {{ 1 + 1 }}<|im_end|>\n<|im_start|>assistant\n"


def test_a_template_may_refuse_with_its_own_words():
    with pytest.raises(ValueError, match="roles must alternate"):
        render_chat("{{ raise_exception('roles must alternate') }}", [])


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ messages.__init__.__globals__ }}",
        "{% if %}",
    ],
)
def test_a_hostile_or_broken_template_is_refused(template):
    with pytest.raises(ValueError, match="chat template failed"):
        render_chat(template, [{"role": "user", "content": "x"}])
