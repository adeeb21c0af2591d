"""What a tool may be called, and that the package around it is light."""

import subprocess
import sys

import pytest

import trueformer.inference.tools as tools
from trueformer.inference.tools.tool import Tool, ToolError


@pytest.mark.parametrize("name", ["", "two words", "tab\there", "line\n", "wide\u3000space"])
def test_a_name_that_a_call_could_not_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected a name without white space"):
        Tool(name=name, about="", run=str.upper)


def test_the_package_offers_its_names_and_no_others() -> None:
    assert (tools.Tool, tools.ToolError) == (Tool, ToolError)
    assert sorted(tools.__all__) == dir(tools) == ["Tool", "ToolBox", "ToolError"]
    with pytest.raises(AttributeError, match=r"'trueformer\.inference\.tools' has no attribute 'Tools'"):
        _ = tools.Tools


def test_worker_and_box_import_neither_torch_nor_numpy() -> None:
    program = (
        "import sys, trueformer.inference.tools.worker, trueformer.inference.tools.box\n"
        "print(sorted({'torch', 'numpy', 'tokenizers', 'pickle', 'multiprocessing'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
