"""The conversation under way: what is asked, kept, undone; what does not fit is not said."""

import pytest

from trueformer.inference.service import ServiceConfig, open_service
from trueformer.inference.terminal.session import STOPPED, Session
from trueformer.inference.terminal.settings import Settings
from trueformer.tokenization.conversations import Conversation, Text, ToolCall, assistant, system, user

HI = [Text("Hi")]


def test_a_reply_follows_its_message_and_undo_takes_both_back(session):
    session.ask("one")
    session.keep(HI, stopped=False)
    session.ask("two")
    session.keep([Text("Ho")], stopped=False)
    assert session.conversation() == Conversation.of(
        user("one"), assistant("Hi"), user("two"), assistant("Ho")
    )
    assert session.undo() == "two"
    assert session.turns == (user("one"), assistant("Hi"))
    session.undo()
    with pytest.raises(ValueError, match="nothing to undo"):
        session.undo()
    with pytest.raises(ValueError, match="nothing was said"):
        session.conversation()


def test_the_request_is_the_whole_conversation_with_the_system_message_in_front(session):
    session.reset(system="Be brief")
    session.ask("one")
    session.keep(HI, stopped=False)
    request = session.ask("two")
    expected = Conversation.of(system("Be brief"), user("one"), assistant("Hi"), user("two"))
    assert list(request.prompt) == session.service.chat.prompt(expected)
    session.reset()
    assert (session.system, session.turns) == ("Be brief", ())


@pytest.mark.parametrize(
    ("parts", "kept"),
    [
        ([Text("Hi")], [Text("Hi" + STOPPED)]),
        ([Text("Hi"), ToolCall("calculator", "1")], [Text("Hi"), ToolCall("calculator", "1"), Text(STOPPED)]),
    ],
)
def test_a_stopped_reply_is_kept_and_marked(session, parts, kept):
    session.ask("one")
    assert session.keep(parts, stopped=True)
    assert session.turns[-1] == assistant(*kept)


def test_an_empty_reply_is_not_kept_and_can_be_asked_for_again(session):
    first = session.ask("one")
    assert not session.keep([], stopped=True)
    assert session.turns == (user("one"),)
    assert session.retry().prompt == first.prompt


def test_a_fixed_seed_gives_each_reply_the_same_and_each_retry_another(service):
    session = Session(service, Settings(seed=2**63 - 1))
    seeds = [session.ask("one").sampling.seed]
    for _ in range(2):
        session.keep(HI, stopped=False)
        seeds.append(session.retry().sampling.seed)
    assert seeds == [2**63 - 1, 0, 1]
    assert session.turns == (user("one"),)
    session.keep(HI, stopped=False)
    assert session.ask("two").sampling.seed == 2**63 - 1
    assert session.retry().sampling.seed == 0


def test_without_a_seed_each_reply_has_its_own_which_can_be_seen(service):
    session = Session(service, Settings())
    seeds = []
    for text in "abcd":
        seeds.append(session.ask(text).sampling.seed)
        assert session.last_seed == seeds[-1]
    assert len(set(seeds)) == 4


def test_retry_says_why_it_cannot(session):
    with pytest.raises(ValueError, match="no message to answer"):
        session.retry()
    session.ask("one")
    session.keep(HI, stopped=False)
    with pytest.raises(ValueError, match="the reply would be the same"):
        session.retry()
    assert session.turns == (user("one"), assistant("Hi"))


def test_what_does_not_fit_is_refused_with_its_number_of_tokens_and_not_said(session):
    room = session.service.context_length
    session.ask("one")
    session.keep(HI, stopped=False)
    before = session.turns
    long = "é" * room
    tokens = len(session.service.chat.prompt(Conversation((*before, user(long)))))
    with pytest.raises(ValueError, match=f"would have {tokens} tokens and the context has room for {room}"):
        session.ask(long)
    with pytest.raises(ValueError, match="not sent"):
        session.resume(Conversation.of(user(long)))
    assert session.turns == before


def test_a_reply_has_at_least_one_token_of_room(session):
    """The longest message that is taken, and one token more."""
    room = session.service.context_length
    empty = len(session.service.chat.prompt(Conversation.of(user("q")))) - 1
    session.ask("q" * (room - 1 - empty))
    session.reset()
    with pytest.raises(ValueError, match=f"{room} tokens"):
        session.ask("q" * (room - empty))


def test_max_tokens_goes_to_the_engine(service):
    assert Session(service, Settings(max_tokens=3)).ask("one").max_new_tokens == 3


def test_resuming_takes_the_system_message_or_none(session):
    session.reset(system="old")
    session.resume(Conversation.of(system("new"), user("a"), assistant("b")))
    assert (session.system, session.turns) == ("new", (user("a"), assistant("b")))
    session.resume(Conversation.of(user("a")))
    assert (session.system, session.turns) == ("", (user("a"),))


def test_a_model_that_knows_no_chat_is_refused_with_what_to_do(untaught):
    refused = pytest.raises(ValueError, match=r"trueformer finetune.*trueformer generate")
    with open_service(str(untaught), ServiceConfig(n_slots=1)) as service, refused:
        Session(service, Settings())
