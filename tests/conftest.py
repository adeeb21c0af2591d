"""Every test runs with tensor shapes checked at call time: jaxtyping annotations, enforced by beartype.

Also a real Chromium, for the tests of pages.
"""

import shutil
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import jaxtyping
import pytest
import torch

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Before anything imports the package: only modules imported under the hook are checked.
jaxtyping.install_import_hook("trueformer", "beartype.beartype")

# Dynamo cannot trace the checker and would break the graph; code that it traces ran checked when run eagerly.
type(jaxtyping.config).jaxtyping_disable = property(lambda config: torch.compiler.is_compiling())

# pytest-xdist runs a worker a core; threads inside workers would fight for the same cores.
torch.set_num_threads(1)

# What a shell starts in the background ignores SIGINT, and so would every program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium")
    if found is None:
        pytest.skip(reason="no chromium here: install it (Debian: apt install chromium) to test the page")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()
