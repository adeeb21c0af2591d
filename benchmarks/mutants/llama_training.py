"""Mutants of the Llama of other people's making, `tests/subjects/llama_like.py`: training, files, generation, text."""

from mutants.mutant import of

bug = of("tests/subjects/llama_like.py")

MUTANTS = (
    bug("sign", "loss", "return F.cross_entropy(", "return -F.cross_entropy(", "K7"),
    bug(
        "padding-learned",
        "loss",
        'batch["targets"].reshape(-1)',
        'batch["targets"].reshape(-1).clamp(min=0)',
        "T5",
    ),
    bug(
        "mean-over-padding",
        "loss",
        "ignore_index=IGNORED\n    )",
        'ignore_index=IGNORED, reduction="sum"\n    ) / batch["targets"].numel()',
        "T5",
    ),
    bug(
        "shifted-twice",
        "loss",
        """    logits = model(batch["tokens"])
""",
        """    logits = model(batch["tokens"])[:, :-1]
    batch = {"targets": batch["targets"][:, 1:]}
""",
        also="data",
    ),
    bug(
        "softmax-before-cross-entropy",
        "loss",
        'logits = model(batch["tokens"])',
        'logits = model(batch["tokens"]).softmax(-1)',
    ),
    bug("targets-equal-inputs", "data", "torch.tensor(row[1:])", "torch.tensor(row[:-1])", "N3", also="loss"),
    bug(
        "padding-is-a-target",
        "data",
        "IGNORED, dtype=torch.int64)",
        "self.pad_id, dtype=torch.int64)",
        "T5",
        also="loss",
    ),
    bug(
        "no-bos-in-documents",
        "data",
        "encode_batch(documents, bos=True, eos=True)",
        "encode_batch(documents, eos=True)",
        "N1",
        also="tokenizer",
    ),
    bug("validation-shuffled", "data", "batch_size=6, shuffle=False)", "batch_size=6, shuffle=True)", "A6"),
    bug("validation-seen-in-training", "data", "PackedLoader(stories(2, 12)", "PackedLoader(stories(1, 12)"),
    bug("rows-repeated", "data", "self.next_row += len(chosen)", "self.next_row += max(1, len(chosen) // 2)"),
    bug(
        "rows-lost",
        "data",
        "order = list(range(len(self.rows)))",
        "order = list(range(0, len(self.rows), 2)) * 2",
    ),
    bug("no-rows", "data", "stories(1, 90)", "stories(1, 0)", "R4"),
    bug("place-not-saved", "data", '"next_row": self.next_row}', '"next_row": 0}', also="checkpoint"),
    bug(
        "epoch-not-loaded",
        "data",
        'self.epoch, self.next_row, self.resumed = state["epoch"], state["next_row"], True',
        'self.next_row, self.resumed = state["next_row"], True',
        also="checkpoint",
    ),
    bug(
        "tokens-are-fractions",
        "data",
        "self.pad_id, dtype=torch.int32)",
        "self.pad_id, dtype=torch.float32)",
        "A2",
        crashes=True,
    ),
    bug(
        "decay-in-the-moments",
        "optimizer",
        'state["exp_avg"].mul_(beta1).add_(grad, alpha=1 - beta1)',
        'state["exp_avg"].mul_(beta1).add_(grad, alpha=1 - beta1).add_(weight, alpha=group["weight_decay"])',
        "K8",
    ),
    bug(
        "decay-in-the-gradient",
        "optimizer",
        "grad = p.grad.to(weight.dtype)",
        'grad = p.grad.to(weight.dtype) + group["weight_decay"] * weight',
        "K8",
    ),
    bug(
        "decay-shrinks-the-moments",
        "optimizer",
        'weight.mul_(1 - group["lr"] * group["weight_decay"])',
        'state["exp_avg"].mul_(1 - group["lr"] * group["weight_decay"])',
        "K8",
    ),
    bug("decay-grows-weights", "optimizer", 'weight.mul_(1 - group["lr"]', 'weight.mul_(1 + group["lr"]'),
    bug(
        "decay-without-the-rate",
        "optimizer",
        'weight.mul_(1 - group["lr"] * group["weight_decay"])',
        'weight.mul_(1 - group["weight_decay"])',
    ),
    bug(
        "mean-not-corrected",
        "optimizer",
        'state["exp_avg"] / (1 - beta1 ** state["step"])',
        'state["exp_avg"]',
    ),
    bug(
        "square-not-corrected",
        "optimizer",
        'state["exp_avg_sq"] / (1 - beta2 ** state["step"])',
        'state["exp_avg_sq"]',
    ),
    bug("no-root", "optimizer", '(1 - beta2 ** state["step"])).sqrt()', '(1 - beta2 ** state["step"]))'),
    bug("steps-not-counted", "optimizer", 'state["step"] += 1', 'state["step"] = 1'),
    bug("betas-exchanged", "optimizer", "value=1 - beta2)", "value=1 - beta1)"),
    bug("uphill", "optimizer", 'weight.sub_(group["lr"] * mean', 'weight.add_(group["lr"] * mean'),
    bug(
        "embedding-in-no-group",
        "optimizer",
        'plain = [p for name, p in named if p.dim() == 1 or "tok_embeddings" in name]',
        "plain = [p for name, p in named if p.dim() == 1]",
    ),
    bug(
        "of-another-model",
        "optimizer",
        '"optimizer": make_optimizer(model),',
        '"optimizer": make_optimizer(build()),',
        "A5",
    ),
    bug(
        "updates-lost-in-half-precision",
        "optimizer",
        "narrow = p.dtype in (torch.bfloat16, torch.float16)",
        "narrow = False",
        "A8",
        also="precision",
    ),
    bug(
        "warmup-100-times-too-long",
        "schedule",
        """    if step < WARMUP_STEPS:
        return MAX_LR * (step + 1) / WARMUP_STEPS
""",
        """    if step < 100 * WARMUP_STEPS:
        return MAX_LR * (step + 1) / (100 * WARMUP_STEPS)
""",
        "N5",
    ),
    bug(
        "warmup-overshoots",
        "schedule",
        "return MAX_LR * (step + 1) / WARMUP_STEPS",
        "return MAX_LR * (step + 1) / 2",
    ),
    bug(
        "rate-below-zero",
        "schedule",
        "return MAX_LR * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))",
        "return MAX_LR * math.cos(math.pi * done)",
    ),
    bug("zero-grad-forgotten", "loop", "    optimizer.zero_grad()\n", ""),
    bug(
        "accumulation-not-divided",
        "loop",
        "loss(model, batch) * tokens / sum(learned)",
        "loss(model, batch)",
        "N4",
    ),
    bug(
        "accumulation-divided-by-batches",
        "loop",
        "loss(model, batch) * tokens / sum(learned)",
        "loss(model, batch) / len(batches)",
        "N4",
    ),
    bug(
        "zero-grad-in-the-middle",
        "loop",
        "        part.backward()\n",
        "        optimizer.zero_grad()\n        part.backward()\n",
    ),
    bug("clip-each-tensor", "loop", "(max_norm / (norm + 1e-6))", "(max_norm / (grad.norm() + 1e-6))"),
    bug("clip-stretches", "loop", "(max_norm / (norm + 1e-6)).clamp(max=1.0)", "max_norm / (norm + 1e-6)"),
    bug("clip-of-copies", "loop", "        grad.mul_((max_norm", "        grad.mul((max_norm"),
    bug(
        "step-forgotten",
        "loop",
        "    optimizer.step()\n    optimizer.zero_grad()",
        "    optimizer.zero_grad()",
        also="optimizer",
    ),
    bug("saved-in-place", "checkpoint", 'Path(f"{path}.tmp")', "Path(path)", "T8"),
    bug(
        "loaded-in-part",
        "checkpoint",
        "model.load_state_dict(prefixed)",
        "model.load_state_dict(prefixed, strict=False)",
        "T10",
    ),
    bug(
        "moments-not-loaded", "checkpoint", '{"state": states, "param_groups"', '{"state": {}, "param_groups"'
    ),
    bug("place-not-loaded", "checkpoint", 'loader.load_state_dict(header["loader"])', "pass", also="data"),
    bug("step-forgotten-on-loading", "checkpoint", 'return header["step"]', "return 0"),
    bug(
        "saved-in-half-precision",
        "checkpoint",
        "t.detach().contiguous()",
        "t.detach().bfloat16().contiguous()",
    ),
    bug(
        "steps-of-the-moments-lost",
        "checkpoint",
        "states = {int(i): dict(numbers) for",
        "states = {int(i): dict.fromkeys(numbers, 1) for",
    ),
    bug(
        "last-layer-not-loaded",
        "checkpoint",
        'tensors.items() if k.startswith("model.")}',
        'tensors.items() if k.startswith("model.")}\n    kept = model.layers[2].state_dict(prefix="layers.2.")'
        "\n    prefixed = prefixed | kept",
        "T10",
    ),
    bug(
        "offset-ignored",
        "inference",
        "freqs_cis = self.rotary(start, seqlen)",
        "freqs_cis = self.rotary(0, seqlen)",
        also="position",
    ),
    bug(
        "position-advances-after-the-first-layer",
        "inference",
        """        for layer in self.layers:
            h = layer(h, freqs_cis, start_pos)
""",
        """        for i, layer in enumerate(self.layers):
            late = bool(start_pos) and i > 0
            h = layer(h, freqs_cis, start_pos + 1 if late else start_pos)
""",
        "N9",
    ),
    bug("cached-mask-from-the-left", "inference", ".tril(total - seqlen)", ".tril()", also="attention"),
    bug(
        "whole-cache-seen",
        "inference",
        "return self.cache_k[:, : start_pos + seqlen], self.cache_v[:, : start_pos + seqlen]",
        "return self.cache_k, self.cache_v",
    ),
    bug(
        "cache-one-slot-late",
        "inference",
        "self.cache_v[:, start_pos : start_pos + seqlen] = xv.detach()",
        "self.cache_v[:, max(0, start_pos - 1) : max(0, start_pos - 1) + seqlen] = xv.detach()",
    ),
    bug(
        "cache-of-keys-for-values",
        "inference",
        "self.cache_v[:, start_pos : start_pos + seqlen] = xv.detach()",
        "self.cache_v[:, start_pos : start_pos + seqlen] = xk.detach()",
        also="attention",
    ),
    bug(
        "cache-not-reset",
        "inference",
        "layer.attention.cache_k = layer.attention.cache_v = None",
        "pass",
        "N11",
    ),
    bug(
        "start-one-behind", "inference", "start_pos=past)[:, -1]", "start_pos=max(0, past - 1))[:, -1]", "N9"
    ),
    bug(
        "temperature-multiplied",
        "inference",
        "torch.softmax(logits / temperature, dim=-1)",
        "torch.softmax(logits * temperature, dim=-1)",
    ),
    bug(
        "temperature-after-softmax",
        "inference",
        "torch.softmax(logits / temperature, dim=-1)",
        "torch.softmax(logits, dim=-1) / temperature",
    ),
    bug(
        "temperature-unchecked",
        "inference",
        "if not (temperature >= 0 and math.isfinite(temperature)):",
        "if temperature is None:",
        "T19",
    ),
    bug(
        "nucleus-without-the-crossing-token",
        "inference",
        "before = torch.cumsum(ordered, dim=-1) - ordered",
        "before = torch.cumsum(ordered, dim=-1)\n    before[:, 0] = 0.0",
        "T7",
    ),
    bug(
        "nucleus-not-put-back", "inference", "torch.zeros_like(probs).scatter(-1, index, ordered)", "ordered"
    ),
    bug(
        "top-k-keeps-one-more",
        "inference",
        "torch.topk(probs, min(top_k, probs.shape[-1]), dim=-1)",
        "torch.topk(probs, min(top_k + 1, probs.shape[-1]), dim=-1)",
    ),
    bug(
        "top-k-ignored", "inference", "if top_k is not None:\n        least", "if top_k == 0:\n        least"
    ),
    bug(
        "greedy-is-the-least-likely",
        "inference",
        "return torch.argmax(logits, dim=-1)",
        "return torch.argmin(logits, dim=-1)",
    ),
    bug(
        "seed-ignored",
        "inference",
        "torch.Generator().manual_seed(seed) if seed is not None else None",
        "None",
    ),
    bug(
        "longer-prompts-overwritten",
        "inference",
        "torch.where(given[:, position], tokens[:, position], chosen)",
        "chosen",
        "T20",
    ),
    bug(
        "graph-kept-while-generating",
        "inference",
        """        with torch.no_grad():
            yield
""",
        """        yield
""",
    ),
    bug("no-bos", "tokenizer", "ids = [self.bos_id, *ids]", "pass", "N1", also="data"),
    bug(
        "no-bos-in-batches",
        "tokenizer",
        "self.encode(text, bos, eos) for text in texts",
        "self.encode(text, False, eos) for text in texts",
        "N1",
        also="data",
    ),
    bug(
        "surrogates-dropped",
        "tokenizer",
        'text.encode("utf-8", "surrogatepass")',
        'text.encode("utf-8", "ignore")',
    ),
    bug(
        "letters-beyond-latin-lost",
        "tokenizer",
        'text.encode("utf-8", "surrogatepass")',
        'text.encode("latin-1", "replace")',
    ),
    bug(
        "angle-brackets-lost",
        "tokenizer",
        'ids = list(text.encode("utf-8", "surrogatepass"))',
        'ids = [i for i in text.encode("utf-8", "surrogatepass") if i != 60]',
    ),
    bug(
        "end-of-text-is-a-newline",
        "tokenizer",
        "self.bos_id, self.eos_id, self.pad_id, self.end_of_turn_id = 256, 257,",
        "self.bos_id, self.eos_id, self.pad_id, self.end_of_turn_id = 256, 10,",
    ),
)
