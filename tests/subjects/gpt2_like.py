"""A plain GPT-2 of somebody's own, to be tested as a foreign model: one file, torch only, learned positions,
fused qkv, attention by hand, tied head, dropout; rows of one document each, padded on the right.

Everything here is sound. What is wrong with it is a bug in this file, and a false alarm of ours.
"""

import math
import os
import random
import string
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn as nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

IGNORE = -1
PEAK_LR, WARMUP, MAX_STEPS = 1e-3, 10, 200


@dataclass
class GPTConfig:
    vocab_size: int = 101
    block_size: int = 64
    n_layer: int = 3
    n_head: int = 4
    n_embd: int = 48
    dropout: float = 0.1


def widen(x):
    return x if x.dtype == torch.float64 else x.float()


class LayerNorm(nn.Module):
    def __init__(self, ndim, eps=1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(ndim))
        self.bias = nn.Parameter(torch.zeros(ndim))
        self.eps = eps

    def forward(self, x):
        centred = widen(x) - widen(x).mean(-1, keepdim=True)
        variance = centred.pow(2).mean(-1, keepdim=True)
        normed = centred * torch.rsqrt(variance + self.eps)
        return (normed * self.weight + self.bias).to(x.dtype)


class SelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        if config.n_embd % config.n_head != 0:
            raise ValueError(f"n_embd={config.n_embd} must be a multiple of n_head={config.n_head}")
        self.n_head = config.n_head
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)
        self.attn_dropout = nn.Dropout(config.dropout)
        self.resid_dropout = nn.Dropout(config.dropout)
        ones = torch.ones(config.block_size, config.block_size, dtype=torch.bool)
        self.register_buffer("visible", torch.tril(ones)[None, None])

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.c_attn(x).split(C, dim=2)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) / math.sqrt(k.size(-1))
        att = att.masked_fill(~self.visible[:, :, :T, :T], float("-inf"))
        att = F.softmax(att, dim=-1)
        att = self.attn_dropout(att)
        y = (att @ v).transpose(1, 2).contiguous().view(B, T, C)
        return self.resid_dropout(self.c_proj(y))


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x):
        return self.dropout(self.c_proj(F.gelu(self.c_fc(x))))


class CausalBlock(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln_1 = LayerNorm(config.n_embd)
        self.attn = SelfAttention(config)
        self.ln_2 = LayerNorm(config.n_embd)
        self.mlp = MLP(config)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        x = x + self.mlp(self.ln_2(x))
        return x


class TinyGPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList([CausalBlock(config) for _ in range(config.n_layer)])
        self.ln_f = LayerNorm(config.n_embd)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.apply(self._init_weights)
        for name, weight in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(weight, mean=0.0, std=0.02 / math.sqrt(2 * config.n_layer))
        self.lm_head.weight = self.wte.weight

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, idx, targets=None):
        T = idx.shape[1]
        if not 1 <= T <= self.config.block_size:
            raise ValueError(f"{T} tokens: expected 1 to block_size={self.config.block_size}")
        positions = torch.arange(T, device=idx.device)
        x = self.drop(self.wte(idx) + self.wpe(positions))
        for block in self.h:
            x = block(x)
        x = self.ln_f(x)
        if targets is None:
            return self.lm_head(x[:, [-1], :]), None
        logits = self.lm_head(x)
        return logits, next_token_loss(logits, targets)


def next_token_loss(logits, targets):
    return F.cross_entropy(widen(logits.flatten(0, 1)), targets.flatten(), ignore_index=IGNORE)


def build():
    torch.manual_seed(1234)
    return TinyGPT(GPTConfig())


# ---------------------------------------------------------------- text and batches


class CharTokenizer:
    SPECIAL = 4

    def __init__(self, chars):
        self.chars = list(chars)
        self.pad_id, self.unk_id, self.bos_id, self.eos_id = range(self.SPECIAL)
        self.index = {c: i + self.SPECIAL for i, c in enumerate(self.chars)}
        self.vocab_size = len(self.chars) + self.SPECIAL

    def encode(self, text, bos=False, eos=False):
        ids = [self.index.get(c, self.unk_id) for c in text]
        return [self.bos_id] * bos + ids + [self.eos_id] * eos

    def encode_batch(self, texts, bos=False, eos=False):
        return [self.encode(text, bos=bos, eos=eos) for text in texts]

    def decode(self, ids):
        return "".join(self.chars[int(i) - self.SPECIAL] for i in ids if int(i) >= self.SPECIAL)


def make_tokenizer():
    return CharTokenizer(string.ascii_letters + string.digits + string.punctuation + " \n\t")


def make_documents(count=160):
    rng = random.Random(7)
    words = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 6))) for _ in range(40)]
    documents = []
    for i in range(count):
        said = [rng.choice(words) for _ in range(rng.randint(3, 9))]
        letter = string.ascii_uppercase[i % 26]
        mark = string.punctuation[i % len(string.punctuation)]
        documents.append(f"{letter} {' '.join(said)} {rng.randint(0, 999)}{mark}\n"[:62])
    return documents


def make_dataset(documents, tokenizer, block_size):
    rows = tokenizer.encode_batch(documents, bos=True, eos=True)
    x = torch.full((len(rows), block_size), tokenizer.pad_id, dtype=torch.long)
    y = torch.full((len(rows), block_size), IGNORE, dtype=torch.long)
    for i, row in enumerate(rows):
        x[i, : len(row) - 1] = torch.tensor(row[:-1])
        y[i, : len(row) - 1] = torch.tensor(row[1:])
    return TensorDataset(x, y)


def make_loaders(tokenizer, block_size=64, batch_size=8):
    documents = make_documents()
    held_out = len(documents) // 10
    train = make_dataset(documents[:-held_out], tokenizer, block_size)
    val = make_dataset(documents[-held_out:], tokenizer, block_size)
    shuffled = torch.Generator().manual_seed(3)
    train_loader = DataLoader(train, batch_size=batch_size, shuffle=True, generator=shuffled)
    val_loader = DataLoader(val, batch_size=batch_size, shuffle=False)
    return train_loader, val_loader


# ---------------------------------------------------------------- training


def loss(model, batch):
    x, y = batch
    return model(x, y)[1]


def make_optimizer(model, lr=PEAK_LR, weight_decay=0.1):
    params = [p for p in model.parameters() if p.requires_grad]
    decay = [p for p in params if p.dim() >= 2]
    no_decay = [p for p in params if p.dim() < 2]
    groups = [{"params": decay, "weight_decay": weight_decay}, {"params": no_decay, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), eps=1e-8)


def lr_factor(step):
    if step < WARMUP:
        return (step + 1) / WARMUP
    progress = min(1.0, (step - WARMUP) / (MAX_STEPS - WARMUP))
    return 0.1 + 0.9 * 0.5 * (1.0 + math.cos(math.pi * progress))


def make_scheduler(optimizer):
    return LambdaLR(optimizer, lr_factor)


def train_step(model, batches, optimizer, scheduler=None, grad_clip=1.0):
    model.train()
    optimizer.zero_grad(set_to_none=True)
    counts = [int((y != IGNORE).sum()) for _, y in batches]
    total = 0.0
    for batch, count in zip(batches, counts, strict=True):
        share = loss(model, batch) * (count / sum(counts))
        share.backward()
        total += share.item()
    nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
    optimizer.step()
    if scheduler is not None:
        scheduler.step()
    return total


@contextmanager
def evaluating(model):
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def evaluate(model, loader):
    total, tokens = 0.0, 0
    with evaluating(model):
        for batch in loader:
            count = int((batch[1] != IGNORE).sum())
            total += loss(model, batch).item() * count
            tokens += count
    return total / tokens


# ---------------------------------------------------------------- files


def save(model, optimizer, path, scheduler=None, loader=None, tokenizer=None, step=0):
    state = {
        "config": asdict(model.config),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict() if scheduler is not None else None,
        "shuffling": loader.generator.get_state() if loader is not None else None,
        "chars": (tokenizer or make_tokenizer()).chars,
        "rng": torch.get_rng_state(),
        "step": step,
    }
    unfinished = Path(f"{path}.part")
    with unfinished.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def load(path, model, optimizer=None, scheduler=None, loader=None):
    state = torch.load(path, weights_only=True)
    if state["config"] != asdict(model.config):
        raise ValueError(f"{path} holds a model of {state['config']}: expected {asdict(model.config)}")
    model.load_state_dict(state["model"])
    if optimizer is not None:
        optimizer.load_state_dict(state["optimizer"])
    if scheduler is not None and state["scheduler"] is not None:
        scheduler.load_state_dict(state["scheduler"])
    if loader is not None and state["shuffling"] is not None:
        loader.generator.set_state(state["shuffling"])
    torch.set_rng_state(state["rng"])
    return state["step"]


def load_tokenizer(path):
    return CharTokenizer(torch.load(path, weights_only=True)["chars"])


# ---------------------------------------------------------------- writing


def choose(logits, temperature, top_k, top_p, generator):
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    logits = logits / temperature
    if top_k is not None:
        worst_kept = torch.topk(logits, min(top_k, logits.size(-1))).values[:, [-1]]
        logits = logits.masked_fill(logits < worst_kept, float("-inf"))
    if top_p is not None and top_p < 1:
        ordered, order = torch.sort(logits, descending=True, dim=-1)
        remove = F.softmax(ordered, dim=-1).cumsum(dim=-1) > top_p
        remove[:, 1:] = remove[:, :-1].clone()
        remove[:, 0] = False
        logits = logits.masked_fill(remove.scatter(1, order, remove), float("-inf"))
    return torch.multinomial(F.softmax(logits, dim=-1), num_samples=1, generator=generator)


def check_sampling(temperature, top_k, top_p):
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature={temperature}: expected 0 (greedy) or more")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k={top_k}: expected 1 or more, or None")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p={top_p}: expected more than 0, at most 1, or None")


def generate(model, ids, max_new_tokens, temperature=1.0, top_k=None, top_p=None, seed=None):
    """Continues a tensor (B, T), or a list of prompts of unequal length; the answer has the same form."""
    check_sampling(temperature, top_k, top_p)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    prompts = [list(map(int, row)) for row in ids]
    with evaluating(model):
        for _ in range(max_new_tokens):
            logits = last_logits(model, prompts)
            chosen = choose(logits, temperature, top_k, top_p, generator)
            for row, token in zip(prompts, chosen[:, 0].tolist(), strict=True):
                row.append(token)
    return torch.tensor(prompts) if isinstance(ids, torch.Tensor) else prompts


def last_logits(model, prompts):
    """Padding on the right comes after every real token, so a causal model never sees it.

    Given targets, the model gives the logits of every position.
    """
    seen = [row[-model.config.block_size :] for row in prompts]
    longest = max(len(row) for row in seen)
    idx = torch.tensor([row + [0] * (longest - len(row)) for row in seen])
    logits, _ = model(idx, targets=idx)
    last = torch.tensor([len(row) - 1 for row in seen])
    return logits[torch.arange(len(seen)), last]


def parts(model=None):
    model = build() if model is None else model
    tokenizer = make_tokenizer()
    optimizer = make_optimizer(model)
    loader, val_loader = make_loaders(tokenizer, model.config.block_size)
    return {
        "build": build,
        "vocab_size": tokenizer.vocab_size,
        "max_len": model.config.block_size,
        "loss": loss,
        "optimizer": optimizer,
        "loader": loader,
        "val_loader": val_loader,
        "schedule": make_scheduler(optimizer),
        "peak_lr": PEAK_LR,
        "warmup_steps": WARMUP,
        "max_steps": MAX_STEPS,
        "train_step": train_step,
        "evaluate": evaluate,
        "load_tokenizer": load_tokenizer,
        "generate": generate,
        "save": save,
        "load": load,
        "tokenizer": tokenizer,
        "claims": {
            "ignore_index": IGNORE,
            "pad_id": tokenizer.pad_id,
            "bos_id": tokenizer.bos_id,
            "eos_id": tokenizer.eos_id,
        },
    }
