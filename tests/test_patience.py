"""Waiting for a world that does not answer: told, for as long as it takes, and over at once when asked to stop."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from pretrain.errors import ChainUnavailable, ConfigError, HubUnavailable, PretrainError
from pretrain.outage import Outage, failed, spoken
from pretrain.patience import Pace, until_answered


def ask(answers: Sequence[PretrainError | int], told: list[Outage | None]) -> int | None:
    left = list(answers)

    async def question() -> int:
        answer = left.pop(0)
        if isinstance(answer, PretrainError):
            raise answer
        return answer

    async def go() -> int | None:
        return await until_answered(question, "5Alice", Pace(0.0, asyncio.Event()), told.append)

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
            waiting = asyncio.create_task(until_answered(question, "5Alice", Pace(60.0, stop), lambda _: None))
            await asked.wait()
            stop.set()
            return await waiting

    assert asyncio.run(go()) is None


def test_an_outage_counts_its_tries_and_another_thing_that_is_missing_is_another() -> None:
    first = failed(None, ChainUnavailable("no"), 10.0)
    second = failed(first, ChainUnavailable("no"), 20.0)
    third = failed(second, ChainUnavailable("no"), 30.0)
    other = failed(third, ChainUnavailable("odd"), 40.0)
    hub = failed(other, HubUnavailable("no"), 50.0)
    assert [(o.tries, o.since, o.worth_a_line) for o in (first, second, third, other)] == [
        (1, 10.0, True),
        (2, 10.0, True),
        (3, 10.0, False),
        (4, 10.0, True),
    ]
    assert (hub.what, hub.tries, hub.since) == ("the hub", 1, 50.0)
    assert (first.told(15.0), third.told(40.0)) == ("no", "no (3 tries in 30 s)")
    assert other.over(130.0) == "the chain is back after 2 min (4 tries failed)"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (11_100, "3 h 5 min")],
)
def test_a_duration_is_said_as_a_person_says_it(seconds: float, text: str) -> None:
    assert spoken(seconds) == text
