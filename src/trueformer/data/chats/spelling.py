"""Spelling words and counting their letters, made by rule: what a model that sees tokens finds hard.

    user:      How many r are in strawberry?
    assistant: s-t-r-a-w-b-e-r-r-y: 3

The words are common ones and made-up ones; a word is either trained on or asked, never both.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

from trueformer.data.chats.grading import last_number, same_words
from trueformer.data.chats.task import Question, is_held_out
from trueformer.tokenization.conversations import Conversation, assistant, user

HELD_OUT_ONE_IN = 10
SPELL = ("Spell {word}.", "How do you spell {word}?", "Spell the word {word}.")
COUNT = ("How many {letter} are in {word}?", "Count the letter {letter} in {word}.")
ONSETS = "b bl br ch cl d dr f fl g gr h j k l m n p pl pr qu r s sh sl st str t th tr v w z"
VOWELS = "a e i o u ai ea ee oa oo ou"
CODAS = "b dd ff ll lt m nd pp rd rry st x"
COMMON = """
able about above across action address after afternoon again against agree almost alone along already also
although always among amount anger animal another answer anything apple apartment around arrive article
attention autumn balance banana basket beautiful because become bedroom before begin behind believe below
beneath better between bicycle bitter blossom borrow bottle bottom branch bread breakfast bridge bright
bring broken brother brown bubble build burning business butter butterfly button cabbage camera candle
captain carpet carrot castle cattle century certain chair chance cheese cherry chicken children choose
circle classroom clever climb clothes cloud coffee collect college colour comfort common company complete
control copper corner correct cotton country couple courage cousin cover cross current curtain dance danger
daughter decide deep deliver desert different difficult dinner discover distance doctor dollar double dragon
dream drink during early earth easily effect eight either electric elephant eleven energy engine enough
evening every example excellent exercise expect family famous farmer father feather fellow field fifteen
finger finish flower follow forest forget fortune forward freedom friend funny garden gather general gentle
giraffe glass golden grammar grass great green guess guitar hammer happen happy harbour heart heavy height
hello history holiday hollow honey horse hospital hundred hungry imagine important inside instead interest
island jacket jelly journey kettle kitchen knife knowledge ladder language laughter leather lesson letter
library listen little lonely machine marble market marriage matter meadow measure medicine memory middle
million minute mirror mississippi moment money monkey morning mother mountain music narrow nature necessary
needle neighbour never nothing number object ocean office onion opinion orange other paper parallel parent
party pattern pencil people pepper perfect perhaps picture pillow planet pleasure pocket possible potato
pretty prince problem promise puzzle quarrel queen question quick quiet rabbit raspberry reason receive
remember ribbon river rocket rubber sailor saddle school science season second secret seven shadow shallow
shelter silver simple sister skill sleep slipper smooth soccer soldier something sorrow spelling spider
spring squirrel station story strawberry street strong success sudden summer supper surface sweet table
teacher tennis terrible thirteen thought thousand thread together tomorrow traffic travel treasure tree
trouble tunnel turtle umbrella uncle under valley village violin vowel waggon walnut water weather wedding
welcome whisper whistle willow window winter wisdom wonder wooden worry yellow yesterday zebra
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spelling:
    """The task: `size` conversations and `questions` questions, other ones for another `seed`.

    Raises:
        ValueError: a negative number of either.
    """

    size: int = 10_000
    questions: int = 500
    seed: int = 0
    name: ClassVar[str] = "spelling"
    about: ClassVar[str] = "spelling words and counting their letters (made)"

    def __post_init__(self) -> None:
        if min(self.size, self.questions) < 0:
            raise ValueError(
                f"spelling of {self.size} conversations and {self.questions} questions: expected 0 or more"
            )

    def train(self) -> list[Conversation]:
        """Words spelled, and letters counted in words spelled."""
        made = islice(_exercises(self.seed, held_out=False), self.size)
        return [Conversation.of(user(asked), assistant(reply)) for asked, reply, _ in made]

    def held_out(self) -> list[Question]:
        """The same about words that are not trained on."""
        made = islice(_exercises(self.seed, held_out=True), self.questions)
        return [Question(prompt=Conversation.of(user(asked)), answer=answer) for asked, _, answer in made]

    def correct(self, reply: str, answer: str) -> bool:
        """Whether a count is the last number of the reply, and a spelling is all of it."""
        return last_number(reply) == answer if answer.isdigit() else same_words(reply, answer)


def spelled(word: str) -> str:
    """A word letter by letter: "s-p-e-l-l"."""
    return "-".join(word)


def _exercises(seed: int, *, held_out: bool) -> Iterator[tuple[str, str, str]]:
    """What is asked, the whole reply, and the answer in it, without end."""
    rng, common = random.Random(seed), COMMON.split()
    while True:
        word = rng.choice(common) if rng.random() < 0.3 else _made_up(rng)
        if is_held_out(word, one_in=HELD_OUT_ONE_IN) != held_out:
            continue
        if rng.random() < 0.5:
            yield rng.choice(SPELL).format(word=word), spelled(word), spelled(word)
        else:
            letter = rng.choice(word if rng.random() < 0.9 else "abcdefghijklmnopqrstuvwxyz")
            count = str(word.count(letter))
            yield rng.choice(COUNT).format(letter=letter, word=word), f"{spelled(word)}: {count}", count


def _made_up(rng: random.Random) -> str:
    """A word that could be one, of two or three syllables; about half of them are open."""
    onsets, vowels, codas = ONSETS.split(), VOWELS.split(), CODAS.split()
    closed = [rng.choice((True, False)) for _ in range(rng.randint(2, 3))]
    return "".join(rng.choice(onsets) + rng.choice(vowels) + rng.choice(codas) * c for c in closed)
