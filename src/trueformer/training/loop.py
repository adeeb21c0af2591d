"""The training loop: batches in, optimizer steps, evaluations, checkpoints, and a clean end whatever ends it.

One step: gather micro-batches, count their target tokens over all of them and all processes, backpropagate
each loss sum divided by that count, clip, step. A step whose loss or gradient is not finite updates
nothing. The order of events is that of `callbacks.protocol`. Leaves out building the parts and resuming,
which are `run`'s.

Shapes: B batch, T query length.
"""

import math
import signal
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from trueformer.config import to_dict
from trueformer.data.loader import Batch
from trueformer.evaluation.bits_per_byte import EvalResult, evaluate_batches
from trueformer.models.decoder import DecoderLM
from trueformer.optim.build import build_optimizer
from trueformer.optim.schedules import factor
from trueformer.training.accumulate import accumulate, micro_batching, target_tokens
from trueformer.training.callbacks.protocol import (
    Callback,
    Control,
    Evaluate,
    Saved,
    Start,
    Step,
    Stop,
    collect_state,
)
from trueformer.training.callbacks.protocol import (
    restore_state as restore_callbacks,
)
from trueformer.training.checkpoints import Checkpoint, check_same_tensors, save_checkpoint
from trueformer.training.config import TrainConfig
from trueformer.training.data import TrainingData
from trueformer.training.diagnosis import TrainingDiverged, diagnose, non_finite
from trueformer.training.distributed import World, barrier, summed, wrap
from trueformer.training.folders import checkpoint_folders, checkpoint_path
from trueformer.training.objective import Objective
from trueformer.training.precision import autocast
from trueformer.training.randomness import deterministic_kernels
from trueformer.training.signals import StopRequest, exit_code, stop_on_signals
from trueformer.training.state import Progress, capture_state, restore_state


class Trainer:
    """A model in training: `step()` takes one optimizer step, `fit()` all; `save()` writes a checkpoint.

    The model is moved to `device` here, so that evaluating needs no training first.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: DecoderLM,
        data: TrainingData,
        folder: Path,
        *,
        device: torch.device,
        world: World | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.config, self.data, self.folder, self.device = config, data, folder, device
        self.world = world or World()
        self.callbacks = tuple(callbacks)
        self.control = Control()
        self.progress = Progress()
        self.evaluation: EvalResult | None = None  # the latest
        self.loss = math.nan  # of the latest step
        self.exit_code = 0  # 130 or 143 once a signal has ended `fit`
        self.model = model.to(device)
        self.optimizers = build_optimizer(self.model, config.optim, config.loop.backend)
        self._rows, self._micro_steps = micro_batching(config.loop, self.world)
        self.loader = data.loader(self._rows, config.loop.seed, self.world)
        self._eager = objective = Objective(self.model, config.loop)
        if config.loop.compile:
            # One shape always: evaluation runs uncompiled, or its shapes would change the code that trains.
            objective.compile(dynamic=False)
        self._objective = wrap(objective, self.world, device)
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]
        self._micro_batches: list[Batch] = []

    def __repr__(self) -> str:
        done = f"step {self.progress.step} of {self.config.loop.steps}"
        return f"Trainer({done}, {self.config.optim.name}, {self.device}, in {str(self.folder)!r})"

    def fit(self) -> Stop:
        """Train to the last step, or until a signal or a callback stops it; returns where and why.

        Raises:
            TrainingDiverged: `max_bad_steps` in a row were not finite; the last checkpoint is untouched.
        """
        with stop_on_signals() as request, deterministic_kernels(self.device):
            try:
                self._tell("on_start", self._start_event())
                reason = self._run(request)
            except BaseException as error:
                self._tell_failure(f"{type(error).__name__}: {error}")
                raise
            stop = Stop(step=self.progress.step, reason=reason)
            self._tell("on_stop", stop)
        return stop

    def _run(self, request: StopRequest) -> str:
        loop = self.config.loop
        while self.progress.step < loop.steps:
            self._tell("on_step", self.step())
            self._stop_if_diverged()
            last = self.progress.step == loop.steps
            if last or self.progress.step % loop.eval_every == 0:
                self._tell("on_evaluate", self._evaluate_event())
            reason, save = self._agreed(request)
            if save or reason or last:
                self.control.save_requested = False
                self.save()
            if reason:
                return reason
        return "finished"

    def step(self) -> Step:
        """One optimizer step over `batch_size` rows of all processes, skipped where it is not finite."""
        began = time.perf_counter()
        tokens, loss, norm, grad_norm = self._backward()
        lr_factor = factor(self.config.schedule, self.progress.step, self.config.loop.steps)
        good = math.isfinite(loss) and math.isfinite(grad_norm)
        if good:
            self._clip(grad_norm, norm)
            self.optimizers.step(lr_factor)
        self._count(tokens, good)
        self.loss = loss
        seconds = time.perf_counter() - began
        return Step(
            step=self.progress.step,
            steps=self.config.loop.steps,
            loss=loss,
            lr_factor=lr_factor,
            grad_norm=grad_norm,
            tokens=self.progress.tokens,
            tokens_per_second=tokens / seconds,
            seconds=seconds,
            skipped=not good,
        )

    def _backward(self) -> tuple[int, float, Tensor, float]:
        """The gradient of one global batch; returns its target tokens, mean loss, and gradient norm twice."""
        self.model.train()
        self._micro_batches = [self._to_device(next(self.loader)) for _ in range(self._micro_steps)]
        tokens = int(summed([target_tokens(self._micro_batches)], self.world)[0])
        self.optimizers.zero_grad()
        share = accumulate(self._loss_sum, self._objective, self._micro_batches, tokens, self.world)
        for callback in self.callbacks:
            callback.on_gradients(self.progress.step + 1)
        norm = torch.nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None])
        # The step's one wait for the device.
        loss_share, grad_norm = torch.stack([share, norm.float()]).tolist()
        return tokens, summed([loss_share], self.world)[0], norm, grad_norm

    def evaluate(self) -> EvalResult:
        """How well the validation split is predicted, over all processes; the model's mode stays."""
        with autocast(self.config.loop, self.device):
            self.evaluation = evaluate_batches(
                self.model,
                self.data.validation(self._rows * self._micro_steps, self.world),
                self.data.tokenizer,
                max_batches=self.config.loop.eval_batches,
                chunk=self.config.loop.loss_chunk,
                world=self.world,
            )
        return self.evaluation

    def save(self) -> None:
        """Write the checkpoint of this step, unless weights are bad. Rank 0 does; all must call it."""
        bad = non_finite({name: p.detach() for name, p in self.model.named_parameters()})
        if bad:
            warnings.warn(f"no checkpoint of step {self.progress.step}: non-finite {bad[0]}", stacklevel=2)
            return
        began = time.perf_counter()
        path = checkpoint_path(self.folder, self.progress.step)
        tensors, scalars = self.optimizers.state_dict()
        state = capture_state(
            self.progress,
            loader=self.loader.state_dict(),
            optimizer=scalars,
            callbacks=collect_state(self.callbacks),
            data=self.data.fingerprint,
            chat_template=self.data.chat_template,
            world=self.world,
        )
        if self.world.is_main:
            save_checkpoint(
                path,
                model_tensors=self.model.state_dict(),
                optimizer_tensors=tensors,
                state=state,
                config=to_dict(self.config),
                tokenizer=self.data.tokenizer,
            )
        barrier(self.world)
        seconds = time.perf_counter() - began
        self._tell("on_checkpoint", Saved(step=self.progress.step, path=path, seconds=seconds))

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on where the checkpoint was saved, exactly: all or nothing of its tensors fits.

        Raises:
            ValueError: it is of another architecture, optimizer or data; names the first difference.
        """
        if checkpoint.state["data"] != self.data.fingerprint:
            raise ValueError(
                f"{checkpoint.path} was trained on other tokens than this run's: its source or tokenizer "
                "has changed since; start a new run, or bring the old data back"
            )
        expected = self.model.state_dict()
        check_same_tensors(expected, checkpoint.model_tensors, str(checkpoint.path))
        self.optimizers.load_state_dict(checkpoint.optimizer_tensors, checkpoint.state["optimizer"])
        self.model.load_state_dict(checkpoint.model_tensors)
        self.loader.load_state_dict(checkpoint.state["loader"])
        restore_callbacks(self.callbacks, checkpoint.state["callbacks"])
        self.progress = restore_state(checkpoint.state, self.world)

    def _loss_sum(self, batch: Batch) -> Float[Tensor, ""]:
        with autocast(self.config.loop, self.device):
            return self._objective(batch.inputs_BT, batch.targets_BT, batch.document_BT)

    def _eager_loss_sum(self) -> Float[Tensor, ""]:
        """The last batch's loss by uncompiled code, where hooks see every module."""
        batch = self._micro_batches[-1]
        with autocast(self.config.loop, self.device):
            return self._eager.forward(batch.inputs_BT, batch.targets_BT, batch.document_BT)

    def _to_device(self, batch: Batch) -> Batch:
        if self.device.type == "cpu":
            return batch
        document_BT = None if batch.document_BT is None else batch.document_BT.to(self.device)
        return Batch(batch.inputs_BT.to(self.device), batch.targets_BT.to(self.device), document_BT)

    def _clip(self, grad_norm: float, norm: Tensor) -> None:
        limit = self.config.loop.grad_clip
        if limit is not None and grad_norm > limit:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, limit, norm)

    def _count(self, tokens: int, good: bool) -> None:
        progress = self.progress
        progress.step += 1
        progress.tokens += tokens
        progress.skipped += not good
        progress.bad_in_a_row = 0 if good else progress.bad_in_a_row + 1

    def _stop_if_diverged(self) -> None:
        bad, limit = self.progress.bad_in_a_row, self.config.loop.max_bad_steps
        if bad < limit:
            return
        found = diagnose(self.model, self._eager_loss_sum)
        kept = checkpoint_folders(self.folder) if self.world.is_main else []
        lr = factor(self.config.schedule, self.progress.step - 1, self.config.loop.steps)
        raise TrainingDiverged(
            f"{bad} steps in a row had a non-finite loss or gradient (max_bad_steps = {limit}); "
            f"the last good step was {self.progress.step - bad}, the rates stood at {lr:.3g} of their peak. "
            f"Found: {found}. "
            f"{f'Last good checkpoint: {kept[0]}' if kept else 'No checkpoint had been written'}. "
            "Usual remedies: lower rates, a longer warm-up, grad_clip = 1, precision = 'float32'."
        )

    def _agreed(self, request: StopRequest) -> tuple[str | None, bool]:
        """Why to stop, if at all, and whether to save: what any process was asked, and so the same on all."""
        asked = [request.signal == s for s in (signal.SIGINT, signal.SIGTERM)]
        asked += [self.control.stop_reason is not None, self.control.save_requested]
        interrupted, terminated, stop, save = summed([float(x) for x in asked], self.world)
        if interrupted or terminated:
            signum = signal.SIGINT if interrupted else signal.SIGTERM
            self.exit_code = exit_code(signum)
            return signum.name, bool(save)
        reason = self.control.stop_reason or "another process was asked to stop"
        return reason if stop else None, bool(save)

    def _start_event(self) -> Start:
        return Start(
            folder=self.folder,
            step=self.progress.step,
            steps=self.config.loop.steps,
            model=self.model,
            config=to_dict(self.config),
            rank=self.world.rank,
            control=self.control,
        )

    def _evaluate_event(self) -> Evaluate:
        began = time.perf_counter()
        result = self.evaluate()
        return Evaluate(
            step=self.progress.step,
            loss=result.nats_per_token,
            bits_per_byte=result.bits_per_byte,
            tokens=self.progress.tokens,
            seconds=time.perf_counter() - began,
        )

    def _tell(self, hook: str, event: Start | Step | Evaluate | Saved | Stop) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(event)

    def _tell_failure(self, reason: str) -> None:
        """Every callback hears of it, even after one that fails at that; the first failure goes on."""
        for callback in self.callbacks:
            try:
                callback.on_stop(Stop(step=self.progress.step, reason=reason, failed=True))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is said, and hides nothing
                warnings.warn(f"{callback.name} failed at the end of a failed run: {error!r}", stacklevel=2)
