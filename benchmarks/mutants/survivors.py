"""Mutants that no law catches, and why."""

SURVIVORS: dict[str, str] = {
    "llama_like/values-of-other-groups": "another labelling of the same weights: from outside, the same model",
    "plain/value-groups-reversed": "another labelling of the same weights: from outside, the same model",
    "llama_like/empty-text-accepted": "no logits for no tokens is right; a loss of none is NaN in nearly all code",
    "checks/empty-text-accepted": "no ids have no smallest one, which torch refuses by itself",
    "checks/any-length-accepted": "the table of positions refuses by itself, or positions go on",
    "masks/window-one-too-wide": "whether a window of W counts the token itself is a matter of taste",
    "bits_per_byte/left-in-evaluation-mode": "each training step sets its mode itself, so none is taken in another",
    "tables/rounded-with-the-model": "cosines rounded with the weights are as exact as the queries "
    "that they multiply, and GPT-J keeps them so: see docs/conventions.md",
}  # fmt: skip


# What operators made that is no bug, by its edit; tests/subjects/test_operators.py has the proofs.
SIGN = "no bug: the same model with the weights behind the sign negated, and as likely from the start"
BIAS = "no bug: a bias, and the clean model where it is zero"


def _biased(subject: str, name: str, sizes: str) -> dict[str, str]:
    """Both ways in which an operator gives a layer without a bias one."""
    made = f"self.{name} = nn.Linear({sizes}"
    return {f"{subject}: {made}, bias=False) -> {made}{how})": BIAS for how in ("", ", bias=True")}


NO_BUG: dict[str, str] = {
    "gpt2_like: def __init__(self, ndim, eps=1e-5): -> def __init__(self, ndim, eps=2e-05):":
        "no bug: both epsilons are usual",
    "gpt2_like: return (normed * self.weight + self.bias).to(x.dtype) -> "
    "return ((normed * self.weight - self.bias)).to(x.dtype)": SIGN,
    "gpt2_like: x = x + self.attn(self.ln_1(x)) -> x = (x - self.attn(self.ln_1(x)))": SIGN,
    "gpt2_like: x = x + self.mlp(self.ln_2(x)) -> x = (x - self.mlp(self.ln_2(x)))": SIGN,
    "gpt2_like: x = self.drop(self.wte(idx) + self.wpe(positions)) -> "
    "x = self.drop((self.wte(idx) - self.wpe(positions)))": SIGN,
    **_biased("gpt2_like", "lm_head", "config.n_embd, config.vocab_size"),
    "llama_like: turned = pairs * freqs_cis[None, :, None, :] -> turned = (pairs / freqs_cis[None, :, None, :])":
        "no bug: the other way round, for queries and keys alike (K5 in docs/conventions.md)",
    **_biased("llama_like", "wq", "args.dim, self.n_heads * self.head_dim"),
    **_biased("llama_like", "wk", "args.dim, self.n_kv_heads * self.head_dim"),
    **_biased("llama_like", "wv", "args.dim, self.n_kv_heads * self.head_dim"),
    **_biased("llama_like", "wo", "self.n_heads * self.head_dim, args.dim"),
    **_biased("llama_like", "w1", "args.dim, args.hidden_dim"),
    **_biased("llama_like", "w2", "args.hidden_dim, args.dim"),
    **_biased("llama_like", "w3", "args.dim, args.hidden_dim"),
    **_biased("llama_like", "output", "args.dim, args.vocab_size"),
    "llama_like: h = x + self.attention(self.attention_norm(x), freqs_cis, start_pos) -> "
    "h = (x - self.attention(self.attention_norm(x), freqs_cis, start_pos))": SIGN,
    "llama_like: return h + self.feed_forward(self.ffn_norm(h)) -> "
    "return (h - self.feed_forward(self.ffn_norm(h)))": SIGN,
    "llama_like: return self.w2(F.silu(self.w1(x)) * self.w3(x)) -> return self.w2(self.w1(x) * self.w3(x))":
        "no bug: the bilinear layer of Shazeer 2020, arXiv:2002.05202, §2",
}  # fmt: skip
