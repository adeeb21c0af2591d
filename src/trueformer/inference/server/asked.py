"""From a body to the engine's requests: one for each choice of each prompt, with its own seed.

A refusal says what to send. Making a request reads the whole prompt, so it is done outside the event loop.
Leaves out running them (`generation.py`).
"""

import secrets
from dataclasses import dataclass, replace

from trueformer.data.chats.openai_messages import from_openai
from trueformer.inference.config import SamplingConfig
from trueformer.inference.engine.request import Request
from trueformer.inference.server.errors import ApiError
from trueformer.inference.server.schemas import MOST_CHOICES, SEEDS, Body, ChatBody, CompletionBody
from trueformer.inference.service import Service
from trueformer.tokenization.conversations import ToolResult

COMPLETION_TOKENS = 16  # OpenAI's, where max_tokens is not given
PROMPT = "expected a string, token ids, or a list of either"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The requests of a body, in the order of the choices that answer them."""

    requests: tuple[Request, ...]
    stops: tuple[str, ...]
    seed: int  # of the first; the others follow on
    prompt_tokens: int  # each prompt once, however many choices it gets


def ask_chat(service: Service, body: ChatBody) -> Asked:
    """The requests of a conversation.

    Raises:
        ApiError: it cannot be answered as asked; says what to send.
    """
    _check_tools(service, body)
    seed, n = _seed(body), body.n or 1
    most = body.max_completion_tokens or body.max_tokens
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    try:
        conversation = from_openai(body.messages)
        last = conversation.messages[-1]
        if last.role != "user" and not isinstance(last.parts[-1], ToolResult):
            raise ValueError(
                f"the last message is of the {last.role}: expected the user's, to be answered, or a tool's"
            )
        first = service.chat_request(
            conversation, _sampling(body, seed), max_new_tokens=most, logprobs=logprobs
        )
    except ValueError as error:
        raise ApiError(400, str(error)) from error
    _check_room(service, first, most)
    others = [replace(first, sampling=_sampling(body, seed + i)) for i in range(1, n)]
    return Asked(requests=(first, *others), stops=body.stops, seed=seed, prompt_tokens=len(first.prompt))


def ask_completion(service: Service, body: CompletionBody) -> Asked:
    """The requests of one or several prompts; errors as for `ask_chat`."""
    seed, n = _seed(body), body.n or 1
    try:
        prompts = _prompts(service, body.prompt)
        if len(prompts) * n > MOST_CHOICES:
            raise ValueError(f"{len(prompts)} prompts × n {n} are too many: expected at most {MOST_CHOICES}")
        requests = [_text_request(service, body, prompt, seed) for prompt in prompts]
    except ValueError as error:
        raise ApiError(400, str(error)) from error
    for request in requests:
        _check_room(service, request, body.max_tokens)
    choices = [request for request in requests for _ in range(n)]
    choices = [replace(request, sampling=_sampling(body, seed + i)) for i, request in enumerate(choices)]
    prompt_tokens = sum(map(len, prompts))
    return Asked(requests=tuple(choices), stops=body.stops, seed=seed, prompt_tokens=prompt_tokens)


def _text_request(service: Service, body: CompletionBody, prompt: list[int], seed: int) -> Request:
    room = max(1, service.context_length - len(prompt))
    most = body.max_tokens or min(COMPLETION_TOKENS, room)
    return service.text_request(prompt, _sampling(body, seed), max_new_tokens=most, logprobs=body.logprobs)


def _sampling(body: Body, seed: int) -> SamplingConfig:
    names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
    given = {name: getattr(body, name) for name in names if getattr(body, name) is not None}
    return SamplingConfig(**given, seed=seed % SEEDS)


def _seed(body: Body) -> int:
    # Small enough that a browser's numbers hold it exactly: it is told back.
    return secrets.randbelow(2**31) if body.seed is None else body.seed


def _check_room(service: Service, request: Request, most: int | None) -> None:
    """The prompt fits, with as many tokens as were asked for."""
    n, room = len(request.prompt), service.context_length
    try:
        service.engine.check(request)
    except ValueError as error:
        raise ApiError(400, str(error), code="context_length_exceeded") from error
    if most is not None and n + most > room:
        raise ApiError(
            400,
            f"max_tokens is {most} and the prompt has {n} tokens: expected at most {room - n} tokens more, "
            f"since the context holds {room}; send a smaller max_tokens or a shorter prompt",
            param="max_tokens",
            code="context_length_exceeded",
        )


def _check_tools(service: Service, body: ChatBody) -> None:
    """Tools that a client declares are the server's own, or the ones the client answers itself."""
    if service.box is None and service.marks is not None:
        return
    known = service.box.names if service.box is not None else []
    strange = [name for name in body.tool_names if name not in known]
    if strange:
        raise ApiError(
            400,
            f"there is no tool {strange[0]!r}: this server runs its own ({', '.join(known) or 'none'}), "
            "and the model knows no others; leave tools out",
            param="tools",
        )


def _prompts(service: Service, prompt: object) -> list[list[int]]:
    """Token ids of each prompt."""
    several = prompt if _several(prompt) else [prompt]
    assert isinstance(several, list)
    if len(several) > MOST_CHOICES:
        raise ValueError(f"prompt has {len(several)} entries: expected at most {MOST_CHOICES}")
    return [_ids(service, one) for one in several]


def _several(prompt: object) -> bool:
    return isinstance(prompt, list) and any(isinstance(one, str | list) for one in prompt)


def _ids(service: Service, prompt: object) -> list[int]:
    if isinstance(prompt, str):
        adds_bos = getattr(service.tokenizer, "adds_bos", True)
        return service.tokenizer.encode(prompt, bos=adds_bos)
    if isinstance(prompt, list) and all(type(token) is int for token in prompt):
        return prompt
    raise ValueError(f"prompt is neither text nor token ids: {PROMPT}")
