"""Every handwritten mutant: of the two foreign models and of our own plain backend."""

from pathlib import Path

from mutants import (
    gpt2_model,
    gpt2_training,
    llama_model,
    llama_training,
    stack_model,
    stack_training,
    stack_use,
)
from mutants.mutant import COMPONENTS, Mutant

ROOT = Path(__file__).parent.parent.parent

FOREIGN = (
    *gpt2_model.MUTANTS,
    *gpt2_training.MUTANTS,
    *llama_model.MUTANTS,
    *llama_training.MUTANTS,
)
STACK = (*stack_model.MUTANTS, *stack_training.MUTANTS, *stack_use.MUTANTS)
MUTANTS: tuple[Mutant, ...] = (*FOREIGN, *STACK)

assert all(m.component in COMPONENTS and set(m.also) <= set(COMPONENTS) for m in MUTANTS)
