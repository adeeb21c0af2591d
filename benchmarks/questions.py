"""Four-choice questions answered by SmolLM2-135M: our scores beside those of the lm-eval harness.

    pip install lm-eval && python benchmarks/questions.py

The questions are the worked examples that lm-eval carries for MMLU (`flan_cot_fewshot`), put plainly:
the question and "Answer:", then each choice. lm-eval reads the same weights from our Hugging Face export, in
float32. Both should pick the same choices, so the scores should be equal.
"""

import argparse
import importlib.util
import json
import re
import tempfile
from pathlib import Path

import yaml
from measure import print_table

from trueformer.evaluation.multiple_choice import read_choices, score_choices
from trueformer.load import load_model
from trueformer.transfer import export_model

CHOICES = re.compile(r"\(A\)(.*?)\(B\)(.*?)\(C\)(.*?)\(D\)(.*)", re.DOTALL)
TASK = """\
task: trueformer_questions
dataset_path: json
dataset_kwargs: {{data_files: {{test: {questions}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""


def carried() -> list[dict]:
    """The questions with four choices and a letter for an answer, from the installed package."""
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise SystemExit("lm-eval is not installed: pip install lm-eval")
    folder = Path(spec.origin).parent / "tasks" / "mmlu" / "flan_cot_fewshot"
    found = []
    for path in sorted(folder.glob("mmlu_*.yaml")):
        text = path.read_text(encoding="utf-8").replace("!function", "#")
        for sample in yaml.safe_load(text)["fewshot_config"]["samples"]:
            choices = CHOICES.search(sample["question"])
            answer = re.search(r"answer is \(([ABCD])\)", sample["target"])
            if choices and answer:
                question = " ".join(sample["question"][: choices.start()].split())
                texts = [" ".join(choice.split()) for choice in choices.groups()]
                place = "ABCD".index(answer[1])
                found.append({"question": question, "choices": texts, "answer": place})
    return [row for row in found if all(row["choices"])]


def theirs(folder: Path, task: Path) -> dict[str, float]:
    """lm-eval's scores of the exported model."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model = HFLM(pretrained=str(folder), dtype="float32", batch_size=1, device="cpu")
    config = yaml.safe_load(task.read_text(encoding="utf-8"))
    results = simple_evaluate(
        model=model, tasks=[config], num_fewshot=0, task_manager=TaskManager(), bootstrap_iters=0
    )
    return results["results"]["trueformer_questions"]


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    with tempfile.TemporaryDirectory() as workdir:
        questions, task = Path(workdir) / "questions.jsonl", Path(workdir) / "task.yaml"
        questions.write_text("".join(json.dumps(row) + "\n" for row in carried()), encoding="utf-8")
        task.write_text(TASK.format(questions=questions), encoding="utf-8")
        scores = score_choices(load_model("smollm2"), read_choices(questions))
        other = theirs(export_model("smollm2", Path(workdir) / "model"), task)
    rows = [
        {
            "": "trueformer",
            "accuracy": str(scores.summed),
            "normalised by bytes": str(scores.per_byte),
        },
        {
            "": "lm-eval",
            "accuracy": f"{100 * other['acc,none']:.1f} %",
            "normalised by bytes": f"{100 * other['acc_norm,none']:.1f} %",
        },
    ]
    print_table(f"SmolLM2-135M, {scores.summed.total} four-choice questions", rows)


if __name__ == "__main__":
    main()
