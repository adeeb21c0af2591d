"""What a reply looks like in OpenAI's JSON, whole or in chunks.

Two things are ours: `parts`, where tools were used (text, tool_call and tool_result in order), and `seed`,
with which the same request gives the same reply. Leaves out when which is sent (`stream.py`).
"""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from trueformer.inference.reply import Piece, Reply
from trueformer.inference.server.asked import Asked
from trueformer.inference.server.logprobs import ChatLogprobs, TextLogprobs
from trueformer.inference.service import Service
from trueformer.tokenization.conversations import Part, Text, ToolCall

Json = dict[str, Any]
FINISH: Mapping[str | None, str | None] = {"context": "length"}  # the other reasons are OpenAI's words


class Answers:
    """Makes the JSON of one request's answer; `kind` is what was asked for."""

    def __init__(self, kind: Literal["chat", "text"], name: str, asked: Asked, service: Service) -> None:
        self._chat, self._asked, self._name = kind == "chat", asked, name
        self._created = int(time.time())
        self._id = f"{'chatcmpl' if self._chat else 'cmpl'}-{secrets.token_hex(12)}"
        self._clients_tools = service.box is None  # then the client is to answer the calls
        logprobs = ChatLogprobs if self._chat else TextLogprobs
        self._logprobs = [logprobs(service.tokenizer) for _ in asked.requests]

    def whole(self, replies: Sequence[Reply], pieces: Sequence[Sequence[Piece]], tokens: int) -> Json:
        """The answer in one, from all pieces of each choice; `tokens` were written."""
        choices = [self._choice(i, reply, pieces[i]) for i, reply in enumerate(replies)]
        return self._around("", choices) | {"usage": self._usage(tokens)}

    def opening(self) -> list[Json]:
        """The chunks that a stream begins with."""
        delta = {"role": "assistant", "content": ""}
        n = len(self._asked.requests) if self._chat else 0
        return [
            self._chunk({"index": i, "delta": delta, "logprobs": None, "finish_reason": None})
            for i in range(n)
        ]

    def chunk(self, index: int, piece: Piece) -> Json:
        """The chunk of a stream that tells this piece."""
        choice: Json = {
            "index": index,
            "logprobs": self._probabilities(index, piece),
            "finish_reason": FINISH.get(piece.reason, piece.reason),
        }
        if not self._chat:
            return self._chunk(choice | {"text": piece.text})
        delta: Json = {"content": piece.text} if piece.text else {}
        if piece.part is not None:
            delta["parts"] = [_part(piece.part)]
        if isinstance(piece.part, ToolCall) and self._clients_tools:
            delta["tool_calls"] = [{"index": 0} | _tool_call(piece.part)]
        return self._chunk(choice | {"delta": delta})

    def closing(self, tokens: int) -> Json:
        """The chunk that tells a stream's usage."""
        return self._around(".chunk", []) | {"usage": self._usage(tokens)}

    def _choice(self, index: int, reply: Reply, pieces: Sequence[Piece]) -> Json:
        reason = pieces[-1].reason
        tokens = tuple(token for piece in pieces for token in piece.tokens)
        choice: Json = {
            "index": index,
            "logprobs": self._probabilities(index, Piece(text=reply.text, tokens=tokens)),
            "finish_reason": FINISH.get(reason, reason),
        }
        return choice | ({"message": self._message(reply)} if self._chat else {"text": reply.text})

    def _message(self, reply: Reply) -> Json:
        message: Json = {"role": "assistant", "content": reply.text, "refusal": None}
        calls = [part for part in reply.parts if isinstance(part, ToolCall)]
        if calls:
            message["parts"] = [_part(part) for part in reply.parts]
        if calls and self._clients_tools:
            message |= {"content": reply.text or None, "tool_calls": [_tool_call(call) for call in calls]}
        return message

    def _probabilities(self, index: int, piece: Piece) -> Json | None:
        if self._asked.requests[index].logprobs is None or not piece.tokens:
            return None
        return self._logprobs[index].of(piece.tokens)

    def _usage(self, tokens: int) -> Json:
        """Results of tools are among the tokens of the completion."""
        prompt = self._asked.prompt_tokens
        return {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}

    def _chunk(self, choice: Json) -> Json:
        return self._around(".chunk", [choice]) | {"usage": None}

    def _around(self, suffix: str, choices: list[Json]) -> Json:
        return {
            "id": self._id,
            "object": f"chat.completion{suffix}" if self._chat else "text_completion",
            "created": self._created,
            "model": self._name,
            "seed": self._asked.seed,
            "choices": choices,
        }


def _part(part: Part) -> Json:
    if isinstance(part, ToolCall):
        return {"type": "tool_call", "name": part.name, "input": part.input}
    return {"type": "text" if isinstance(part, Text) else "tool_result", "text": part.text}


def _tool_call(call: ToolCall) -> Json:
    arguments = json.dumps({"input": call.input})
    function = {"name": call.name, "arguments": arguments}
    return {"id": f"call_{secrets.token_hex(8)}", "type": "function", "function": function}
