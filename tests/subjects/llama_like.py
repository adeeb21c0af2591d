"""A Llama of another author's, to be tested as a foreign model: RMSNorm, rotary positions by complex numbers,
grouped-query attention, SwiGLU, an untied head, a cache inside the attention; packed rows, AdamW by hand.

Everything here is sound. What is wrong with it is a bug in this file, and a false alarm of ours.
"""

import json
import math
import os
import random
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import nn

IGNORED = -100
DTYPES = (torch.float32, torch.bfloat16)  # of weights that HandAdamW can train
MAX_LR, WARMUP_STEPS, TOTAL_STEPS = 2e-3, 20, 400


@dataclass
class ModelArgs:
    dim: int = 48
    n_layers: int = 3
    n_heads: int = 4
    n_kv_heads: int = 2
    hidden_dim: int = 96
    vocab_size: int = 260
    max_seq_len: int = 64
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5


class RMSNorm(nn.Module):
    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def _norm(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)

    def forward(self, x):
        return self._norm(x.float()).type_as(x) * self.weight


def precompute_freqs_cis(dim: int, end: int, theta: float) -> torch.Tensor:
    freqs = 1.0 / (theta ** (torch.arange(0, dim, 2).double() / dim))
    angles = torch.outer(torch.arange(end).double(), freqs)
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)


class RotaryTable(nn.Module):
    """The angles, made anew on whatever device the model moves to, and never rounded to its dtype."""

    def __init__(self, args: ModelArgs):
        super().__init__()
        self.args = args
        self.register_buffer("freqs_cis", self.make(), persistent=False)

    def make(self):
        head_dim = self.args.dim // self.args.n_heads
        return precompute_freqs_cis(head_dim, self.args.max_seq_len, self.args.rope_theta)

    def _apply(self, fn, recurse=True):
        device = fn(torch.empty(0, device=self.freqs_cis.device)).device
        with torch.device("cpu"):
            self.freqs_cis = self.make().to(device)
        return self

    def forward(self, start: int, length: int):
        return self.freqs_cis[start : start + length]


def apply_rotary_emb(x, freqs_cis):
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    turned = pairs * freqs_cis[None, :, None, :]
    return torch.view_as_real(turned).flatten(3).type_as(x)


def repeat_kv(x, n_rep: int):
    bs, slen, n_kv_heads, head_dim = x.shape
    x = x[:, :, :, None, :].expand(bs, slen, n_kv_heads, n_rep, head_dim)
    return x.reshape(bs, slen, n_kv_heads * n_rep, head_dim)


class Attention(nn.Module):
    def __init__(self, args: ModelArgs):
        super().__init__()
        if args.dim % args.n_heads or args.n_heads % args.n_kv_heads:
            raise ValueError(f"expected n_kv_heads | n_heads | dim: got {args}")
        self.n_heads, self.n_kv_heads = args.n_heads, args.n_kv_heads
        self.head_dim = args.dim // args.n_heads
        if self.head_dim % 2:
            raise ValueError(f"head_dim={self.head_dim}: rotary positions turn pairs, so it must be even")
        self.max_seq_len = args.max_seq_len
        self.wq = nn.Linear(args.dim, self.n_heads * self.head_dim, bias=False)
        self.wk = nn.Linear(args.dim, self.n_kv_heads * self.head_dim, bias=False)
        self.wv = nn.Linear(args.dim, self.n_kv_heads * self.head_dim, bias=False)
        self.wo = nn.Linear(self.n_heads * self.head_dim, args.dim, bias=False)
        self.register_buffer("cache_k", None, persistent=False)
        self.register_buffer("cache_v", None, persistent=False)

    def forward(self, x, freqs_cis, start_pos=None):
        bsz, seqlen, _ = x.shape
        xq = self.wq(x).view(bsz, seqlen, self.n_heads, self.head_dim)
        xk = self.wk(x).view(bsz, seqlen, self.n_kv_heads, self.head_dim)
        xv = self.wv(x).view(bsz, seqlen, self.n_kv_heads, self.head_dim)
        xq, xk = apply_rotary_emb(xq, freqs_cis), apply_rotary_emb(xk, freqs_cis)
        if start_pos is not None:
            xk, xv = self.remember(xk, xv, start_pos)
        n_rep = self.n_heads // self.n_kv_heads
        keys, values = repeat_kv(xk, n_rep), repeat_kv(xv, n_rep)
        xq, keys, values = xq.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)
        total, mask = keys.shape[2], None
        if seqlen < total:
            mask = torch.ones(seqlen, total, dtype=torch.bool, device=x.device).tril(total - seqlen)
        output = F.scaled_dot_product_attention(xq, keys, values, attn_mask=mask, is_causal=mask is None)
        return self.wo(output.transpose(1, 2).contiguous().view(bsz, seqlen, -1))

    def remember(self, xk, xv, start_pos: int):
        bsz, seqlen = xk.shape[:2]
        if start_pos == 0 and (self.cache_k is None or len(self.cache_k) != bsz):
            shape = (bsz, self.max_seq_len, self.n_kv_heads, self.head_dim)
            self.cache_k, self.cache_v = xk.new_zeros(shape), xv.new_zeros(shape)
        if self.cache_k is None or len(self.cache_k) != bsz:
            raise ValueError(f"start_pos={start_pos} with {bsz} rows: begin them at start_pos=0")
        self.cache_k[:, start_pos : start_pos + seqlen] = xk.detach()
        self.cache_v[:, start_pos : start_pos + seqlen] = xv.detach()
        return self.cache_k[:, : start_pos + seqlen], self.cache_v[:, : start_pos + seqlen]


class FeedForward(nn.Module):
    def __init__(self, args: ModelArgs):
        super().__init__()
        self.w1 = nn.Linear(args.dim, args.hidden_dim, bias=False)
        self.w2 = nn.Linear(args.hidden_dim, args.dim, bias=False)
        self.w3 = nn.Linear(args.dim, args.hidden_dim, bias=False)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class TransformerLayer(nn.Module):
    def __init__(self, args: ModelArgs):
        super().__init__()
        self.attention_norm = RMSNorm(args.dim, args.norm_eps)
        self.attention = Attention(args)
        self.ffn_norm = RMSNorm(args.dim, args.norm_eps)
        self.feed_forward = FeedForward(args)

    def forward(self, x, freqs_cis, start_pos=None):
        h = x + self.attention(self.attention_norm(x), freqs_cis, start_pos)
        return h + self.feed_forward(self.ffn_norm(h))


class Transformer(nn.Module):
    def __init__(self, args: ModelArgs):
        super().__init__()
        self.args = args
        self.tok_embeddings = nn.Embedding(args.vocab_size, args.dim)
        self.rotary = RotaryTable(args)
        self.layers = nn.ModuleList(TransformerLayer(args) for _ in range(args.n_layers))
        self.norm = RMSNorm(args.dim, args.norm_eps)
        self.output = nn.Linear(args.dim, args.vocab_size, bias=False)
        for name, param in self.named_parameters():
            if param.dim() == 2:
                ends_block = name.endswith(("wo.weight", "w2.weight"))
                nn.init.normal_(param, std=0.02 / math.sqrt(2 * args.n_layers) if ends_block else 0.02)

    def forward(self, tokens, start_pos=None):
        """Logits of every position. `start_pos=None` keeps nothing; a number reads and writes the cache."""
        seqlen, start = tokens.shape[1], start_pos or 0
        if seqlen < 1 or start + seqlen > self.args.max_seq_len:
            raise ValueError(f"{seqlen} tokens from {start}: expected 1 to {self.args.max_seq_len} in all")
        h = self.tok_embeddings(tokens)
        freqs_cis = self.rotary(start, seqlen)
        for layer in self.layers:
            h = layer(h, freqs_cis, start_pos)
        return self.output(self.norm(h)).float()

    def reset_cache(self):
        for layer in self.layers:
            layer.attention.cache_k = layer.attention.cache_v = None


def build():
    torch.manual_seed(4321)
    return Transformer(ModelArgs())


# ---------------------------------------------------------------- text and batches


class ByteTokenizer:
    """Bytes of UTF-8, and four tokens above them that no text can spell."""

    def __init__(self):
        self.bos_id, self.eos_id, self.pad_id, self.end_of_turn_id = 256, 257, 258, 259
        self.n_words = 260

    def encode(self, text: str, bos: bool = False, eos: bool = False) -> list[int]:
        ids = list(text.encode("utf-8", "surrogatepass"))
        if bos:
            ids = [self.bos_id, *ids]
        return [*ids, self.eos_id] if eos else ids

    def encode_batch(self, texts, bos: bool = False, eos: bool = False):
        return [self.encode(text, bos, eos) for text in texts]

    def decode(self, ids) -> str:
        raw = bytes(int(i) for i in ids if int(i) < 256)
        try:
            return raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return raw.decode("utf-8", "replace")


def stories(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    names, verbs = ["Ada", "Bo", "Zoë", "Çelik", "李"], ["sees", "feeds", "follows", "draws"]
    things = ["a fox", "the moon", "two cups", "our cat", "no one"]

    def sentence():
        return f"{rng.choice(names)} {rng.choice(verbs)} {rng.choice(things)} at {rng.randint(0, 999)}."

    return [" ".join(sentence() for _ in range(rng.randint(2, 6))) for _ in range(count)]


class PackedLoader:
    """Documents end to end, cut in rows; the last row is filled up with padding that is not learned."""

    def __init__(self, documents, tokenizer, seq_len, batch_size, shuffle, seed=0):
        stream = [i for ids in tokenizer.encode_batch(documents, bos=True, eos=True) for i in ids]
        self.rows = [stream[i : i + seq_len + 1] for i in range(0, len(stream) - 1, seq_len)]
        self.seq_len, self.batch_size, self.pad_id = seq_len, batch_size, tokenizer.pad_id
        self.shuffle, self.seed = shuffle, seed
        self.epoch, self.next_row, self.resumed = 0, 0, False

    def __len__(self):
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self):
        """An epoch; after `load_state_dict`, what is left of one."""
        if not self.resumed:
            self.epoch, self.next_row = self.epoch + 1, 0
        self.resumed = False
        order = self.order()
        while self.next_row < len(order):
            chosen = order[self.next_row : self.next_row + self.batch_size]
            self.next_row += len(chosen)
            yield self.batch([self.rows[i] for i in chosen])

    def order(self):
        order = list(range(len(self.rows)))
        if self.shuffle:
            random.Random(self.seed * 1000 + self.epoch).shuffle(order)
        return order

    def batch(self, rows):
        tokens = torch.full((len(rows), self.seq_len), self.pad_id, dtype=torch.int32)
        targets = torch.full((len(rows), self.seq_len), IGNORED, dtype=torch.int64)
        for i, row in enumerate(rows):
            tokens[i, : len(row) - 1] = torch.tensor(row[:-1])
            targets[i, : len(row) - 1] = torch.tensor(row[1:])
        return {"tokens": tokens, "targets": targets}

    def state_dict(self):
        return {"epoch": self.epoch, "next_row": self.next_row}

    def load_state_dict(self, state):
        self.epoch, self.next_row, self.resumed = state["epoch"], state["next_row"], True


# ---------------------------------------------------------------- training


def loss(model, batch):
    logits = model(batch["tokens"])
    return F.cross_entropy(
        logits.reshape(-1, logits.size(-1)), batch["targets"].reshape(-1), ignore_index=IGNORED
    )


class HandAdamW(torch.optim.Optimizer):
    """Adam whose moments never see the decay; half-precision weights are rounded from a float32 master."""

    def __init__(self, params, lr=MAX_LR, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.update(p, group, self.state[p])
        return value

    def update(self, p, group, state):
        narrow = p.dtype in (torch.bfloat16, torch.float16)
        if not state:
            wide = p.detach().clone().float() if narrow else p.detach()
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(wide)
            state["exp_avg_sq"] = torch.zeros_like(wide)
            if narrow:
                state["master"] = wide
        weight = state["master"] if narrow else p
        grad = p.grad.to(weight.dtype)
        beta1, beta2 = group["betas"]
        state["step"] += 1
        state["exp_avg"].mul_(beta1).add_(grad, alpha=1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        mean = state["exp_avg"] / (1 - beta1 ** state["step"])
        spread = (state["exp_avg_sq"] / (1 - beta2 ** state["step"])).sqrt()
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.sub_(group["lr"] * mean / (spread + group["eps"]))
        if narrow:
            p.copy_(weight)

    def load_state_dict(self, state_dict):
        """Torch rounds a loaded state to the parameter's dtype; ours is wider, so it is put back whole."""
        super().load_state_dict(state_dict)
        params = [p for group in self.param_groups for p in group["params"]]
        for i, saved in state_dict["state"].items():
            kept = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in saved.items()}
            self.state[params[int(i)]] = kept


def make_optimizer(model, lr=MAX_LR):
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    plain = [p for name, p in named if p.dim() == 1 or "tok_embeddings" in name]
    decayed = [p for name, p in named if not (p.dim() == 1 or "tok_embeddings" in name)]
    return HandAdamW([{"params": decayed}, {"params": plain, "weight_decay": 0.0}], lr=lr)


def learning_rate(step: int) -> float:
    """Up in a straight line over WARMUP_STEPS, down to a tenth along half a cosine."""
    if step < WARMUP_STEPS:
        return MAX_LR * (step + 1) / WARMUP_STEPS
    done = min(1.0, (step - WARMUP_STEPS) / (TOTAL_STEPS - WARMUP_STEPS))
    return MAX_LR * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


def train_step(model, batches, optimizer, step=0, max_norm=1.0):
    model.train()
    learned = [int((batch["targets"] != IGNORED).sum()) for batch in batches]
    reported = 0.0
    for batch, tokens in zip(batches, learned, strict=True):
        part = loss(model, batch) * tokens / sum(learned)
        part.backward()
        reported += float(part.detach())
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.stack([grad.norm() for grad in grads]).norm()
    for grad in grads:
        grad.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step)
    optimizer.step()
    optimizer.zero_grad()
    return reported


@contextmanager
def frozen_eval(model):
    before = model.training
    model.train(False)
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(before)


def evaluate(model, loader):
    nats, learned = 0.0, 0
    with frozen_eval(model):
        for batch in loader:
            tokens = int((batch["targets"] != IGNORED).sum())
            nats, learned = nats + float(loss(model, batch)) * tokens, learned + tokens
    return nats / learned


# ---------------------------------------------------------------- files


def save(model, optimizer, path, loader=None, step=0):
    """One safetensors file: weights, moments and the random state as tensors, the rest as JSON."""
    states = optimizer.state_dict()
    tensors = {f"model.{name}": t.detach().contiguous() for name, t in model.state_dict().items()}
    numbers = {}
    for i, state in states["state"].items():
        tensors |= {f"optimizer.{i}.{k}": t for k, t in state.items() if isinstance(t, torch.Tensor)}
        numbers[i] = {k: n for k, n in state.items() if not isinstance(n, torch.Tensor)}
    header = {
        "args": asdict(model.args),
        "groups": states["param_groups"],
        "numbers": numbers,
        "loader": loader.state_dict() if loader is not None else None,
        "tokenizer": {"kind": "bytes", "n_words": model.args.vocab_size},
        "step": step,
    }
    blob = to_bytes({**tensors, "rng": torch.get_rng_state()}, {"state": json.dumps(header)})
    unfinished = Path(f"{path}.tmp")
    with unfinished.open("wb") as file:
        file.write(blob)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def load(path, model, optimizer=None, loader=None):
    with safe_open(str(path), framework="pt") as file:
        header = json.loads(file.metadata()["state"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    if header["args"] != asdict(model.args):
        raise ValueError(f"{path} was made with {header['args']}, not {asdict(model.args)}")
    prefixed = {k.removeprefix("model."): t for k, t in tensors.items() if k.startswith("model.")}
    model.load_state_dict(prefixed)
    if optimizer is not None:
        states = {int(i): dict(numbers) for i, numbers in header["numbers"].items()}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, i, key = name.split(".")
                states[int(i)][key] = tensor
        optimizer.load_state_dict({"state": states, "param_groups": header["groups"]})
    if loader is not None and header["loader"] is not None:
        loader.load_state_dict(header["loader"])
    torch.set_rng_state(tensors["rng"])
    return header["step"]


def load_tokenizer(path):
    with safe_open(str(path), framework="pt") as file:
        kind = json.loads(file.metadata()["state"])["tokenizer"]
    if kind != {"kind": "bytes", "n_words": ByteTokenizer().n_words}:
        raise ValueError(f"{path} names the tokenizer {kind}, which this file does not have")
    return ByteTokenizer()


# ---------------------------------------------------------------- writing


def sample_top_p(probs, p: float):
    """The fewest likeliest tokens that hold at least p of the mass, scaled to one."""
    ordered, index = torch.sort(probs, dim=-1, descending=True)
    before = torch.cumsum(ordered, dim=-1) - ordered
    ordered = torch.where(before > p, 0.0, ordered)
    kept = torch.zeros_like(probs).scatter(-1, index, ordered)
    return kept / kept.sum(dim=-1, keepdim=True)


def sample(logits, temperature, top_k, top_p, generator):
    if temperature == 0:
        return torch.argmax(logits, dim=-1)
    probs = torch.softmax(logits / temperature, dim=-1)
    if top_k is not None:
        least = torch.topk(probs, min(top_k, probs.shape[-1]), dim=-1).values[:, -1:]
        probs = torch.where(probs < least, 0.0, probs)
        probs = probs / probs.sum(dim=-1, keepdim=True)
    if top_p is not None and top_p < 1:
        probs = sample_top_p(probs, top_p)
    return torch.multinomial(probs, num_samples=1, generator=generator).squeeze(-1)


def refuse_bad_sampling(temperature, top_k, top_p):
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature is {temperature}: 0 takes the likeliest token, above 0 samples")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}: at least one token must be kept")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}: a share of the mass, above 0 and up to 1")


def generate(model, ids, max_new_tokens, temperature=1.0, top_k=None, top_p=None, seed=None, stop_id=None):
    """Continues each row of a tensor or each prompt of a list, which may differ in length.

    All rows step together from the end of the shortest prompt; where a longer prompt still has its own token,
    that one is taken. Rows end after `stop_id`.
    """
    refuse_bad_sampling(temperature, top_k, top_p)
    prompts = [[int(i) for i in row] for row in ids]
    shortest, longest = min(map(len, prompts)), max(map(len, prompts))
    total = longest + max_new_tokens
    if shortest < 1 or total > model.args.max_seq_len:
        raise ValueError(
            f"{total} tokens with prompts from {shortest}: expected 1 to {model.args.max_seq_len}"
        )
    tokens = torch.zeros(len(prompts), total, dtype=torch.long)
    given = torch.zeros(len(prompts), total, dtype=torch.bool)
    for i, prompt in enumerate(prompts):
        tokens[i, : len(prompt)], given[i, : len(prompt)] = torch.tensor(prompt), True
    generator = torch.Generator().manual_seed(seed) if seed is not None else None
    with frozen_eval(model):
        model.reset_cache()
        past = 0
        for position in range(shortest, total):
            logits = model(tokens[:, past:position], start_pos=past)[:, -1]
            chosen = sample(logits, temperature, top_k, top_p, generator)
            tokens[:, position] = torch.where(given[:, position], tokens[:, position], chosen)
            past = position
        model.reset_cache()
    rows = [row[: len(p) + max_new_tokens] for row, p in zip(tokens.tolist(), prompts, strict=True)]
    rows = [cut_after(row, len(p), stop_id) for row, p in zip(rows, prompts, strict=True)]
    return torch.tensor(rows) if isinstance(ids, torch.Tensor) and stop_id is None else rows


def cut_after(row, prompt_length, stop_id):
    if stop_id in row[prompt_length:]:
        return row[: row.index(stop_id, prompt_length) + 1]
    return row


def parts(model=None):
    model = build() if model is None else model
    tokenizer, seq_len = ByteTokenizer(), model.args.max_seq_len
    return {
        "build": build,
        "vocab_size": model.args.vocab_size,
        "max_len": seq_len,
        "loss": loss,
        "optimizer": make_optimizer(model),
        "loader": PackedLoader(stories(1, 90), tokenizer, seq_len, batch_size=6, shuffle=True, seed=11),
        "val_loader": PackedLoader(stories(2, 12), tokenizer, seq_len, batch_size=6, shuffle=False),
        "schedule": learning_rate,
        "peak_lr": MAX_LR,
        "warmup_steps": WARMUP_STEPS,
        "max_steps": TOTAL_STEPS,
        "train_step": train_step,
        "evaluate": evaluate,
        "load_tokenizer": load_tokenizer,
        "generate": generate,
        "save": save,
        "load": load,
        "tokenizer": tokenizer,
        "claims": {
            "rope_base": model.args.rope_theta,
            "pad_id": tokenizer.pad_id,
            "bos_id": tokenizer.bos_id,
            "eos_id": tokenizer.eos_id,
        },
    }
