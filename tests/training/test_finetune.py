"""Fine-tuning: what is trained, what stays, exact resuming, adapters merged, bases that cannot be taught."""

import dataclasses
import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from trueformer.data.config import ChatConfig
from trueformer.load import load_model
from trueformer.models.config import DecoderConfig, LoraConfig
from trueformer.models.decoder import DecoderLM
from trueformer.models.loaded import LoadedModel
from trueformer.nn.lora import add_lora, merged
from trueformer.presets import finetune_run
from trueformer.tokenization.bpe import train_bpe
from trueformer.tokenization.chat_format import TOOL_TOKENS, chat_format
from trueformer.tokenization.chat_layout import CHATML, OURS, jinja_template
from trueformer.tokenization.conversations import Conversation, user
from trueformer.training.accumulate import target_tokens
from trueformer.training.callbacks.protocol import Callback
from trueformer.training.checkpoints import checkpoint_folders, load_checkpoint
from trueformer.training.data import ChatData
from trueformer.training.finetune import Start, finetune, resume_finetuning, start_from
from trueformer.training.loop import Trainer
from trueformer.training.run_folder import saved_config
from trueformer.transfer import export_model

TOKENIZER = train_bpe(["What is 12 + 34? The answer is 46. 0123456789"], 290)
SHAPE = {"max_len": 224, "d_model": 32, "n_layers": 2, "n_heads": 2}


def base(tokenizer=TOKENIZER, template=None, **changes) -> LoadedModel:
    torch.manual_seed(3)
    config = DecoderConfig(vocab_size=tokenizer.vocab_size, **(SHAPE | changes))
    model = DecoderLM(config).eval()
    with torch.no_grad():
        model.embedding.weight += 0.1  # trained embeddings have a mean that is not zero
    return LoadedModel(model=model, tokenizer=tokenizer, config=config, source="b", chat_template=template)


def start(loaded=None, source="arithmetic:60", **changes) -> Start:
    return start_from(loaded or base(), "base", ChatConfig(sources=(source,), seq_len=224, **changes))


def config(begun: Start, *, lora=None, steps=6, **loop):
    usual = {"steps": steps, "batch_size": 4, "compile": False, "precision": "float32", "checkpoint_every": 2}
    return finetune_run(
        begun.model.config,
        begun.config,
        base="base",
        rows=begun.rows,
        lora=lora,
        train_embedding=True,
        loop=usual | {"sample_tokens": 5, "eval_every": 3} | loop,
    )


def weights(folder) -> dict[str, torch.Tensor]:
    return load_checkpoint(checkpoint_folders(folder)[0]).model_tensors


class StopAt(Callback):
    name = "stop_at"

    def __init__(self, step: int) -> None:
        self.step = step

    def on_start(self, event):
        self.control = event.control

    def on_step(self, event):
        if event.step == self.step:
            self.control.request_stop("that is enough")


def test_a_base_without_chat_gets_our_tokens_and_learns(tmp_path):
    begun = start()
    assert begun.new_tokens == len(OURS.tokens) + len(TOOL_TOKENS)
    result = finetune(config(begun, steps=30), begun, tmp_path / "run")
    assert result.reason == "finished"
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["event"] == "step"]
    assert losses[-1] < 0.7 * losses[0]
    loaded = load_model(tmp_path / "run")
    assert chat_format(loaded.tokenizer, loaded.chat_template).tools is not None
    assert "<|assistant_turn|>" in result.sample
    assert saved_config(tmp_path / "run").data.sources == ("arithmetic:60",)


def test_new_rows_begin_at_the_mean_and_the_others_are_the_bases():
    loaded = base()
    begun = start(loaded)
    old, new = loaded.model.embedding.weight, begun.model.embedding.weight
    assert torch.equal(new[: len(old)], old)
    spread = (new[len(old) :] - old.mean(0)).std()
    assert 0.5 * 0.02 < spread < 2 * 0.02
    with torch.inference_mode():
        ids = torch.tensor([[5, 6, 7]])
        # A wider product may be summed in another order.
        torch.testing.assert_close(begun.model(ids)[..., : len(old)], loaded.model(ids), atol=1e-6, rtol=1e-6)


def test_n4_one_step_is_the_same_however_it_is_cut_although_parts_hold_unequal_numbers_of_targets(tmp_path):
    """The mean is over the trained tokens of the whole step; a mean of means would differ by per cents."""
    found, counts = [], []
    for micro in (4, 1):
        begun = start()
        # Conversations of very unequal length: a few rows hold many targets, the last one few.
        made = config(begun, micro_batch_size=micro)
        trainer = Trainer(made, begun.model, begun.data, tmp_path, device=torch.device("cpu"))
        step = trainer.step()
        counts.append([target_tokens([batch]) for batch in trainer._micro_batches])
        found.append((step.loss, step.grad_norm))
    assert len(set(counts[1])) > 1
    assert sum(counts[1]) == counts[0][0]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2, alpha=4.0)])
def test_an_interrupted_run_resumes_as_if_it_had_not_been(tmp_path, lora):
    begun = start()
    made = config(begun, lora=lora)
    finetune(made, begun, tmp_path / "straight")
    begun = start()
    stopped = finetune(made, begun, tmp_path / "broken", callbacks=[StopAt(3)])
    assert stopped.step == 3
    resumed = resume_finetuning(saved_config(tmp_path / "broken"), tmp_path / "broken")
    assert resumed.step == 6
    straight, broken = weights(tmp_path / "straight"), weights(tmp_path / "broken")
    assert straight.keys() == broken.keys()
    assert all(torch.equal(straight[name], broken[name]) for name in straight)


def test_resuming_on_other_conversations_is_refused(tmp_path):
    begun = start()
    finetune(config(begun), begun, tmp_path / "run", callbacks=[StopAt(3)])
    saved = saved_config(tmp_path / "run")
    changed = dataclasses.replace(saved, data=dataclasses.replace(saved.data, sources=("arithmetic:50",)))
    with pytest.raises(ValueError, match="other tokens"):
        resume_finetuning(changed, tmp_path / "run")


def test_adapters_leave_the_base_alone_and_are_merged_when_loaded_and_exported(tmp_path):
    begun = start()
    before = {name: p.clone() for name, p in begun.model.named_parameters()}
    finetune(config(begun, lora=LoraConfig(rank=2, alpha=4.0)), begun, tmp_path / "run")
    saved = weights(tmp_path / "run")
    matrices = [name for name in before if before[name].dim() == 2 and name != "embedding.weight"]
    assert all(torch.equal(saved[name], before[name]) for name in matrices)
    assert any(saved[name].abs().max() > 0 for name in saved if name.endswith("lora_b"))
    loaded = load_model(tmp_path / "run")
    begun.model.eval()
    ids = torch.tensor([[1, 9, 4, 30, 7]])
    with torch.inference_mode():
        adapted = begun.model(ids)
        torch.testing.assert_close(loaded.model(ids), adapted, atol=1e-5, rtol=1e-4)
        export_model(tmp_path / "run", tmp_path / "exported")
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "exported", dtype=torch.float32)
        torch.testing.assert_close(theirs(ids).logits, adapted, atol=1e-4, rtol=1e-4)
    said = [{"role": "user", "content": "What is 1 + 2?"}]
    other = AutoTokenizer.from_pretrained(tmp_path / "exported")
    ours = chat_format(loaded.tokenizer, loaded.chat_template).prompt(Conversation.of(user("What is 1 + 2?")))
    assert other.apply_chat_template(said, add_generation_prompt=True, return_dict=False) == ours


def test_a_merged_layer_computes_what_layer_and_adapter_did():
    torch.manual_seed(0)
    model = DecoderLM(DecoderConfig(vocab_size=20, **SHAPE, attention_bias=True)).eval()
    lora = LoraConfig(rank=3, alpha=5.0)
    add_lora(model, lora)
    for name, parameter in model.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(parameter, 0.0, 0.1)
    plain = DecoderLM(model.config).eval()
    plain.load_state_dict(merged(model.state_dict(), lora))
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        torch.testing.assert_close(plain(ids), model(ids), atol=1e-5, rtol=1e-5)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("lora" in name for name in trained)


def test_a_chatml_base_keeps_its_format_and_gets_tokens_for_tools_only():
    template = jinja_template(CHATML)
    begun = start(base(TOKENIZER.extended(CHATML.tokens), template))
    assert begun.new_tokens == len(TOOL_TOKENS)
    assert begun.data.chat.layout == CHATML
    assert start(base(TOKENIZER.extended(CHATML.tokens), template), "spelling:20").new_tokens == 0


def test_a_base_with_a_template_that_is_not_known_token_for_token_is_refused():
    with pytest.raises(ValueError, match="a chat template of its own"):
        start(base(template="{{ messages[0]['content'] }}"))


def test_a_base_without_tokenizer_is_refused():
    loaded = dataclasses.replace(base(), tokenizer=None)
    with pytest.raises(ValueError, match="has no tokenizer"):
        start_from(loaded, "base", ChatConfig(sources=("arithmetic:60",), seq_len=224))


def test_a_used_folder_is_refused_and_left_as_it_was(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    begun = start()
    with pytest.raises(ValueError, match="is not empty"):
        finetune(config(begun), begun, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_data_say_what_they_are():
    begun = start()
    assert isinstance(begun.data, ChatData)
    assert begun.data.fingerprint != start(source="arithmetic:50").data.fingerprint
    counts = begun.data.train.counts
    assert counts.conversations + counts.too_long == 57
    assert str(counts).startswith(f"{counts.conversations} conversations, {counts.tokens:,} tokens")
