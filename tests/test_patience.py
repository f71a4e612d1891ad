"""Waiting for a world that does not answer: told, for as long as it takes, and over at once when asked to stop."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from pretrain.errors import (
    ChainUnavailable,
    ConfigError,
    EvaluatorUnavailable,
    HubUnavailable,
    PretrainError,
    Refused,
)
from pretrain.outage import Outage, failed, spoken
from pretrain.patience import Pace, Waiting, asked_again, until_answered


def ask(answers: Sequence[PretrainError | int], told: list[Outage | None]) -> int | None:
    left = list(answers)

    async def question() -> int:
        answer = left.pop(0)
        if isinstance(answer, PretrainError):
            raise answer
        return answer

    async def go() -> int | None:
        return await until_answered(question, Waiting("5Alice", Pace(0.0, asyncio.Event()), {}, told.append))

    return asyncio.run(go())


def test_it_is_asked_until_there_is_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Outage | None] = []
    with caplog.at_level(logging.INFO):
        assert ask([*[ChainUnavailable("ws://a: refused")] * 5, 7], told) == 7
    assert [outage and outage.tries for outage in told] == [1, 2, 3, 4, 5, None]
    assert [record.getMessage().partition(";")[0].partition(" (")[0] for record in caplog.records] == [
        *["waiting for the chain: ws://a: refused"] * 3,
        "the chain is back after 0 s",
    ]


def test_a_wrong_chain_is_no_reason_to_wait() -> None:
    with pytest.raises(ConfigError, match="another chain"):
        ask([ChainUnavailable("refused"), ConfigError("another chain"), 7], [])


@pytest.mark.parametrize("hangs", [False, True])
def test_asked_to_stop_it_leaves_at_once(*, hangs: bool) -> None:
    async def go() -> int | None:
        stop, asked = asyncio.Event(), asyncio.Event()

        async def question() -> int:
            asked.set()
            if hangs:
                await asyncio.Event().wait()
            raise ChainUnavailable("refused")

        async with asyncio.timeout(5):
            waiting = Waiting("5Alice", Pace(60.0, stop), {}, lambda _: None)
            leaving = asyncio.create_task(until_answered(question, waiting))
            await asked.wait()
            stop.set()
            return await leaving

    assert asyncio.run(go()) is None


def outages(*whys: str, who: str = "judging") -> list[Outage]:
    """Return the outage after each of some failed tries, ten seconds apart."""
    found: list[Outage] = []
    for why in whys:
        found.append(failed(found[-1] if found else None, "the chain", why, who, 10.0 * (1 + len(found))))
    return found


def test_an_outage_counts_its_tries_and_tells_each_reason_once_and_then_ever_more_seldom() -> None:
    found = outages("no", "no", "no", "odd", "no", "odd", "no", "no", "no")
    assert [(o.tries, o.since, o.worth_a_line) for o in found] == [
        (1, 10.0, True),
        (2, 10.0, True),
        (3, 10.0, False),
        (4, 10.0, True),
        (5, 10.0, False),
        (6, 10.0, False),
        (7, 10.0, False),
        (8, 10.0, True),
        (9, 10.0, False),
    ]
    assert (found[0].told(15.0), found[2].told(40.0)) == ("no", "no (3 tries in 30 s)")
    assert found[3].over(130.0) == "the chain is back after 2 min (4 tries failed)"


def test_a_new_reason_is_told_at_once() -> None:
    assert [o.worth_a_line for o in outages("a", "a", "a", "a", "b", "c")] == [True, True, False, True, True, True]


def test_a_reason_with_another_block_in_it_is_no_new_one() -> None:
    whys = [f"block {n} cannot be read (block {n + 7} is finalised)" for n in (98, 99, 100, 101, 102)]
    assert [o.worth_a_line for o in outages(*whys)] == [True, True, False, True, False]


def test_the_reasons_remembered_are_bounded_and_the_ones_still_heard_stay() -> None:
    letters = [chr(ord("a") + n // 26) + chr(ord("a") + n % 26) for n in range(300)]
    found = outages(*(why for letter in letters for why in ("usual", letter)), "usual")
    assert len(found[-1].said) == len(set(found[-1].said)) == 32
    assert "usual" in found[-1].said
    assert not found[-1].worth_a_line


def test_two_who_ask_for_one_thing_are_told_of_it_once_a_round() -> None:
    outage: Outage | None = None
    told = []
    for _ in range(4):
        for who in ("judging", "weights"):
            outage = failed(outage, "the chain", "no", who, 10.0)
            told.append((outage.tries, outage.worth_a_line))
    assert told == [(1, True), (1, False), (2, True), (2, False), (3, False), (3, False), (4, True), (4, False)]


def test_a_thing_is_back_when_it_has_answered_and_not_when_another_fails(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Outage | None] = []

    async def go() -> None:
        waiting = Waiting("5Alice", Pace(0.0, asyncio.Event()), {}, told.append, lambda: "weights stay")
        await waiting.hold_out(HubUnavailable("no hub"))
        await waiting.hold_out(ChainUnavailable("no chain"))
        waiting.answered("the chain", "the engine")
        await waiting.hold_out(HubUnavailable("no hub"))
        waiting.answered("the hub")
        waiting.answered("the hub")

    with caplog.at_level(logging.INFO):
        asyncio.run(go())
    assert [outage and (outage.what, outage.tries) for outage in told] == [
        ("the hub", 1),
        ("the chain", 1),
        ("the hub", 1),
        ("the hub", 2),
        None,
    ]
    assert [record.getMessage() for record in caplog.records] == [
        "waiting for the hub: no hub; trying again in 0 s",
        "waiting for the chain: no chain; weights stay; trying again in 0 s",
        "the chain is back after 0 s (1 try failed)",
        "waiting for the hub: no hub (2 tries in 0 s); trying again in 0 s",
        "the hub is back after 0 s (2 tries failed)",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (11_100, "3 h 5 min")],
)
def test_a_duration_is_said_as_a_person_says_it(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


def test_a_miner_asks_again_until_chain_and_hub_answer_and_says_why_it_waits() -> None:
    failures: list[Exception] = [ChainUnavailable("no route"), HubUnavailable("503")]
    told: list[str] = []

    async def question() -> str:
        if failures:
            raise failures.pop(0)
        return "published"

    assert asyncio.run(asked_again(question, "miner", lambda why, _pause: told.append(why), 0.001)) == "published"
    assert told == ["no route", "503"]


@pytest.mark.parametrize("error", [EvaluatorUnavailable("no device"), Refused("no"), ConfigError("wrong chain")])
def test_what_waiting_does_not_mend_ends_the_wait(error: Exception) -> None:
    async def question() -> str:
        raise error

    with pytest.raises(type(error)):
        asyncio.run(asked_again(question, "miner", lambda *_: None, 0.001))
