"""Bugs planted in `tests/subjects/nanogpt_style_train.py`, for tools that need a script that runs, and sound edits of it.

They were chosen from the reported defects and from what people warn of, before any tool had seen them. All of
them run to the end and say nothing.
"""

from mutants.mutant import of

FILE = "tests/subjects/nanogpt_style_train.py"
bug = of(FILE)

ATTENTION = "y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)"
BY_HAND = """scores = q @ k.transpose(-2, -1) / math.sqrt(C // n_head)
        scores = scores.masked_fill(torch.ones(T, T).triu(1).bool(), float("-inf"))
        y = F.dropout(scores.softmax(dim=-1), p) @ v"""
CLIP = "    torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)\n"
STEP = "    optimizer.step()\n"
CLEAR = "    optimizer.zero_grad(set_to_none=True)\n"
DECAYED = "[p for p in model.parameters() if p.requires_grad and p.dim() >= 2]"
TARGETS = "source[i + 1 : i + 1 + block_size]"

BUGS = (
    bug("scores-times-root", "attention", "is_causal=True)", "is_causal=True, scale=(C // n_head) ** 0.5)", "K1"),
    bug("softmax-over-queries", "attention", ATTENTION, BY_HAND.replace("dim=-1", "dim=-2"), "K2"),
    bug("no-causal-mask", "attention", "is_causal=True", "is_causal=False"),
    bug("heads-merged-wrongly", "attention", "y.transpose(1, 2).contiguous().view", "y.contiguous().view"),
    bug("attention-dropout-in-eval", "attention", "p = dropout if self.training else 0.0", "p = dropout", "A13a"),
    bug(
        "all-at-position-0",
        "position",
        "torch.arange(idx.size(1), device=idx.device)",
        "torch.zeros(idx.size(1), dtype=torch.int64, device=idx.device)",
    ),
    bug("norm-without-epsilon", "norm", "ln_1 = nn.LayerNorm(n_embd)", "ln_1 = nn.LayerNorm(n_embd, eps=0.0)", "K4"),
    bug("last-norm-not-used", "norm", "self.lm_head(self.ln_f(x))", "self.lm_head(x)"),
    bug("no-residual", "block", "x = x + self.mlp(self.ln_2(x))", "x = self.mlp(self.ln_2(x))", "K6"),
    bug(
        "tie-lost",
        "embedding",
        "self.wte.weight = self.lm_head.weight",
        "self.wte.weight = nn.Parameter(self.lm_head.weight.clone())",
        "R11",
    ),
    bug("loss-negative", "loss", "loss = F.cross_entropy(", "loss = -F.cross_entropy(", "K7"),
    bug(
        "softmax-before-cross-entropy",
        "loss",
        "F.cross_entropy(logits.view",
        "F.cross_entropy(logits.softmax(-1).view",
    ),
    bug("targets-equal-inputs", "data", TARGETS, "source[i : i + block_size]", "N3"),
    bug("validation-in-training", "data", "= data[:n], data[n:]", "= data, data[n:]"),
    bug("ids-collide", "data", "[stoi[c] for c in text]", "[stoi[c] % 8 for c in text]", "A12"),
    bug("zero-grad-forgotten", "loop", CLEAR, ""),
    bug("accumulation-not-averaged", "loop", "        loss = loss / gradient_accumulation_steps\n", "", "N4"),
    bug("clip-after-step", "loop", CLIP + STEP, STEP + CLIP),
    bug("left-in-eval-mode", "loop", "    model.train()\n", ""),
    bug("graphs-in-evaluation", "loop", "@torch.no_grad()\n", ""),
    bug("layer-frozen", "optimizer", "model = GPT()\n", "model = GPT()\nmodel.blocks[1].requires_grad_(False)\n"),
    bug("left-out-of-optimizer", "optimizer", DECAYED, DECAYED.replace("model.p", "model.blocks.p")),
    bug("optimizer-of-another-model", "optimizer", ")\n\n\n@torch", ")\nmodel = GPT()\n\n\n@torch", "A5"),
    bug("decay-in-the-moments", "optimizer", "torch.optim.AdamW(", "torch.optim.Adam(", "K8"),
    bug("warmup-100-times", "schedule", "warmup_iters = 6", "warmup_iters = 600", "N5"),
    bug("rate-never-set", "schedule", 'param_group["lr"] = lr', "optimizer.lr = lr", also="optimizer"),
)  # fmt: skip

SOUND = (
    bug("another-seed", "data", "seed = 1337", "seed = 4"),
    bug("attention-by-hand", "attention", ATTENTION, BY_HAND),
    bug("relu", "block", "nn.GELU()", "nn.ReLU()"),
    bug("cleared-to-zeros", "loop", "set_to_none=True", "set_to_none=False"),
    bug("wider-and-deeper", "block", "n_layer = 3\nn_head = 4\nn_embd = 64", "n_layer = 4\nn_head = 4\nn_embd = 96"),
    bug("constant-rate", "schedule", "    lr = get_lr(step)\n", "    lr = learning_rate\n"),
)  # fmt: skip

TWINS = {"softmax-over-queries": "attention-by-hand"}  # the sound edit that a bug is one step away from
