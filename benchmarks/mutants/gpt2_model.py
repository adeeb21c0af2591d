"""Mutants of the GPT-2 of other people's making, `tests/subjects/gpt2_like.py`: its model."""

from mutants.mutant import of

bug = of("tests/subjects/gpt2_like.py")

MUTANTS = (
    bug("scale-multiplied", "attention", "/ math.sqrt(k.size(-1))", "* math.sqrt(k.size(-1))", "K1"),
    bug("scale-missing", "attention", " / math.sqrt(k.size(-1))", ""),
    bug("scale-of-the-width", "attention", "/ math.sqrt(k.size(-1))", "/ math.sqrt(C)"),
    bug(
        "softmax-over-queries",
        "attention",
        "att = F.softmax(att, dim=-1)",
        "att = F.softmax(att, dim=-2)",
        "K2",
    ),
    bug("mask-sees-one-ahead", "attention", "torch.tril(ones)", "torch.tril(ones, diagonal=1)"),
    bug("mask-missing", "attention", "torch.tril(ones)", "ones"),
    bug("mask-too-weak", "attention", ':T, :T], float("-inf"))', ":T, :T], -1.0)"),
    bug(
        "mask-after-softmax",
        "attention",
        """        att = att.masked_fill(~self.visible[:, :, :T, :T], float("-inf"))
        att = F.softmax(att, dim=-1)
""",
        """        att = F.softmax(att, dim=-1)
        att = att.masked_fill(~self.visible[:, :, :T, :T], 0.0)
""",
    ),
    bug(
        "heads-joined-across-time",
        "attention",
        "(att @ v).transpose(1, 2).contiguous()",
        "(att @ v).contiguous()",
    ),
    bug(
        "keys-split-across-time",
        "attention",
        "k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)",
        "k = k.reshape(B, self.n_head, T, C // self.n_head)",
    ),
    bug("keys-for-values", "attention", "y = (att @ v)", "y = (att @ k)"),
    bug(
        "output-projection-unused", "attention", "self.resid_dropout(self.c_proj(y))", "self.resid_dropout(y)"
    ),
    bug(
        "attention-dropout-in-evaluation",
        "attention",
        "att = self.attn_dropout(att)",
        "att = F.dropout(att, self.attn_dropout.p)",
        "A13a",
        also="block precision",
    ),
    bug(
        "empty-text-accepted", "attention", "if not 1 <= T <=", "if not 0 <= T <=", "T1", also="loss position"
    ),
    bug(
        "mask-left-behind",
        "precision",
        """self.register_buffer("visible", torch.tril(ones)[None, None])""",
        "self.visible = torch.tril(ones)[None, None]",
        "A3",
        also="attention",
    ),
    bug("positions-missing", "position", " + self.wpe(positions))", ")", also="embedding"),
    bug("positions-all-zero", "position", "torch.arange(T, device=idx.device)", "torch.zeros_like(idx[0])"),
    bug(
        "positions-counted-from-the-end",
        "position",
        "torch.arange(T, device=idx.device)",
        "torch.arange(T - 1, -1, -1, device=idx.device)",
    ),
    bug(
        "positions-wrap",
        "position",
        "arange(T, device=idx.device)",
        "arange(T, device=idx.device) % 16",
        "T16",
    ),
    bug(
        "too-long-is-cut-silently",
        "position",
        """        if not 1 <= T <= self.config.block_size:
            raise ValueError(f"{T} tokens: expected 1 to block_size={self.config.block_size}")
""",
        """        idx = idx[:, -self.config.block_size :]
        T = idx.shape[1]
""",
        "T16",
        also="attention",
    ),
    bug("no-epsilon", "norm", "torch.rsqrt(variance + self.eps)", "torch.rsqrt(variance)", "K4"),
    bug(
        "epsilon-outside-the-root",
        "norm",
        "torch.rsqrt(variance + self.eps)",
        "(1 / (variance.sqrt() + self.eps))",
    ),
    bug(
        "mean-over-time",
        "norm",
        "widen(x) - widen(x).mean(-1, keepdim=True)",
        "widen(x) - widen(x).mean(-2, keepdim=True)",
        also="attention",
    ),
    bug("no-root", "norm", "torch.rsqrt(variance + self.eps)", "1 / (variance + self.eps)"),
    bug("gain-unused", "norm", "(normed * self.weight + self.bias)", "(normed + self.bias)", also="block"),
    bug(
        "norm-in-half-precision",
        "norm",
        "centred = widen(x) - widen(x).mean(-1, keepdim=True)",
        "centred = x - x.mean(-1, keepdim=True)",
        also="precision",
    ),
    bug("last-norm-unused", "norm", "x = self.ln_f(x)", "pass", also="block"),
    bug(
        "no-residual-around-mlp",
        "block",
        "x = x + self.mlp(self.ln_2(x))",
        "x = self.mlp(self.ln_2(x))",
        "K6",
    ),
    bug(
        "no-residual-around-attention",
        "block",
        "x = x + self.attn(self.ln_1(x))",
        "x = self.attn(self.ln_1(x))",
    ),
    bug(
        "residual-doubled", "block", "x = x + self.attn(self.ln_1(x))", "x = x + x + self.attn(self.ln_1(x))"
    ),
    bug("wrong-norm-before-mlp", "block", "self.mlp(self.ln_2(x))", "self.mlp(self.ln_1(x))", also="norm"),
    bug("no-norm-before-mlp", "block", "self.mlp(self.ln_2(x))", "self.mlp(x)", also="norm"),
    bug("no-activation", "block", "F.gelu(self.c_fc(x))", "self.c_fc(x)"),
    bug(
        "one-block-thrice",
        "block",
        "[CausalBlock(config) for _ in range(config.n_layer)]",
        "[CausalBlock(config)] * config.n_layer",
    ),
    bug("last-block-unused", "block", "for block in self.h:", "for block in self.h[:-1]:"),
    bug("blocks-cut-from-the-graph", "block", "x = block(x)\n", "x = block(x.detach())\n", also="embedding"),
    bug(
        "dropout-in-evaluation",
        "embedding",
        "x = self.drop(self.wte(idx) + self.wpe(positions))",
        "x = F.dropout(self.wte(idx) + self.wpe(positions), self.config.dropout)",
        also="block precision",
    ),
    bug(
        "tied-by-data",
        "embedding",
        "self.lm_head.weight = self.wte.weight",
        "self.lm_head.weight.data = self.wte.weight.data",
        "R11",
    ),
    bug(
        "initialised-too-large",
        "embedding",
        "nn.init.normal_(module.weight, mean=0.0, std=0.02)",
        "nn.init.normal_(module.weight, mean=0.0, std=1.0)",
        also="block loss",
    ),
)
