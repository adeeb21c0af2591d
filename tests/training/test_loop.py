"""Shapes: B batch, T query length."""

import dataclasses
import gc
import logging
import math
import os
import signal

import pytest
import torch

from trueformer.training.callbacks.checkpoint import KeepCheckpoints
from trueformer.training.callbacks.early_stopping import EarlyStopping
from trueformer.training.callbacks.protocol import Callback
from trueformer.training.checkpoints import latest_checkpoint
from trueformer.training.data import TextData
from trueformer.training.diagnosis import TrainingDiverged
from trueformer.training.distributed import World
from trueformer.training.folders import checkpoint_folders
from trueformer.training.loop import Trainer
from trueformer.training.run import build_model


class Recorder(Callback):
    """Remembers the order of events, and runs `during[hook]` inside them."""

    name = "recorder"

    def __init__(self, **during):
        self.events, self.during = [], during

    def __getattribute__(self, hook):
        if not hook.startswith("on_"):
            return super().__getattribute__(hook)

        def note(event):
            self.events.append((hook[3:], event))
            self.during.get(hook, lambda event: None)(event)

        return note

    def of(self, kind):
        return [event for hook, event in self.events if hook == kind]


def weights(trainer):
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def spoil(trainer, steps, value=math.nan):
    """Make the loss of these 1-based steps non-finite, by way of the weights' own arithmetic."""
    true_loss = trainer._loss_sum

    def loss_sum(batch):
        bad = trainer.progress.step + 1 in steps
        return true_loss(batch) * value if bad else true_loss(batch)

    trainer._loss_sum = loss_sum


def test_events_come_in_the_protocols_order(make_trainer):
    recorder = Recorder()
    keep = KeepCheckpoints(every=2, keep_last=5)
    make_trainer(loop={"steps": 3, "eval_every": 2}, callbacks=[keep, recorder]).fit()
    order = [hook for hook, _ in recorder.events]
    assert order == [
        "start", "gradients", "step", "gradients", "step", "evaluate", "checkpoint",
        "gradients", "step", "evaluate", "checkpoint", "stop",
    ]  # fmt: skip
    assert [e.step for e in recorder.of("checkpoint")] == [2, 3]
    assert recorder.of("stop")[0].reason == "finished"


def test_every_callback_hears_of_a_failed_run(make_trainer):
    def fail(event):
        raise KeyError("mine")

    recorder = Recorder()
    trainer = make_trainer(callbacks=[Recorder(on_stop=fail), recorder])
    spoil(trainer, range(1, 99))
    with pytest.warns(UserWarning, match="recorder failed at the end"), pytest.raises(TrainingDiverged):
        trainer.fit()
    assert recorder.of("stop")[0].failed


def test_r17_loss_falls_and_one_batch_is_learnt_by_heart(make_trainer):
    trainer = make_trainer(loop={"steps": 150, "batch_size": 2}, model={"d_model": 32})
    batch = next(trainer.loader)
    trainer.loader = iter(lambda: batch, None)
    losses = [trainer.step().loss for _ in range(150)]
    assert losses[0] == pytest.approx(math.log(trainer.config.model.vocab_size), abs=0.3)
    assert losses[-1] < 0.1


def test_a_step_is_counted_and_its_numbers_are_true(make_trainer):
    trainer = make_trainer(schedule={"warmup_steps": 4})
    event = trainer.step()
    assert (event.step, event.steps, event.skipped) == (1, 12, False)
    assert event.tokens == trainer.progress.tokens == 4 * 16
    assert event.lr_factor == 0.25
    assert event.loss == trainer.loss
    assert event.tokens_per_second == pytest.approx(64 / event.seconds)


def test_t18_n4_accumulation_trains_as_one_big_batch_does(make_trainer):
    """Same seed, same rows, three steps. Tolerance: float32 rounding, divided by small Adam moments."""
    losses = {}
    for micro in (None, 2, 1):
        trainer = make_trainer(loop={"micro_batch_size": micro, "steps": 3}, optim={"name": "adamw"})
        losses[micro] = [trainer.step().loss for _ in range(3)]
    assert losses[2] == pytest.approx(losses[None], rel=1e-5)
    assert losses[1] == pytest.approx(losses[None], rel=1e-5)


def test_n5_the_schedule_counts_optimizer_steps_not_micro_batches(make_trainer):
    trainer = make_trainer(loop={"micro_batch_size": 1}, schedule={"warmup_steps": 3})
    assert [trainer.step().lr_factor for _ in range(4)] == pytest.approx([1 / 3, 2 / 3, 1, 1], abs=0.05)


def test_gradients_are_clipped_by_their_global_norm_before_the_step(make_trainer):
    norms = []
    trainer = make_trainer(loop={"grad_clip": 0.01})
    update = trainer.optimizers.step

    def step(lr_factor):
        norms.append(torch.stack([p.grad.norm() for p in trainer.model.parameters()]).norm().item())
        update(lr_factor)

    trainer.optimizers.step = step
    event = trainer.step()
    assert event.grad_norm > 0.1
    assert norms == pytest.approx([0.01], rel=1e-3)


def test_a5_the_loop_steps_the_optimizer_it_made(make_trainer):
    """One optimizer over exactly the model's parameters: every one of them moves at the first step."""
    trainer = make_trainer()
    held = [p for group in trainer.optimizers.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in trainer.model.parameters()}
    assert len(held) == len(list(trainer.model.parameters()))
    before = weights(trainer)
    trainer.step()
    assert not [name for name, p in trainer.model.named_parameters() if torch.equal(p, before[name])]


def test_a6_validation_is_the_same_every_time(make_trainer):
    """No shuffling, no dropout, no randomness: equal to the last bit, figures and batches alike."""
    trainer = make_trainer(model={"dropout": 0.3})
    torch.manual_seed(1)
    first = trainer.evaluate()
    torch.manual_seed(2)
    assert trainer.evaluate() == first
    batches = [[b.inputs_BT for b in trainer.data.validation(2, World())] for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))


def test_a11_the_model_is_on_the_device_before_anything_else(tiny_config, tiny_data, tmp_path):
    """`meta` stands for an accelerator: a device every machine has, and not where models are made."""
    config = tiny_config()
    model = build_model(config.model, config.loop)
    trainer = Trainer(config, model, TextData(tiny_data, config.data), tmp_path, device=torch.device("meta"))
    assert {p.device.type for p in trainer.model.parameters()} == {"meta"}
    held = [p for group in trainer.optimizers.param_groups for p in group["params"]]
    assert {p.device.type for p in held} == {"meta"}


def test_a11_evaluation_needs_no_training_first(make_trainer):
    trainer = make_trainer()
    assert next(trainer.model.parameters()).device == trainer.device
    result = trainer.evaluate()
    assert result.nats_per_token == pytest.approx(math.log(trainer.config.model.vocab_size), abs=0.3)
    assert math.isfinite(result.bits_per_byte)


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_mode_gradients_and_randomness_alone(make_trainer, training):
    trainer = make_trainer(model={"dropout": 0.1})
    trainer.model.train(training)
    state = torch.get_rng_state()
    trainer.evaluate()
    assert trainer.model.training is training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in trainer.model.parameters())


def test_evaluating_often_changes_no_weight(make_trainer, tmp_path):
    """Dropout on, so that any number drawn while observing would show."""
    ends = []
    for every in (1, 12):
        trainer = make_trainer(
            model={"dropout": 0.2}, loop={"eval_every": every}, folder=tmp_path / str(every)
        )
        torch.manual_seed(0)
        trainer.fit()
        ends.append(weights(trainer))
    assert same(*ends)


def test_r1_a_bad_step_updates_nothing_and_training_goes_on(make_trainer):
    recorder = Recorder()
    trainer = make_trainer(loop={"steps": 6, "max_bad_steps": 3}, callbacks=[recorder])
    spoil(trainer, {2, 3, 5}, math.inf)
    seen = {}
    recorder.during = {"on_step": lambda event: seen.update({event.step: weights(trainer)})}
    trainer.fit()
    assert [e.skipped for e in recorder.of("step")] == [False, True, True, False, True, False]
    assert same(seen[1], seen[2])
    assert same(seen[2], seen[3])
    assert not same(seen[3], seen[4])
    assert (trainer.progress.skipped, trainer.progress.bad_in_a_row, trainer.optimizers.steps) == (3, 0, 3)


def test_r1_too_many_bad_steps_stop_with_a_diagnosis_and_the_last_good_checkpoint(make_trainer, tmp_path):
    recorder = Recorder()
    keep = KeepCheckpoints(every=2, keep_last=2)
    trainer = make_trainer(loop={"steps": 50, "max_bad_steps": 4}, callbacks=[recorder, keep])
    spoil(trainer, range(6, 51))
    with pytest.raises(TrainingDiverged) as error:
        trainer.fit()
    message = str(error.value)
    assert "4 steps in a row" in message
    assert "last good step was 5" in message
    assert "step-00000008" in message
    assert "of their peak" in message
    assert recorder.of("stop")[0].failed
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert all(t.isfinite().all() for t in checkpoint.model_tensors.values())


def test_bad_weights_are_named_and_never_saved(make_trainer, tmp_path):
    trainer = make_trainer(
        loop={"steps": 9, "max_bad_steps": 2}, callbacks=[KeepCheckpoints(every=1, keep_last=9)]
    )
    for _ in range(2):
        trainer.step()
    trainer.save()
    with torch.no_grad():
        trainer.model.blocks[0].attention.q.weight[0, 0] = math.nan
    with (
        pytest.warns(UserWarning, match="no checkpoint of step 3: non-finite blocks.0"),
        pytest.raises(TrainingDiverged) as error,
    ):
        trainer.fit()
    assert "blocks.0.attention.q.weight (1 of" in str(error.value)
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["step-00000002"]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_saves_and_sets_the_exit_code(make_trainer, tmp_path, signum, code):
    def interrupt(step):
        if step == 2:
            os.kill(os.getpid(), signum)

    recorder = Recorder(on_gradients=interrupt)
    trainer = make_trainer(callbacks=[recorder])
    stop = trainer.fit()
    assert (stop.step, stop.reason, trainer.exit_code) == (2, signal.Signals(signum).name, code)
    assert [e.step for e in recorder.of("checkpoint")] == [2]
    assert latest_checkpoint(tmp_path).state["progress"]["step"] == 2


def test_a_second_sigint_stops_at_once_and_harms_no_checkpoint(make_trainer, tmp_path, monkeypatch):
    monkeypatch.setattr("trueformer.training.signals.SAME_KEYSTROKE_SECONDS", 0.0)

    def interrupt(step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    recorder = Recorder(on_gradients=interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_trainer(callbacks=[KeepCheckpoints(every=1, keep_last=5), recorder]).fit()
    assert recorder.of("stop")[0].failed
    assert latest_checkpoint(tmp_path).state["progress"]["step"] == 2


def test_early_stopping_saves_and_says_why(make_trainer, tmp_path):
    trainer = make_trainer(
        loop={"steps": 60, "eval_every": 1},
        optim={"lr_matrices": 1e-12, "lr_embeddings": 1e-12, "lr_vectors": 1e-12},
        callbacks=[EarlyStopping(patience=3)],
    )
    stop = trainer.fit()
    assert "has not fallen below" in stop.reason
    assert stop.step < 60
    assert trainer.exit_code == 0
    assert latest_checkpoint(tmp_path).state["progress"]["step"] == stop.step


def test_callbacks_go_on_where_they_were(make_trainer, tmp_path):
    """Patience of three, two of them used up before the run is stopped: one more evaluation ends it."""
    still = {"lr_matrices": 1e-30, "lr_embeddings": 1e-30, "lr_vectors": 1e-30}
    changes = {
        "loop": {"eval_every": 1, "steps": 9},
        "optim": still,
        "callbacks": [EarlyStopping(patience=3)],
    }
    first = make_trainer(**changes)
    first.config = dataclasses.replace(first.config, loop=dataclasses.replace(first.config.loop, steps=3))
    assert first.fit().step == 3
    resumed = make_trainer(**(changes | {"callbacks": [EarlyStopping(patience=3)]}))
    resumed.load(latest_checkpoint(tmp_path))
    assert resumed.fit().step == 4


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "adamuon"])
@pytest.mark.parametrize(
    ("precision", "parameters"), [("float32", "float32"), ("bf16", "float32"), ("bf16", "bf16")]
)
def test_r18_a_resumed_run_is_bit_identical_to_one_that_never_stopped(
    make_trainer, tmp_path, optimizer, precision, parameters
):
    """Weights, optimizer, randomness (dropout is on), place in the data and losses, to the last bit."""
    changes = {
        "optim": {"name": optimizer, "bf16_updates": "stochastic"},
        "model": {"dropout": 0.1},
        "loop": {"precision": precision, "parameters": parameters, "steps": 8, "micro_batch_size": 2},
        "schedule": {"warmup_steps": 2},
    }
    straight = make_trainer(folder=tmp_path / "straight", **changes)
    losses = [straight.step().loss for _ in range(8)]
    first = make_trainer(folder=tmp_path / "broken", **changes)
    for _ in range(5):
        first.step()
    first.save()
    resumed = make_trainer(folder=tmp_path / "broken", **changes)
    torch.manual_seed(99)
    resumed.load(latest_checkpoint(tmp_path / "broken"))
    assert [resumed.step().loss for _ in range(3)] == losses[5:]
    assert same(weights(straight), weights(resumed))
    tensors = [t.optimizers.state_dict()[0] for t in (straight, resumed)]
    assert same(*tensors)
    assert straight.loader.state_dict() == resumed.loader.state_dict()
    assert straight.progress == resumed.progress


def test_other_data_cannot_be_resumed_on(make_trainer, tiny_data, tmp_path):
    trainer = make_trainer()
    trainer.step()
    trainer.save()
    swapped = dataclasses.replace(tiny_data, train=tiny_data.validation)
    with pytest.raises(ValueError, match="was trained on other tokens"):
        make_trainer(prepared=swapped, loop={"batch_size": 2}).load(latest_checkpoint(tmp_path))


def test_t10_another_architecture_is_named_before_anything_is_loaded(make_trainer, tmp_path):
    trainer = make_trainer()
    trainer.step()
    trainer.save()
    other = make_trainer(model={"n_layers": 2})
    before = weights(other)
    with pytest.raises(ValueError, match=r"blocks\.1"):
        other.load(latest_checkpoint(tmp_path))
    assert same(before, weights(other))


def test_another_thread_count_is_told_when_resuming(make_trainer, tmp_path):
    trainer = make_trainer()
    trainer.save()
    checkpoint = latest_checkpoint(tmp_path)
    checkpoint.state["environment"]["threads"] += 3
    with pytest.warns(UserWarning, match=r"another environment \(threads \d+ → \d+\)"):
        make_trainer().load(checkpoint)


def test_r19_a_batch_of_one_row_of_one_token_trains(make_trainer):
    trainer = make_trainer(loop={"batch_size": 1, "steps": 2}, data={"seq_len": 1})
    assert all(math.isfinite(trainer.step().loss) for _ in range(2))


def test_r4_too_little_data_is_told_before_training(make_trainer):
    with pytest.raises(ValueError, match="expected at least"):
        make_trainer(loop={"batch_size": 4096})


def test_r2_no_copy_of_the_weights_is_kept_between_steps(make_trainer):
    """Storage held by live tensors after many steps is what it was after two."""
    trainer = make_trainer()

    def held():
        gc.collect()
        tensors = [t for t in gc.get_objects() if type(t) in (torch.Tensor, torch.nn.Parameter)]
        tensors = [t for t in tensors if not t.is_mkldnn]  # packed by another test's compiler: no storage
        return sum({t.untyped_storage().data_ptr(): t.nbytes for t in tensors}.values())

    for _ in range(2):
        trainer.step()
    before = held()
    for _ in range(6):
        trainer.step()
    assert held() <= before


def test_t24_a_second_run_in_one_process_adds_no_handlers(make_trainer, tmp_path):
    def handlers():
        known = [logging.getLogger(name) for name in logging.root.manager.loggerDict]
        return sum(len(logger.handlers) for logger in [logging.root, *known])

    counts = []
    for run in range(3):
        make_trainer(loop={"steps": 1}, folder=tmp_path / str(run)).fit()
        counts.append(handlers())
    assert counts[0] == counts[1] == counts[2]


def test_t28_a_trainer_says_what_it_is(make_trainer, tmp_path):
    trainer = make_trainer()
    trainer.step()
    assert repr(trainer) == f"Trainer(step 1 of 12, muon, cpu, in {str(tmp_path)!r})"
