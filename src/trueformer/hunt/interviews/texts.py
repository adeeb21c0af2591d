"""What a candidate reads: the rules of an interview, the end of each incident, and the scripts that ask the grader."""

from collections.abc import Sequence

RULES = """# A bug hunt

{cases} hold a small project each: a stack that trains a small language model. Each one runs, trains and
writes, and is silently wrong in one place. `INCIDENT.md` there says what a colleague saw. Find the fault and mend it.

**You have {minutes} for all of them**, from the moment the clock was started. You may leave (`exit`) and come
back while there is time left. When it is over, the shell is closed; files stay as they are, so save as you go.

## What to do

    cd {first}
    less INCIDENT.md       # what was seen, with numbers; figures are in figures/
    python run.py          # the short experiment of the incident; `python run.py 7` takes another seed
    $EDITOR trueformer/…   # mend it; more than one file may need a change
    python check.py        # grades what you have: what holds and what does not, never where the fault is
{hint}
Take them in any order; the easier ones come first. You may check as often as you like; each check is noted with its time.

## How it is graded

By what the code does, not by how it looks: many laws over small runs of your project, with other sizes and seeds each
time.

- A case is **solved** when all of them hold. Any repair will do; it need not be the original one.
- Where the fault is mended but something else no longer holds, it counts **half**.
- A repair has no need to reach for the grader, or to change torch: that is noticed, and told to who reads the report.
- Harder cases are worth more.{costs} Time within the limit costs nothing.

Only `trueformer/` is graded. Names that other files import must stay; the experiment need not be changed.

## Where you are

In a closed room: the tools of this machine, Python with torch and numpy, these folders, and no network. `git diff` in a
case's folder shows what you have changed.
"""
HINT = "    python hint.py         # a hint, {hints} at most in each case; each costs points\n"
COSTS = " Hints cost 10, 15, 20 and 25 % of a case's points, in this order."
DO = """## What to do

Find the fault in `trueformer/` and mend it there, so that the whole project behaves as it should; how you write it is up
to you. Names that other files import must stay. There is no need to change the experiment.

    python run.py             # the experiment again; a number behind it is another seed
    python check.py           # what holds now, and what does not
"""
SCRIPT = '''"""{what}"""

import json
import os
import socket
import sys
from pathlib import Path

PLACE = os.environ.get("INTERVIEW", "")


def main() -> int:
    case = Path(__file__).resolve().parent.name
    print("{waiting}", flush=True)
    try:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(PLACE)
            asked.sendall(f"{verb} {{case}}\\n".encode())
            answer = json.loads(b"".join(iter(lambda: asked.recv(65536), b"")))
    except (OSError, ValueError) as error:
        print(f"nobody answers ({{error}}): this works while the clock of the interview runs", file=sys.stderr)
        return 2
    print(answer["said"])
    return answer["code"]


sys.exit(main())
'''


def rules(cases: Sequence[str], minutes: int | float, hints: int) -> str:
    """INTERVIEW.md."""
    named = f"`{cases[0]}`" if len(cases) == 1 else f"The folders `{cases[0]}` to `{cases[-1]}`"
    text = RULES if len(cases) > 1 else RULES.replace("hold a small project each", "holds a small project")
    return text.format(
        cases=named,
        minutes="1 minute" if minutes == 1 else f"{minutes:g} minutes",
        first=cases[0],
        hint=HINT.format(hints=hints) if hints else "",
        costs=COSTS if hints else "",
    )


def do(hints: int) -> str:
    """What the end of an incident tells to do."""
    return DO + (f"    python hint.py            # up to {hints}, each costs points\n" if hints else "")


def scripts(hints: int) -> dict[str, str]:
    """check.py, and hint.py where hints are allowed."""
    made: dict[str, str] = {
        "check.py": SCRIPT.format(
            what="Grades this case: says what holds and what does not, never where the fault is.",
            waiting="grading: every law over small runs of your code",
            verb="check",
        )
    }
    if hints:
        made["hint.py"] = SCRIPT.format(
            what="The next hint for this case, from the symptom to the place; each costs points.",
            waiting="asking for a hint",
            verb="hint",
        )
    return made
