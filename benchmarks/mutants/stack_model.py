"""Mutants of our own layers and model, on the plain backend."""

from mutants.mutant import of

plain = of("src/trueformer/nn/plain.py")
attention = of("src/trueformer/nn/attention.py")
masks = of("src/trueformer/nn/masks.py")
checks = of("src/trueformer/models/checks.py")
rotary = of("src/trueformer/nn/rotary.py")
tables = of("src/trueformer/nn/tables.py")
blocks = of("src/trueformer/nn/blocks.py")
feed_forward = of("src/trueformer/nn/feed_forward.py")
decoder = of("src/trueformer/models/decoder.py")
cache = of("src/trueformer/nn/cache.py")

MUTANTS = (
    plain("scale-divides", "attention", "k_BSNH) * scale", "k_BSNH) / scale", "K1"),
    plain("scale-missing", "attention", "k_BSNH) * scale", "k_BSNH)"),
    plain(
        "softmax-over-queries",
        "attention",
        "torch.softmax(scores_BNTS, dim=-1)",
        "torch.softmax(scores_BNTS, dim=-2)",
        "K2",
    ),
    plain("mask-sees-one-ahead", "attention", ".tril(S - T)[None]", ".tril(S - T + 1)[None]"),
    plain(
        "mask-too-weak",
        "attention",
        'masked_fill(~allowed_BTS[:, None], float("-inf"))',
        "masked_fill(~allowed_BTS[:, None], -5.0)",
    ),
    plain(
        "mask-missing",
        "attention",
        'masked_fill(~allowed_BTS[:, None], float("-inf"))',
        'masked_fill(allowed_BTS[:, None] & False, float("-inf"))',
    ),
    plain(
        "key-groups-dealt-in-turn",
        "attention",
        "k_BSKH.repeat_interleave(N // K, dim=2)",
        "k_BSKH.repeat(1, 1, N // K, 1)",
        "N10",
    ),
    plain(
        "value-groups-reversed",
        "attention",
        "v_BSKH.repeat_interleave(N // K, dim=2)",
        "v_BSKH.flip(2).repeat_interleave(N // K, dim=2)",
        "N10",
    ),
    plain("keys-for-values", "attention", "weights_BNTS, v_BSNH)", "weights_BNTS, k_BSNH)"),
    plain(
        "dropout-in-evaluation",
        "attention",
        "torch.dropout(weights_BNTS, dropout, train=dropout > 0)",
        "torch.dropout(weights_BNTS, 0.1, train=True)",
        "A13a",
        also="block precision",
    ),
    plain(
        "wrong-sign-in-the-first",
        "position",
        "y[..., first] = a * cos - b * sin",
        "y[..., first] = a * cos + b * sin",
        "K5",
    ),
    plain(
        "wrong-order-in-the-second",
        "position",
        "y[..., second] = a * sin + b * cos",
        "y[..., second] = a * cos + b * sin",
        "K5",
    ),
    plain("pairs-overlap", "position", '(r, r + R) if layout == "half"', '(r, r + 1) if layout == "half"'),
    plain("one-pair-unturned", "position", "for r in range(R):", "for r in range(R - 1):"),
    plain("rms-no-epsilon", "norm", "torch.sqrt(mean_square + eps)", "torch.sqrt(mean_square)", "K4"),
    plain(
        "rms-epsilon-outside-the-root",
        "norm",
        "torch.sqrt(mean_square + eps)",
        "(torch.sqrt(mean_square) + eps)",
    ),
    plain(
        "rms-over-the-wrong-axis",
        "norm",
        "x32.square().mean(dim=-1, keepdim=True)",
        "x32.square().mean(dim=-2, keepdim=True)",
        also="attention",
    ),
    plain(
        "rms-gain-unused",
        "norm",
        "return (y * weight_D.float()).to(x.dtype)",
        "return y.to(x.dtype)",
        also="block",
    ),
    plain(
        "rms-in-half-precision",
        "norm",
        "    x32 = x.float()\n    mean_square",
        "    x32 = x\n    mean_square",
        also="precision",
    ),
    plain("layer-norm-no-epsilon", "norm", "torch.sqrt(variance + eps)", "torch.sqrt(variance)", "K4"),
    plain("layer-norm-bias-unused", "norm", " + bias_D.float())", ")", also="block"),
    attention(
        "values-turned",
        "position",
        "            k_BTKH = apply_rotary(k_BTKH, rotation, self.rope_layout, self.backend)\n",
        """            k_BTKH = apply_rotary(k_BTKH, rotation, self.rope_layout, self.backend)
            v_BTKH = apply_rotary(v_BTKH, rotation, self.rope_layout, self.backend)
""",
        "K3",
    ),
    attention(
        "keys-not-turned",
        "position",
        "            k_BTKH = apply_rotary(k_BTKH, rotation, self.rope_layout, self.backend)\n",
        "",
    ),
    attention(
        "scale-of-the-width",
        "attention",
        '"scale": self.head_dim**-0.5',
        '"scale": self.out.out_features**-0.5',
    ),
    attention(
        "keys-not-normed",
        "norm",
        "q_BTNH, k_BTKH = self.q_norm(q_BTNH), self.k_norm(k_BTKH)",
        "q_BTNH = self.q_norm(q_BTNH)",
        also="block attention",
    ),
    attention(
        "values-of-the-keys", "attention", "v_BTKH = self.v(x_BTD)", "v_BTKH = self.k(x_BTD)", also="block"
    ),
    attention(
        "queries-split-across-time",
        "attention",
        "self.q(x_BTD).view(B, T, self.n_heads, self.head_dim)",
        "self.q(x_BTD).view(B, self.n_heads, T, self.head_dim).transpose(1, 2)",
    ),
    attention(
        "heads-joined-across-time",
        "attention",
        "y_BTNH.reshape(B, T, self",
        "y_BTNH.transpose(1, 2).reshape(B, T, self",
    ),
    attention(
        "dropout-in-evaluation",
        "attention",
        "self.dropout if self.training else 0.0",
        "self.dropout",
        "A13a",
        also="block precision",
    ),
    masks("window-one-too-wide", "attention", "query_T1 - key_S < window", "query_T1 - key_S <= window"),
    masks(
        "earlier-documents-seen",
        "attention",
        "document_BT[:, :, None] == document_BT[:, None, :]",
        "document_BT[:, :, None] >= document_BT[:, None, :]",
    ),
    masks("padding-seen", "attention", "allowed_BTS & key_valid_BS[:, None, :]", "allowed_BTS", "T3"),
    masks(
        "padding-on-the-query-axis", "attention", "key_valid_BS[:, None, :]", "key_valid_BS[:, :, None]", "T3"
    ),
    masks(
        "left-padding-seen",
        "inference",
        "allowed_BTS & (key_S >= start_B[:, None, None])",
        "allowed_BTS",
        "T20",
        also="attention",
    ),
    masks(
        "mask-strict",
        "attention",
        "(key_S <= query_T1)[None]",
        "((key_S < query_T1) | (query_T1 == 0))[None]",
    ),
    checks(
        "any-mask-shape", "attention", "if mask.shape != ids_BT.shape:", "if mask.dim() > ids_BT.dim():", "T3"
    ),
    checks(
        "empty-text-accepted",
        "attention",
        "if ids_BT.dim() != 2 or 0 in ids_BT.shape:",
        "if ids_BT.dim() != 2:",
        "T1",
        also="position",
        crashes=True,
    ),
    checks(
        "any-length-accepted",
        "position",
        "if cache is None and config.max_len < T:",
        "if cache is None and config.max_len < 0:",
        "T16",
        also="attention",
        crashes=True,
    ),
    rotary(
        "frequencies-of-twice-the-width",
        "position",
        "torch.arange(0, rope_dim, 2, dtype=torch.float64) / rope_dim",
        "torch.arange(0, rope_dim, 2, dtype=torch.float64) / (2 * rope_dim)",
        "N8",
    ),
    rotary(
        "frequencies-upside-down",
        "position",
        "frequency_R = base**-exponent_R",
        "frequency_R = base**exponent_R",
    ),
    rotary(
        "positions-wrap",
        "position",
        "return self.cos_PR[positions_BT], self.sin_PR[positions_BT]",
        "return self.cos_PR[positions_BT % 16], self.sin_PR[positions_BT % 16]",
        "T16",
    ),
    rotary(
        "angles-in-half-precision",
        "position",
        '{"cos_PR": angle_PR.cos() * factor,',
        '{"cos_PR": angle_PR.bfloat16().double().cos() * factor,',
        also="precision",
    ),
    tables(
        "rounded-with-the-model",
        "precision",
        "        self.build(next(self.buffers()).device)\n",
        "",
        "A3",
        also="position",
    ),
    blocks(
        "no-residual-around-feed-forward",
        "block",
        """        x_BTD = x_BTD + dropout(h_BTD, self.dropout, self.training)
        return""",
        """        x_BTD = dropout(h_BTD, self.dropout, self.training)
        return""",
        "K6",
    ),
    blocks(
        "no-residual-around-attention",
        "block",
        """        x_BTD = x_BTD + dropout(h_BTD, self.dropout, self.training)
        if""",
        """        x_BTD = dropout(h_BTD, self.dropout, self.training)
        if""",
    ),
    blocks(
        "no-norm-before-feed-forward",
        "block",
        "self.feed_forward(self.feed_forward_norm(x_BTD) if self.pre else x_BTD)",
        "self.feed_forward(x_BTD)",
        also="norm",
    ),
    blocks(
        "wrong-norm-before-feed-forward",
        "block",
        "self.feed_forward_norm(x_BTD) if",
        "self.attention_norm(x_BTD) if",
        also="norm",
    ),
    blocks(
        "dropout-in-evaluation",
        "block",
        "        x_BTD = x_BTD + dropout(h_BTD, self.dropout, self.training)\n        return",
        "        x_BTD = x_BTD + dropout(h_BTD, self.dropout, True)\n        return",
        also="embedding precision",
    ),
    feed_forward(
        "gate-is-the-value", "block", "F.silu(self.gate(x_BTD)) * up_BTF", "F.silu(up_BTF) * up_BTF"
    ),
    feed_forward("value-unused", "block", "F.silu(self.gate(x_BTD)) * up_BTF", "F.silu(self.gate(x_BTD))"),
    decoder("last-norm-unused", "norm", "return self.final_norm(x_BTD)", "return x_BTD", also="block"),
    decoder(
        "head-without-gradient",
        "embedding",
        "logits = F.linear(x, self.embedding.weight) if",
        "logits = F.linear(x, self.embedding.weight.detach()) if",
        also="block",
    ),
    decoder(
        "head-not-tied",
        "embedding",
        "self.head = None if config.tied else",
        "self.head = None if False else",
        "R11",
    ),
    decoder("first-block-skipped", "block", "for block in self.blocks:", "for block in self.blocks[1:]:"),
    decoder(
        "documents-forgotten",
        "attention",
        '"document_BT": document_BT, "key_valid_BS"',
        '"document_BT": None, "key_valid_BS"',
    ),
    decoder(
        "logits-in-half-precision",
        "precision",
        "        logits = logits.float()\n",
        "        logits = logits.bfloat16().float()\n",
        also="loss embedding",
    ),
    decoder(
        "initialised-too-large",
        "embedding",
        "residual_std if residual else std)",
        "residual_std if residual else 50 * std)",
        also="block loss",
    ),
    decoder(
        "positions-missing",
        "position",
        "x_BTD = x_BTD + self.positions(positions_BT).to(x_BTD.dtype)",
        "pass",
        also="embedding",
    ),
    decoder(
        "positions-not-counted-anew",
        "position",
        "positions_BT = positions_within(ids_BT, document_BT, key_valid_BS)",
        "pass",
        also="attention",
    ),
    decoder(
        "offset-ignored",
        "inference",
        "torch.arange(T, device=ids_BT.device) if cache is None else cache.slots(T)",
        "torch.arange(T, device=ids_BT.device)",
        "N9",
        also="position",
    ),
    decoder(
        "position-advances-after-the-first-layer",
        "inference",
        """            x_BTD = block(x_BTD, rotation=rotation, mask=mask, cache=cache)
        if cache is not None:
            cache.advance(T)
""",
        """            x_BTD = block(x_BTD, rotation=rotation, mask=mask, cache=cache)
            if cache is not None and T == 1 and block is self.blocks[0]:
                cache.advance(T)
        if cache is not None and T > 1:
            cache.advance(T)
""",
        "N9",
    ),
    decoder(
        "loaded-in-part",
        "checkpoint",
        "super().load_state_dict(state_dict, strict, assign)",
        "super().load_state_dict(state_dict, False, assign)",
        "T10",
    ),
    cache(
        "reset-forgets-nothing",
        "inference",
        """.to(self.keys[0].device)
        self._clear()
""",
        """.to(self.keys[0].device)
""",
        "N11",
    ),
    cache(
        "values-one-slot-late",
        "inference",
        "values[:, :, self.length : end] = v_BTKH",
        "values[:, :, max(0, self.length - 1) : max(0, self.length - 1) + end - self.length] = v_BTKH",
    ),
    cache(
        "last-key-unseen",
        "inference",
        "return keys[:, :, :end].transpose(1, 2), values[:, :, :end]",
        "return keys[:, :, :end].roll(1, 2).transpose(1, 2), values[:, :, :end]",
        also="attention",
    ),
    cache("advances-by-one", "inference", "        self.length += T\n", "        self.length += 1\n", "N9"),
)
