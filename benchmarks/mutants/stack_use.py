"""Mutants of our own generation and tokenizers."""

from mutants.mutant import of

twin = of("src/trueformer/inference/plain.py")
sampling = of("src/trueformer/inference/sampling.py")
settings = of("src/trueformer/inference/config.py")
steps = of("src/trueformer/inference/steps.py")
generate = of("src/trueformer/inference/generate.py")
chat_format = of("src/trueformer/tokenization/chat_format.py")
library = of("src/trueformer/tokenization/library.py")
characters = of("src/trueformer/tokenization/characters.py")
bpe = of("src/trueformer/tokenization/bpe.py")

MUTANTS = (
    twin(
        "temperature-multiplied",
        "inference",
        "(logits_V - logits_V.max()) / config.temperature",
        "(logits_V - logits_V.max()) * config.temperature",
    ),
    twin(
        "top-k-keeps-one-more",
        "inference",
        "min(config.top_k, len(logits_V)) - 1]",
        "min(config.top_k, len(logits_V) - 1)]",
    ),
    twin(
        "nucleus-without-the-crossing-token",
        "inference",
        """        if mass >= p:
            break
        keep_V[token] = True
        mass += float(probabilities_V[token])
""",
        """        mass += float(probabilities_V[token])
        if mass >= p and keep_V.any():
            break
        keep_V[token] = True
""",
        "T7",
    ),
    twin("nucleus-skipped", "inference", "if config.top_p < 1:", "if config.top_p < 0:"),
    twin("min-p-of-one", "inference", "config.min_p * probabilities_V.max()", "config.min_p"),
    twin(
        "penalty-rewards",
        "inference",
        "logits_V[token] *= config.repetition_penalty",
        "logits_V[token] /= config.repetition_penalty",
    ),
    twin(
        "seed-ignored", "inference", "torch.Generator().manual_seed(config.seed)", "torch.default_generator"
    ),
    twin(
        "reads-the-first-position",
        "inference",
        "device=model.embedding.weight.device))[0, -1]",
        "device=model.embedding.weight.device))[0, 0]",
    ),
    twin(
        "draws-one-off",
        "inference",
        "if total > uniform:\n            return token",
        "if total > uniform:\n            return max(0, token - 1)",
    ),
    sampling(
        "temperature-multiplied",
        "inference",
        "shifted_BV / temperature_B[:, None].to(logits_BV.dtype).clamp(min=1e-30)",
        "shifted_BV * temperature_B[:, None].to(logits_BV.dtype)",
    ),
    sampling(
        "top-k-keeps-one-less",
        "inference",
        "logits_BV < greatest_BK.gather",
        "logits_BV <= greatest_BK.gather",
    ),
    sampling(
        "nucleus-without-the-crossing-token",
        "inference",
        "drop_BV = before_BV >= p_B[:, None]",
        "drop_BV = mass_BV.cumsum(dim=-1) >= p_B[:, None]",
        "T7",
    ),
    sampling(
        "nucleus-in-the-wrong-order",
        "inference",
        "torch.zeros_like(drop_BV).scatter(-1, order_BV, drop_BV)",
        "drop_BV",
    ),
    sampling(
        "min-p-of-one",
        "inference",
        "ratio_BV < p_B[:, None]",
        "logits_BV.double().softmax(-1) < p_B[:, None]",
    ),
    sampling(
        "one-seed-for-all",
        "inference",
        "torch.Generator().manual_seed(row.seed) for row in rows",
        "torch.Generator().manual_seed(rows[0].seed) for row in rows",
    ),
    sampling(
        "seed-ignored",
        "inference",
        "dtype=torch.float64, generator=generator) for generator",
        "dtype=torch.float64) for generator",
    ),
    sampling(
        "filters-skipped",
        "inference",
        "filtered_BV = self.filter(logits_BV, seen_BV)",
        "filtered_BV = logits_BV",
    ),
    settings(
        "temperature-unchecked",
        "inference",
        "if not 0 <= self.temperature < math.inf:",
        "if self.temperature is None:",
        "T19",
    ),
    steps(
        "padded-on-the-right",
        "inference",
        "[[0] * (longest - len(row)) + list(row) for row in rows]",
        "[list(row) + [0] * (longest - len(row)) for row in rows]",
        "T20",
    ),
    steps(
        "padding-not-counted",
        "inference",
        "torch.tensor([longest - len(row) for row in rows]",
        "torch.tensor([0 for row in rows]",
        "T20",
    ),
    steps(
        "reads-the-first-position",
        "inference",
        "model.hidden(ids_BT, cache=cache)[:, -1]",
        "model.hidden(ids_BT, cache=cache)[:, 0]",
    ),
    generate(
        "one-token-too-many",
        "inference",
        "== len(self.prompts[row]) + self._max_new_tokens:",
        "== len(self.prompts[row]) + self._max_new_tokens + 1:",
    ),
    generate(
        "feeds-the-likeliest-again",
        "inference",
        "self._last_B = torch.tensor(tokens,",
        "self._last_B = torch.tensor([ids[0] for ids in self._ids][: len(tokens)],",
    ),
    generate("stop-ignored", "inference", "if token in self._stop_ids:", "if token in ():"),
    chat_format(
        "result-before-its-mark",
        "inference",
        "[marks.output_start, *tokenizer.encode(text), marks.output_end]",
        "[*tokenizer.encode(text), marks.output_start, marks.output_end]",
        "N12",
        also="tokenizer data",
    ),
    library(
        "no-bos", "tokenizer", "front, back = [self.bos_id] * bos,", "front, back = [],", "N1", also="data"
    ),
    library(
        "special-text-is-special",
        "tokenizer",
        "library = self.library if allow_special else self._as_text",
        "library = self.library",
    ),
    library(
        "characters-decoded-in-pieces",
        "tokenizer",
        'return b"".join(self.piece(i, skip_special=skip_special) for i in ids).decode(errors="replace")',
        'return "".join(self.piece(i, skip_special=skip_special).decode(errors="replace") for i in ids)',
    ),
    library(
        "special-tokens-have-bytes", "tokenizer", "        sizes[list(self.special_ids.values())] = 0\n", ""
    ),
    library(
        "characters-for-bytes",
        "tokenizer",
        "sizes = np.array([len(piece) for piece in self._pieces],",
        'sizes = np.array([len(piece.decode(errors="replace")) for piece in self._pieces],',
    ),
    library(
        "bytes-shifted",
        "tokenizer",
        "return bytes(table[c] for c in name)",
        "return bytes(table[c] ^ 128 if table[c] > 127 else table[c] for c in name)",
    ),
    characters("capitals-lost", "tokenizer", "alphabet.update(text)", "alphabet.update(text.lower())"),
    bpe("space-in-front", "tokenizer", "add_prefix_space=False", "add_prefix_space=True"),
    bpe(
        "white-space-lost",
        "tokenizer",
        'Split(Regex(SPLIT), "isolated")',
        'Split(Regex(r"\\n\\n+"), "removed")',
    ),
)
