"""Mutants of our own training: loss, data, optimizers, schedules, the loop, checkpoints."""

from mutants.mutant import of

loss = of("src/trueformer/training/loss.py")
objective = of("src/trueformer/training/objective.py")
accumulate = of("src/trueformer/training/accumulate.py")
loader = of("src/trueformer/data/loader.py")
split = of("src/trueformer/data/split.py")
shards = of("src/trueformer/data/manifest.py")
chat_rows = of("src/trueformer/data/chat_rows.py")
chat_format = of("src/trueformer/tokenization/chat_format.py")
rules = of("src/trueformer/optim/plain.py")
groups = of("src/trueformer/optim/groups.py")
schedules = of("src/trueformer/optim/schedules.py")
build = of("src/trueformer/optim/build.py")
precision = of("src/trueformer/optim/precision.py")
loop = of("src/trueformer/training/loop.py")
state = of("src/trueformer/training/state.py")
checkpoints = of("src/trueformer/training/checkpoints.py")
evaluation = of("src/trueformer/evaluation/bits_per_byte.py")

MUTANTS = (
    loss("sign", "loss", "total = F.cross_entropy(", "total = -F.cross_entropy(", "K7"),
    loss(
        "padding-learned",
        "loss",
        'logits_TV, targets_T, reduction="sum", ignore_index=ignore,',
        'logits_TV, targets_T.clamp(min=0), reduction="sum",',
        "T5",
    ),
    loss(
        "mean-for-sum",
        "loss",
        'logits_TV, targets_T, reduction="sum",',
        'logits_TV, targets_T, reduction="mean",',
        also="loop",
    ),
    loss(
        "softmax-before-cross-entropy",
        "loss",
        "head_VD.to(dtype).T, terms.softcap)",
        "head_VD.to(dtype).T, terms.softcap).softmax(-1)",
    ),
    objective(
        "shifted-twice",
        "loss",
        """            hidden_BTD,
            self.model.head_weight,
            targets_BT,
""",
        """            hidden_BTD[:, :-1],
            self.model.head_weight,
            targets_BT[:, 1:],
""",
        also="data",
    ),
    objective(
        "documents-forgotten",
        "attention",
        "hidden(inputs_BT, document_BT=document_BT)",
        "hidden(inputs_BT)",
        also="data loss",
    ),
    accumulate(
        "padding-counted",
        "loop",
        "int((batch.targets_BT != IGNORE).sum())",
        "batch.targets_BT.numel()",
        "T5",
        also="loss",
    ),
    accumulate(
        "divided-by-batches",
        "loop",
        "    for index, batch in enumerate(micro_batches):\n",
        """    for index, batch in enumerate(micro_batches):
        total_tokens = target_tokens([batch]) * len(micro_batches)
""",
        "N4",
    ),
    accumulate(
        "only-the-last-batch",
        "loop",
        """            with without_sync(module):
                loss = loss_sum(batch) / total_tokens
                (loss * world.size).backward()
""",
        """            with without_sync(module):
                loss = loss_sum(batch) / total_tokens
""",
    ),
    loader(
        "targets-equal-inputs",
        "data",
        "return _batch(rows[:, :-1], rows[:, 1:],",
        "return _batch(rows[:, :-1], rows[:, :-1],",
        "N3",
        also="loss",
    ),
    loader(
        "validation-targets-equal-inputs",
        "data",
        "inputs[:real], targets[:real] = ids[:-1], ids[1:]",
        "inputs[:real], targets[:real] = ids[:-1], ids[:-1]",
        "N3",
        also="loss",
    ),
    loader(
        "ranks-share-rows",
        "data",
        "first = self.cursor + self._rank * self._batch_size",
        "first = self.cursor",
    ),
    loader(
        "rows-repeated",
        "data",
        "divmod(self.cursor + self._global_batch, self.n_rows)",
        "divmod(self.cursor + max(1, self._global_batch // 2), self.n_rows)",
    ),
    loader("place-not-saved", "data", '"cursor": self.cursor}', '"cursor": 0}', also="checkpoint"),
    loader(
        "validation-shuffled",
        "data",
        "tokens.window(begin, real + 1)",
        "tokens.window(int(np.random.randint(n_targets)), real + 1)",
        "A6",
    ),
    loader(
        "validation-padding-is-a-target",
        "data",
        "targets = np.full(size, IGNORE, dtype=np.int64)",
        "targets = np.full(size, tokens.bos_id, dtype=np.int64)",
        "T5",
        also="loss",
    ),
    loader(
        "documents-counted-down-the-batch",
        "data",
        "np.cumsum(inputs == bos_id, axis=1)",
        "np.cumsum(inputs == bos_id, axis=0)",
        also="attention",
    ),
    loader(
        "short-data-accepted",
        "data",
        "if tokens.n_tokens < needed:",
        "if tokens.n_tokens < 1:",
        "R4",
        crashes=True,
    ),
    split(
        "validation-seen-in-training",
        "data",
        "if hash_document(text) > border)",
        "if hash_document(text) >= 0)",
    ),
    shards(
        "no-bos",
        "data",
        "tokenizer.encode(texts, bos=True)",
        "tokenizer.encode(texts)",
        "N1",
        also="tokenizer",
    ),
    chat_rows(
        "mask-inverted",
        "data",
        "np.where(self._trained[i][1:], self._ids[i][1:], IGNORE)",
        "np.where(self._trained[i][1:], IGNORE, self._ids[i][1:])",
        "N7",
        also="loss",
    ),
    chat_rows(
        "mask-one-early",
        "data",
        "np.where(self._trained[i][1:],",
        "np.where(self._trained[i][:-1],",
        "N7",
        also="loss",
    ),
    chat_rows(
        "conversations-see-each-other",
        "data",
        "documents[number, place] = document",
        "documents[number, place] = 0",
        also="attention",
    ),
    chat_format(
        "users-words-learned",
        "data",
        "_add(rendered, self._opening(message.role, message.text), trained=False)",
        "_add(rendered, self._opening(message.role, message.text), trained=True)",
        "N7",
        also="loss",
    ),
    chat_format(
        "end-of-turn-not-learned",
        "data",
        "_add(rendered, [self._end], trained=writes)",
        "_add(rendered, [self._end], trained=False)",
        also="loss",
    ),
    chat_format(
        "results-learned",
        "data",
        "_add(rendered, result_ids(self.tokenizer, self.tools, part.text), trained=False)",
        "_add(rendered, result_ids(self.tokenizer, self.tools, part.text), trained=True)",
        also="loss",
    ),
    rules(
        "decay-in-the-moments",
        "optimizer",
        "mean.mul_(beta1).add_((1 - beta1) * gradient)",
        "mean.mul_(beta1).add_((1 - beta1) * gradient).add_(decay * parameter)",
        "K8",
    ),
    rules(
        "decay-shrinks-the-moments",
        "optimizer",
        "parameter.mul_(1 - lr * decay)  #",
        "mean.mul_(1 - lr * decay)  #",
        "K8",
    ),
    rules(
        "mean-not-corrected", "optimizer", "unbiased_mean = mean / (1 - beta1**step)", "unbiased_mean = mean"
    ),
    rules("no-root", "optimizer", "(unbiased_square.sqrt() + eps)", "(unbiased_square + eps)"),
    rules("betas-exchanged", "optimizer", "(1 - beta2) * gradient**2", "(1 - beta1) * gradient**2"),
    rules(
        "orthogonal-not-scaled",
        "optimizer",
        "x = x / x.norm().clamp(min=1e-7)",
        "x = x / x.abs().max().clamp(min=1e-7)",
    ),
    rules(
        "orthogonal-wrong-sign",
        "optimizer",
        "(b * gram + c * gram @ gram) @ x",
        "(b * gram - c * gram @ gram) @ x",
    ),
    rules("not-orthogonal", "optimizer", "    for _ in range(steps):\n", "    for _ in range(0):\n"),
    rules(
        "signs-lost",
        "optimizer",
        "plain_orthogonalise(torch.sign(ahead), orthogonal_steps)",
        "plain_orthogonalise(ahead.abs(), orthogonal_steps)",
    ),
    groups(
        "embeddings-among-matrices",
        "optimizer",
        """nn.Embedding):
        return "embeddings"
""",
        """nn.Embedding):
        return "matrices"
""",
        "N6",
    ),
    groups(
        "matrices-among-embeddings",
        "optimizer",
        'if owner.rpartition(".")[2] == "head" else "matrices"',
        'if owner.rpartition(".")[2] == "head" else "embeddings"',
        "N6",
    ),
    schedules(
        "warmup-100-times-too-long",
        "schedule",
        """    if step < warmup:
        return (step + 1) / warmup
""",
        """    if step < 100 * warmup:
        return (step + 1) / (100 * warmup)
""",
        "N5",
    ),
    schedules(
        "warmup-never-reached", "schedule", "return (step + 1) / warmup", "return (step + 1) / (2 * warmup)"
    ),
    schedules(
        "rate-below-zero",
        "schedule",
        "(1 - schedule.final_factor) * shape",
        "(1 - schedule.final_factor) * (2 * shape - 1.5)",
    ),
    schedules(
        "rises-for-falls", "schedule", "(end - step) / (end - start)", "(step - start) / (end - start)"
    ),
    build("zero-grad-forgotten", "loop", "parameter.grad = None", "pass"),
    build("steps-not-counted", "optimizer", "        self.steps += 1\n", ""),
    build("schedule-ignored", "schedule", "lr=self.lr * lr_factor", "lr=self.lr", also="loop optimizer"),
    build("moments-not-loaded", "checkpoint", "tensor.copy_(tensors[name])", "pass", also="optimizer"),
    build(
        "steps-not-loaded",
        "checkpoint",
        'self.steps = int(scalars["steps"])',
        "self.steps = 0",
        also="optimizer",
    ),
    precision(
        "updates-lost-in-half-precision",
        "optimizer",
        "values[i].float() if rest is None else join(values[i], rest)",
        "values[i].float()",
        "A8",
        also="precision",
    ),
    precision(
        "nothing-written-back",
        "optimizer",
        "self._parameters[i].copy_(rounded)",
        "pass",
        "A8",
        also="precision",
    ),
    loop(
        "clip-after-step",
        "loop",
        """            self._clip(grad_norm, norm)
            self.optimizers.step(lr_factor)
""",
        """            self.optimizers.step(lr_factor)
            self._clip(grad_norm, norm)
""",
    ),
    loop(
        "clip-each-tensor",
        "loop",
        "torch.nn.utils.clip_grads_with_norm_(self._parameters, limit, norm)",
        "[torch.nn.utils.clip_grad_norm_(p, limit) for p in self._parameters]",
    ),
    loop("zero-grad-forgotten", "loop", "        self.optimizers.zero_grad()\n", ""),
    loop(
        "accumulation-not-divided",
        "loop",
        "self._micro_batches, tokens, self.world)\n        for callback",
        "self._micro_batches, tokens // self._micro_steps, self.world)\n        for callback",
        "N4",
    ),
    loop(
        "schedule-counts-micro-batches",
        "schedule",
        "self.progress.step, self.config.loop.steps)\n        good",
        "self.progress.step * self._micro_steps, self.config.loop.steps)\n        good",
        also="loop",
    ),
    loop(
        "training-in-evaluation-mode", "loop", "        self.model.train()\n", "        self.model.eval()\n"
    ),
    loop(
        "place-not-loaded",
        "checkpoint",
        '        self.loader.load_state_dict(checkpoint.state["loader"])\n',
        "",
        also="data",
    ),
    state(
        "random-state-not-loaded",
        "checkpoint",
        '        restore_rng(state["rng"][world.rank])\n',
        "        pass\n",
    ),
    state(
        "counters-not-loaded",
        "checkpoint",
        'return Progress(**state["progress"])',
        "return Progress()",
        also="schedule",
    ),
    checkpoints(
        "tokenizer-left-behind",
        "checkpoint",
        "            if tokenizer is not None:\n",
        "            if tokenizer is None:\n",
        "T15",
        also="tokenizer",
        crashes=True,
    ),
    checkpoints("damage-unseen", "checkpoint", "        files.verify(path, wanted)\n", ""),
    evaluation("dropout-while-evaluating", "loop", "    model.eval()\n", ""),
    evaluation("left-in-evaluation-mode", "loop", "module.training = training", "module.training = False"),
)
