"""Many short requests at a real server, some cut off, some malformed: nothing may fail but what should.

    python benchmarks/load.py --requests 10000

A tiny model of random weights is served by `trueformer serve` in a process of its own, and 32 clients at a
time ask for chats and completions, streamed or not, greedy or sampled. Some hang up in the middle, some give
up after a moment, some send what is no request. It ends with an error unless: every status is 200 or the one
meant; every complete greedy answer is what `generate` says alone; the server's memory stays within 5 % once a
fifth of the requests are done; no slot is taken and nobody waits at the end. Needs the extra `dev`.
"""

import argparse
import asyncio
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import torch
from measure import print_table

from trueformer.config import to_dict
from trueformer.inference.config import SamplingConfig
from trueformer.inference.generate import generate
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.tokenization.bpe import train_bpe
from trueformer.tokenization.chat_format import TOOL_TOKENS, MarkedFormat
from trueformer.tokenization.chat_layout import OURS
from trueformer.tokenization.conversations import Conversation, user
from trueformer.training.checkpoints import save_checkpoint

TEXT_OF_MODEL = "To be or not to be, that is the question: whether it is nobler in the mind to suffer"
WORDS = TEXT_OF_MODEL.split()
GREEDY = SamplingConfig(temperature=0.0)
WARM_UP = 0.2  # of the requests
FLAT = 0.05  # how much more memory may be held after that
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
GIVE_UP_SECONDS = 0.02
MALFORMED: tuple[tuple[bytes, int], ...] = (  # bodies, and the status meant for them
    (b"{", 400),
    (b"\xff\xfe", 400),
    (b"[" * 3000, 400),
    (b'{"model": "tiny", "prompt": "a", "temperature": -1}', 400),
    (b'{"model": "tiny", "prompt": "a", "top_p": 0}', 400),
    (b'{"model": "tiny", "prompt": "a", "max_tokens": 100000}', 400),
    (b'{"model": "tiny", "prompt": "\\ud800"}', 400),
    (b'{"model": "other", "prompt": "a"}', 404),
    (b" " * 2**22, 413),
)


@dataclass(kw_only=True)
class Seen:
    """What came of all requests."""

    outcomes: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)  # promises, with what happened instead
    seconds: list[float] = field(default_factory=list)  # of complete answers
    memory: list[int] = field(default_factory=list)  # bytes that the server holds, over time
    warm: int = 0  # where in `memory` the warm-up ended


class Alone:
    """The model in this process: what each greedy request says by itself."""

    def __init__(self) -> None:
        tokenizer = train_bpe([TEXT_OF_MODEL], 300).extended([*OURS.tokens, *TOOL_TOKENS])
        torch.manual_seed(1)
        shape = {
            "vocab_size": tokenizer.vocab_size,
            "max_len": 128,
            "d_model": 32,
            "n_layers": 2,
            "n_heads": 4,
        }
        # 0.4: no two logits are so close that rounding decides, whatever else is in the batch.
        self.model = DecoderLM(DecoderConfig(**shape, init_std=0.4)).eval()
        with torch.no_grad():  # no marks: an answer is its words
            self.model.embedding.weight[list(tokenizer.special_ids.values())] *= 0.01
        self.chat, self._known = MarkedFormat(tokenizer, OURS), dict[tuple[str, str, int], str]()

    def save(self, folder: Path) -> None:
        """Write it as a run's checkpoint."""
        save_checkpoint(
            folder / "checkpoints" / "step-00000001",
            model_tensors=self.model.state_dict(),
            optimizer_tensors={},
            state={"step": 1},
            config={"model": to_dict(self.model.config)},
            tokenizer=self.chat.tokenizer,
        )

    def says(self, address: str, words: str, n: int) -> str:
        """The text of n tokens after a prompt, or in answer to a message."""
        key = (address, words, n)
        if key not in self._known:
            tokenizer = self.chat.tokenizer
            ids = tokenizer.encode(words, bos=True)
            if address == CHAT:
                ids = self.chat.prompt(Conversation.of(user(words)))
            made = generate(self.model, [ids], GREEDY, max_new_tokens=n, stop_ids=self.chat.stop_ids)
            self._known[key] = tokenizer.decode(made[0].ids)
        return self._known[key]


@contextmanager
def served(folder: Path, slots: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server's process and its address."""
    command = [sys.executable, "-m", "trueformer", "serve", str(folder), "--port", "0", "--slots", str(slots)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found, "the server did not begin"
            yield process, found[0]
        finally:
            process.terminate()


def resident(process: subprocess.Popen[str]) -> int:
    """Bytes of memory that the process holds."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024


class Client:
    """Sends one request after another, of every kind."""

    def __init__(self, http: httpx.AsyncClient, alone: Alone, seen: Seen, dice: random.Random) -> None:
        self._http, self._alone, self._seen, self._dice = http, alone, seen, dice

    async def ask(self) -> None:
        """One request, drawn by lot."""
        lot = self._dice.random()
        address, words, body = self._request()
        begun = time.perf_counter()
        try:
            if lot < 0.08:
                return await self._malformed()
            if lot < 0.16:
                return await self._hang_up(address, body)
            if lot < 0.22:
                return await self._give_up(address, body)
            read = self._stream if body["stream"] else self._whole
            text = await read(address, body)
        except httpx.HTTPError as error:
            return self._seen.broken.append(f"{type(error).__name__} {error} for {body}")
        self._seen.seconds.append(time.perf_counter() - begun)
        self._check(address, words, body, text)

    def _request(self) -> tuple[str, str, dict[str, Any]]:
        dice = self._dice
        address, words = dice.choice((CHAT, TEXT)), " ".join(dice.choices(WORDS, k=dice.randint(1, 4)))
        body = {"model": "tiny", "max_tokens": dice.choice((1, 4, 12, 24)), "stream": dice.random() < 0.5}
        sampling = (
            {"temperature": 0} if dice.random() < 0.6 else {"temperature": 0.9, "top_p": 0.9, "top_k": 40}
        )
        asked = {"messages": [{"role": "user", "content": words}]} if address == CHAT else {"prompt": words}
        return address, words, body | sampling | asked

    async def _whole(self, address: str, body: dict[str, Any]) -> str | None:
        response = await self._http.post(address, json=body)
        if response.status_code != 200:
            return self._odd(response.status_code, response.text, body)
        choice = response.json()["choices"][0]
        return choice["message"]["content"] if address == CHAT else choice["text"]

    async def _stream(self, address: str, body: dict[str, Any]) -> str | None:
        text, events = "", []
        async with self._http.stream("POST", address, json=body) as response:
            if response.status_code != 200:
                return self._odd(response.status_code, (await response.aread()).decode(), body)
            async for line in response.aiter_lines():
                if line:
                    events.append(line.removeprefix("data: "))
        if not events or events[-1] != "[DONE]":
            return self._odd(200, f"a stream that ends with {events[-1:]}", body)
        for event in events[:-1]:
            choice = httpx.Response(200, text=event).json()["choices"][0]
            text += choice["delta"].get("content", "") if address == CHAT else choice["text"]
        return text

    def _odd(self, status: int, said: str, body: dict[str, Any]) -> None:
        self._seen.broken.append(f"{status} {said[:200]} for {body}")

    def _check(self, address: str, words: str, body: dict[str, Any], text: str | None) -> None:
        if text is None:
            return
        if body["temperature"]:
            self._seen.outcomes["sampled"] += 1
            return
        self._seen.outcomes["greedy, as alone"] += 1
        alone = self._alone.says(address, words, body["max_tokens"])
        if text != alone:
            self._seen.broken.append(f"{text!r} and alone {alone!r} for {body}")

    async def _malformed(self) -> None:
        body, meant = self._dice.choice(MALFORMED)
        status = (await self._http.post(TEXT, content=body)).status_code
        self._seen.outcomes[f"malformed: {meant}"] += 1
        if status != meant:
            self._seen.broken.append(f"{status} and not {meant} for {body[:60]!r}")

    async def _hang_up(self, address: str, body: dict[str, Any]) -> None:
        """Leave a stream in its middle."""
        body |= {"stream": True, "max_tokens": 60}
        leave_after = self._dice.randint(1, 8)
        async with self._http.stream("POST", address, json=body) as response:
            if response.status_code != 200:
                return self._odd(response.status_code, (await response.aread()).decode(), body)
            async for line in response.aiter_lines():
                leave_after -= bool(line)
                if leave_after == 0:
                    break
        self._seen.outcomes["hung up"] += 1

    async def _give_up(self, address: str, body: dict[str, Any]) -> None:
        """Wait for an answer for too short a time."""
        body |= {"stream": False, "max_tokens": 60}
        try:
            await self._http.post(address, json=body, timeout=GIVE_UP_SECONDS)
        except httpx.TimeoutException:
            self._seen.outcomes["gave up"] += 1
        else:
            self._seen.outcomes["would have given up"] += 1


async def send_all(url: str, alone: Alone, seen: Seen, process: subprocess.Popen[str], args: Any) -> None:
    """All requests, so many at a time, and what the server holds meanwhile."""
    dice, left = random.Random(args.seed), iter(range(args.requests))
    sample_every = max(1, args.requests // 200)
    limits = httpx.Limits(max_connections=args.concurrency)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=120) as http:
        client = Client(http, alone, seen, dice)

        async def work() -> None:
            for i in left:
                await client.ask()
                if i % sample_every == 0:
                    seen.memory.append(resident(process))
                    seen.warm += i < WARM_UP * args.requests

        await asyncio.gather(*(work() for _ in range(args.concurrency)))
        await at_rest(http, seen)
    seen.memory.append(resident(process))


async def at_rest(http: httpx.AsyncClient, seen: Seen) -> None:
    """In the end no slot is taken and nobody waits."""
    for _ in range(50):
        text = (await http.get("/metrics")).text
        running, waiting = (
            int(re.findall(rf"trueformer_{name} (\d+)", text)[0]) for name in ("running", "waiting")
        )
        if running == waiting == 0:
            return
        await asyncio.sleep(0.02)
    seen.broken.append(f"at the end {running} run and {waiting} wait")


def check_memory(seen: Seen) -> None:
    """After the warm-up the memory stays within `FLAT` of what it then was."""
    before, after = seen.memory[max(0, seen.warm - 1)], max(seen.memory[seen.warm :])
    if after > before * (1 + FLAT):
        seen.broken.append(
            f"memory grew from {before / 2**20:.1f} to {after / 2**20:.1f} MiB after the warm-up"
        )


def table(seen: Seen, seconds: float, requests: int) -> list[dict[str, str]]:
    """One fact a row."""
    centiles = statistics.quantiles(seen.seconds, n=20)
    megabytes = [value / 2**20 for value in seen.memory]
    warm, most = megabytes[max(0, seen.warm - 1)], max(megabytes[seen.warm :])
    facts = {
        "requests": f"{requests} in {seconds:.0f} s, {requests / seconds:.0f} a second",
        "complete answers": f"p50 {centiles[9] * 1e3:.0f} ms, p95 {centiles[18] * 1e3:.0f} ms",
        "memory, MiB": f"{megabytes[0]:.1f} at first, {warm:.1f} warm, {most:.1f} at most after that",
        **{name: str(count) for name, count in sorted(seen.outcomes.items())},
        "promises broken": str(len(seen.broken)),
    }
    return [{"": name, " ": said} for name, said in facts.items()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    alone, seen = Alone(), Seen()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "tiny"
        alone.save(folder)
        with served(folder, args.slots) as (process, url):
            begun = time.perf_counter()
            asyncio.run(send_all(url, alone, seen, process, args))
            seconds = time.perf_counter() - begun
    if process.returncode:
        seen.broken.append(f"the server ended with {process.returncode}")
    check_memory(seen)
    title = f"{args.requests} requests, {args.concurrency} at a time, {args.slots} slots, a tiny model"
    print_table(title, table(seen, seconds, args.requests))
    for broken in seen.broken[:20]:
        print(f"BROKEN: {broken}")
    return bool(seen.broken)


if __name__ == "__main__":
    sys.exit(main())
