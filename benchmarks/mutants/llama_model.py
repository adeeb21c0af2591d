"""Mutants of the Llama of other people's making, `tests/subjects/llama_like.py`: its model."""

from mutants.mutant import of

bug = of("tests/subjects/llama_like.py")

MUTANTS = (
    bug(
        "scale-multiplied",
        "attention",
        "is_causal=mask is None)",
        "is_causal=mask is None, scale=self.head_dim**0.5)",
        "K1",
    ),
    bug(
        "scale-not-rooted",
        "attention",
        "is_causal=mask is None)",
        "is_causal=mask is None, scale=1 / self.head_dim)",
    ),
    bug(
        "softmax-over-queries",
        "attention",
        "        output = F.scaled_dot_product_attention(xq, keys, values, attn_mask=mask, is_causal=mask is None)\n",
        """        scores = xq @ keys.transpose(-2, -1) / self.head_dim**0.5
        seen = torch.ones(seqlen, total, dtype=torch.bool, device=x.device).tril(total - seqlen)
        output = scores.masked_fill(~seen, float("-inf")).softmax(dim=-2) @ values
""",
        "K2",
    ),
    bug("mask-missing", "attention", "is_causal=mask is None)", "is_causal=False)"),
    bug(
        "mask-sees-one-ahead",
        "attention",
        "        output = F.scaled_dot_product_attention(xq, keys, values, attn_mask=mask, is_causal=mask is None)\n",
        """        mask = torch.ones(seqlen, total, dtype=torch.bool, device=x.device).tril(total - seqlen + 1)
        output = F.scaled_dot_product_attention(xq, keys, values, attn_mask=mask)
""",
    ),
    bug(
        "groups-dealt-in-turn",
        "attention",
        "x = x[:, :, :, None, :].expand(bs, slen, n_kv_heads, n_rep, head_dim)",
        "x = x[:, :, None, :, :].expand(bs, slen, n_rep, n_kv_heads, head_dim)",
        "N10",
    ),
    bug(
        "one-group-for-all",
        "attention",
        "keys, values = repeat_kv(xk, n_rep), repeat_kv(xv, n_rep)",
        "keys, values = repeat_kv(xk[:, :, :1], self.n_heads), repeat_kv(xv[:, :, :1], self.n_heads)",
        "N10",
    ),
    bug("values-of-other-groups", "attention", "repeat_kv(xv, n_rep)", "repeat_kv(xv.flip(2), n_rep)", "N10"),
    bug(
        "heads-joined-across-time",
        "attention",
        "output.transpose(1, 2).contiguous().view(",
        "output.contiguous().view(",
    ),
    bug("queries-for-keys", "attention", "xk = self.wk(x)", "xk = self.wv(x)"),
    bug(
        "output-projection-unused",
        "attention",
        "return self.wo(output.transpose(1, 2).contiguous().view(bsz, seqlen, -1))",
        "return output.transpose(1, 2).contiguous().view(bsz, seqlen, -1)",
    ),
    bug(
        "dropout-in-evaluation",
        "attention",
        "is_causal=mask is None)",
        "is_causal=mask is None, dropout_p=0.1)",
        "A13a",
        also="block precision",
    ),
    bug("keys-all-zero", "attention", "xk = self.wk(x)", "xk = 0 * self.wk(x)"),
    bug("empty-text-accepted", "attention", "if seqlen < 1 or start", "if start", "T1", also="loss position"),
    bug(
        "values-turned",
        "position",
        "xq, xk = apply_rotary_emb(xq, freqs_cis), apply_rotary_emb(xk, freqs_cis)",
        "xq, xk, xv = (apply_rotary_emb(t, freqs_cis) for t in (xq, xk, xv))",
        "K3",
    ),
    bug(
        "wrong-signs",
        "position",
        "turned = pairs * freqs_cis[None, :, None, :]",
        """cos, sin = freqs_cis.real[None, :, None], freqs_cis.imag[None, :, None]
    turned = torch.complex(pairs.real * cos + pairs.imag * sin, pairs.real * sin + pairs.imag * cos)""",
        "K5",
    ),
    bug(
        "keys-turned-backwards",
        "position",
        "apply_rotary_emb(xk, freqs_cis)",
        "apply_rotary_emb(xk, freqs_cis.conj())",
        "K5",
    ),
    bug(
        "keys-not-turned",
        "position",
        "xq, xk = apply_rotary_emb(xq, freqs_cis), apply_rotary_emb(xk, freqs_cis)",
        "xq = apply_rotary_emb(xq, freqs_cis)",
    ),
    bug(
        "nothing-turned",
        "position",
        "xq, xk = apply_rotary_emb(xq, freqs_cis), apply_rotary_emb(xk, freqs_cis)",
        "pass",
    ),
    bug(
        "turned-by-one-angle",
        "position",
        "turned = pairs * freqs_cis[None, :, None, :]",
        "turned = pairs * freqs_cis[None, :1, None, :]",
    ),
    bug(
        "frequencies-of-twice-the-width",
        "position",
        "torch.arange(0, dim, 2).double() / dim",
        "torch.arange(0, dim, 2).double() / (2 * dim)",
        "N8",
    ),
    bug(
        "frequencies-upside-down",
        "position",
        "1.0 / (theta ** (torch.arange(0, dim, 2).double() / dim))",
        "theta ** (torch.arange(0, dim, 2).double() / dim)",
    ),
    bug(
        "angles-in-half-precision",
        "position",
        "torch.outer(torch.arange(end).double(), freqs)",
        "torch.outer(torch.arange(end).bfloat16(), freqs.bfloat16()).double()",
        also="precision",
    ),
    bug(
        "positions-wrap",
        "position",
        "self.freqs_cis[start : start + length]",
        "self.freqs_cis[torch.arange(start, start + length) % 16]",
        "T16",
    ),
    bug(
        "tables-left-behind",
        "precision",
        """        self.register_buffer("freqs_cis", self.make(), persistent=False)
""",
        """        self.freqs_cis = self.make()
""",
        "A3",
        also="position",
    ),
    bug(
        "tables-rounded-with-the-model",
        "precision",
        """        device = fn(torch.empty(0, device=self.freqs_cis.device)).device
        with torch.device("cpu"):
            self.freqs_cis = self.make().to(device)
        return self
""",
        """        self.freqs_cis = torch.view_as_complex(fn(torch.view_as_real(self.freqs_cis)).float())
        return self
""",
        also="position",
    ),
    bug("no-epsilon", "norm", "keepdim=True) + self.eps)", "keepdim=True))", "K4"),
    bug(
        "epsilon-outside-the-root",
        "norm",
        "x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)",
        "x / (x.pow(2).mean(-1, keepdim=True).sqrt() + self.eps)",
    ),
    bug(
        "mean-over-time",
        "norm",
        "x.pow(2).mean(-1, keepdim=True)",
        "x.pow(2).mean(1, keepdim=True)",
        also="attention",
    ),
    bug("sum-for-mean", "norm", "x.pow(2).mean(-1, keepdim=True)", "x.pow(2).sum(-1, keepdim=True)"),
    bug("no-square", "norm", "x.pow(2).mean(-1, keepdim=True)", "x.abs().mean(-1, keepdim=True)"),
    bug("gain-unused", "norm", "type_as(x) * self.weight", "type_as(x)", also="block"),
    bug("norm-in-half-precision", "norm", "self._norm(x.float())", "self._norm(x)", also="precision"),
    bug("last-norm-unused", "norm", "self.output(self.norm(h))", "self.output(h)", also="block"),
    bug(
        "no-residual-around-feed-forward",
        "block",
        "return h + self.feed_forward(",
        "return self.feed_forward(",
        "K6",
    ),
    bug("no-residual-around-attention", "block", "h = x + self.attention(", "h = self.attention("),
    bug(
        "residual-from-before-attention",
        "block",
        "return h + self.feed_forward(",
        "return x + self.feed_forward(",
    ),
    bug("wrong-norm-before-feed-forward", "block", "self.ffn_norm(h)", "self.attention_norm(h)", also="norm"),
    bug(
        "no-norm-before-attention",
        "block",
        "self.attention(self.attention_norm(x),",
        "self.attention(x,",
        also="norm",
    ),
    bug("gate-unused", "block", "F.silu(self.w1(x)) * self.w3(x)", "F.silu(self.w1(x))"),
    bug("gate-is-the-value", "block", "F.silu(self.w1(x)) * self.w3(x)", "F.silu(self.w1(x)) * self.w1(x)"),
    bug(
        "feed-forward-mixes-time",
        "block",
        "self.w2(F.silu(self.w1(x))",
        "self.w2(F.silu(self.w1(x.flip(1)))",
        also="attention",
    ),
    bug(
        "first-layer-skipped",
        "block",
        "for layer in self.layers:\n            h =",
        "for layer in self.layers[1:]:\n            h =",
    ),
    bug(
        "embedding-cut-from-the-graph",
        "embedding",
        "h = self.tok_embeddings(tokens)",
        "h = self.tok_embeddings(tokens).detach()",
        also="block",
    ),
    bug("ids-folded", "embedding", "self.tok_embeddings(tokens)", "self.tok_embeddings(tokens % 128)", "A12"),
    bug(
        "neighbours-embedding-added",
        "embedding",
        "h = self.tok_embeddings(tokens)",
        "h = self.tok_embeddings(tokens) + self.tok_embeddings(tokens.roll(-1, 1))",
        also="attention",
    ),
    bug(
        "initialised-too-large",
        "embedding",
        "if ends_block else 0.02)",
        "if ends_block else 1.0)",
        also="block loss",
    ),
)
