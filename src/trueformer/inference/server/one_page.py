"""A page as one response: markup, style and script are files, put together here.

The browser runs and applies only what these files hold: the policy names their hashes, lets the page speak to
its own server and to nobody else, and forbids turning text into markup (`require-trusted-types-for`), so what
anybody says stays text even where the script is wrong.
"""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class OnePage:
    """The files of a page; scripts in this order, each uses the ones before it. `images`: where they may come from."""

    markup: Path
    styles: tuple[Path, ...]
    scripts: tuple[Path, ...]
    images: str = "data:"  # the icon in the tab

    @property
    def text(self) -> str:
        """The whole page, with no reference to anything outside it."""
        markup = self.markup.read_text(encoding="utf-8")
        for mark, filling in (("/* STYLE */", self.style), ("/* SCRIPT */", self.script)):
            assert markup.count(mark) == 1
            # Either would end the element it is put into, or change how the rest is read.
            assert not any(end in filling for end in ("</script", "</style", "<!--"))
            markup = markup.replace(mark, filling)
        return markup

    @property
    def policy(self) -> str:
        """What the browser may do with the page; anything not named here is refused."""
        return "; ".join(
            (
                "default-src 'none'",
                f"script-src '{_hash(self.script)}'",
                f"style-src '{_hash(self.style)}'",
                "connect-src 'self'",
                f"img-src {self.images}",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
                "require-trusted-types-for 'script'",
                "trusted-types 'none'",
            )
        )

    @property
    def style(self) -> str:
        """All style sheets as one."""
        return "\n".join(path.read_text(encoding="utf-8") for path in self.styles)

    @property
    def script(self) -> str:
        """All scripts in one scope that leaks no names; `window.trueformer` has what tests call."""
        texts = (path.read_text(encoding="utf-8") for path in self.scripts)
        return "\n".join(("(() => {", '"use strict";', *texts, "})();"))


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
