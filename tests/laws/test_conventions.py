"""What was reported as a defect and is none: planted into sound models, it must leave every law silent.

The proofs are in `docs/conventions.md`.
"""

import pytest

from trueformer.doctor.check import check

GPT, LLAMA = "gpt2_like.py", "llama_like.py"
CONVENTIONS = {
    "a9-decay-by-addition": (
        LLAMA,
        (
            'weight.mul_(1 - group["lr"] * group["weight_decay"])',
            'weight.add_(weight.clone(), alpha=-group["lr"] * group["weight_decay"])',
        ),
    ),
    "a9-decay-after-the-step": (
        LLAMA,
        (
            '        weight.mul_(1 - group["lr"] * group["weight_decay"])\n'
            '        weight.sub_(group["lr"] * mean / (spread + group["eps"]))\n',
            '        weight.sub_(group["lr"] * mean / (spread + group["eps"]))\n'
            '        weight.mul_(1 - group["lr"] * group["weight_decay"])\n',
        ),
    ),
    "r2-a-copy-of-the-weights-replaced": (
        GPT,
        (
            "def train_step(model, batches, optimizer, scheduler=None, grad_clip=1.0):\n",
            "KEPT = {}\n\n\n"
            "def train_step(model, batches, optimizer, scheduler=None, grad_clip=1.0):\n"
            "    KEPT['last'] = [p.detach().clone() for p in model.parameters()]\n",
        ),
    ),
    "r13-embeddings-scaled-at-the-input": (
        GPT,
        ("self.wte(idx) + self.wpe(positions)", "self.wte(idx) * math.sqrt(self.config.n_embd) + self.wpe(positions)"),
    ),
    "t7-top-p-with-the-shift": (GPT,),
    "n2-int64-ids": (LLAMA, ("self.pad_id, dtype=torch.int32)", "self.pad_id, dtype=torch.int64)")),
    "n2-int32-ids": (LLAMA,),
    "k5-the-other-direction": (
        LLAMA,
        ("turned = pairs * freqs_cis[None, :, None, :]", "turned = pairs * freqs_cis[None, :, None, :].conj()"),
    ),
    "k5-the-other-layout": (
        LLAMA,
        (
            "pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))",
            "pairs = torch.complex(*x.float().chunk(2, -1))",
        ),
        (
            "return torch.view_as_real(turned).flatten(3).type_as(x)",
            "return torch.cat([turned.real, turned.imag], -1).type_as(x)",
        ),
    ),
    "n11-a-cache-that-doubles": (
        LLAMA,
        (
            "            shape = (bsz, self.max_seq_len, self.n_kv_heads, self.head_dim)\n"
            "            self.cache_k, self.cache_v = xk.new_zeros(shape), xv.new_zeros(shape)\n",
            "            shape = (bsz, 4, self.n_kv_heads, self.head_dim)\n"
            "            self.cache_k, self.cache_v = xk.new_zeros(shape), xv.new_zeros(shape)\n"
            "        while self.cache_k is not None and self.cache_k.shape[1] < start_pos + seqlen:\n"
            "            self.cache_k = torch.cat([self.cache_k, torch.zeros_like(self.cache_k)], 1)\n"
            "            self.cache_v = torch.cat([self.cache_v, torch.zeros_like(self.cache_v)], 1)\n",
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONVENTIONS)
def test_the_doctor_is_silent_on(planted, name: str) -> None:
    file, *edits = CONVENTIONS[name]
    module = planted(file, *edits)
    model = module.build()
    check(model, **module.parts(model)).raise_if_broken()
