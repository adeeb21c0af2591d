"""The hunt under Inspect, with a mock model that plays two hunters: one that knows the repair, one that gives up."""

import json
import subprocess
import sys

import pytest

REPAIR = "sed -i 's/self.head_dim\\*\\*0.5/self.head_dim**-0.5/' trueformer/nn/attention.py"
RUN = """
import json, sys
from inspect_ai import eval as evaluate
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from trueformer.hunt.for_inspect import hunt

calls = [ModelOutput.for_tool_call("mockllm/model", name, arguments) for name, arguments in json.loads(sys.argv[1])]
for call in calls:
    call.usage = ModelUsage()  # or the mock counts tokens with ranks that it would download
model = get_model("mockllm/model", custom_outputs=calls)
(log,) = evaluate(hunt(cases="tunnel-vision", sandbox="local"), model=model, display="none", log_dir=sys.argv[2])
assert log.status == "success", log.error.message
print(json.dumps(log.samples[0].scores["by_behaviour"].value))
"""


@pytest.mark.parametrize(
    ("calls", "solved"),
    [
        ([("bash", {"command": REPAIR}), ("submit", {"answer": "done"})], 1.0),
        ([("submit", {"answer": "I give up"})], 0.0),
    ],
    ids=["knows", "gives-up"],
)
def test_a_mock_model_is_scored_by_what_the_code_does(calls, solved, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(calls), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {"solved": solved, "points": 10.0 * solved}
