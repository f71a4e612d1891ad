"""A call of which nothing is heard again: the chain is looked at before anything of the kind is sent once more."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from pretrain.chain import IN_FLIGHT, Head, writing
from pretrain.chain.connection import Access, Connection, Deadlines
from pretrain.chain.verdicts import Meaning
from pretrain.chain.writing import ERA, LONGEST_WAIT, Answer, Attempt, Sight, Write, Writer
from pretrain.errors import ChainUnavailable, Refused
from pretrain.types import Block

LAST = IN_FLIGHT
"""Blocks after which a call can land no more, whenever within its deadline it was signed."""
DEADLINES = Deadlines(opening=0.5, read=0.5, write=0.1, settling=0.1, closing=0.1, first_pause=0.001)


@dataclass
class Chain:
    """A chain that is told what to do with what it is sent."""

    answers: list[Answer | Exception | None]
    """One for each call; None: sent, and never answered."""
    block: int = 100
    landed: int | None = None
    readable: bool = True
    sent: list[str] = field(default_factory=list)
    looks: int = 0

    def __post_init__(self) -> None:
        async def opened(_endpoint: str) -> "Chain":
            return self

        async def closed(_client: object) -> None:
            pass

        connection = Connection(["a"], Access(opened, closed, (OSError,)), DEADLINES)
        self.writer = Writer(connection, DEADLINES, self.head)

    async def head(self) -> Head:
        if not self.readable:
            raise ChainUnavailable("away")
        return Head(Block(self.block), Block(self.block))

    def write(self, identity: str = "row") -> Write["Chain"]:
        async def send(_client: "Chain", attempt: Attempt) -> Answer:
            attempt.sent = lambda: True
            self.sent.append(identity)
            answer = self.answers.pop(0)
            if answer is None:
                await asyncio.Event().wait()
            if isinstance(answer, Exception):
                raise answer
            assert answer is not None
            return answer

        async def look() -> Sight:
            self.looks += 1
            return Sight((await self.head()).finalized, None if self.landed is None else Block(self.landed))

        async def wait(_code: str) -> int:
            return 12

        return Write("row of weights", identity, send, look, wait)


def run(scenario: Callable[[], Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_PAUSE", 0.01)
    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_call_that_succeeded_has_the_block_that_the_chain_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        chain = Chain([Answer(Block(103))])
        assert (await chain.writer.write(chain.write()), chain.looks) == (103, 0)

    run(scenario, monkeypatch)


def test_a_refusal_for_ever_has_nothing_to_wait_for_and_one_for_now_has(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        chain = Chain(
            [Answer(None, Meaning.NO, "no permit", "NoPermit"), Answer(None, Meaning.LATER, "too soon", "Fast")]
        )
        with pytest.raises(Refused, match="no permit") as never:
            await chain.writer.write(chain.write())
        with pytest.raises(Refused, match="too soon") as later:
            await chain.writer.write(chain.write())
        assert (never.value.code, never.value.wait_blocks) == ("NoPermit", 0)
        assert (later.value.code, later.value.wait_blocks) == ("Fast", 12)

    run(scenario, monkeypatch)


LOST_ANSWERS = [None, OSError("reset"), Answer(None, Meaning.LOOK, "dropped from the pool"), Answer(None)]


@pytest.mark.parametrize("lost", LOST_ANSWERS, ids=["no answer", "connection lost", "watch ended", "no block named"])
def test_what_landed_although_nothing_was_heard_is_found_on_chain(
    lost: Answer | Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        chain = Chain([lost], landed=104)
        assert await chain.writer.write(chain.write()) == 104
        assert chain.sent == ["row"]

    run(scenario, monkeypatch)


@pytest.mark.parametrize("lost", LOST_ANSWERS, ids=["no answer", "connection lost", "watch ended", "no block named"])
def test_while_it_may_still_land_nothing_is_sent_and_the_next_call_finds_it(
    lost: Answer | Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        chain = Chain([lost])
        for _ in range(2):
            with pytest.raises(ChainUnavailable, match=f"known after block {100 + LAST} .block 100 is finalised."):
                await chain.writer.write(chain.write())
        chain.landed = 105
        assert await chain.writer.write(chain.write()) == 105
        assert chain.sent == ["row"]

    run(scenario, monkeypatch)


def test_past_its_era_it_can_not_land_any_more_and_the_call_may_be_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        chain = Chain([None, Answer(Block(140))])
        with pytest.raises(ChainUnavailable):
            await chain.writer.write(chain.write())
        chain.block = 100 + LAST
        assert await chain.writer.write(chain.write()) == 140
        assert chain.sent == ["row", "row"]

    run(scenario, monkeypatch)


def test_when_it_did_not_land_within_the_call_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        chain = Chain([OSError("reset")])
        chain.block = 99
        asyncio.get_running_loop().call_later(0.05, lambda: setattr(chain, "block", 99 + LAST))
        with pytest.raises(
            ChainUnavailable, match="the row of weights did not land, and can not any more: a: reset"
        ) as lost:
            await chain.writer.write(chain.write())
        assert lost.value.not_landed

    run(scenario, monkeypatch)


def test_while_the_chain_cannot_be_read_that_is_said_and_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        chain = Chain([None])
        asyncio.get_running_loop().call_later(0.05, lambda: setattr(chain, "readable", False))
        with pytest.raises(ChainUnavailable):
            await chain.writer.write(chain.write())
        with pytest.raises(ChainUnavailable, match="the chain cannot be read") as unknown:
            await chain.writer.write(chain.write())
        assert not unknown.value.not_landed
        assert chain.sent == ["row"]

    run(scenario, monkeypatch)


def test_another_call_of_the_kind_is_not_taken_for_the_one_that_landed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        chain = Chain([None, Answer(Block(110))])
        with pytest.raises(ChainUnavailable):
            await chain.writer.write(chain.write("first"))
        chain.landed = 105
        assert await chain.writer.write(chain.write("second")) == 110
        assert chain.sent == ["first", "second"]

    run(scenario, monkeypatch)


def test_what_never_left_this_machine_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        chain = Chain([Answer(Block(101))])

        async def fails(_client: Chain, _attempt: Attempt) -> Answer:
            raise OSError("no route")

        write = chain.write()
        with pytest.raises(ChainUnavailable, match="no route") as lost:
            await chain.writer.write(Write(write.kind, write.identity, fails, write.look, write.wait))
        assert lost.value.not_landed
        assert (await chain.writer.write(write), chain.looks) == (101, 0)

    run(scenario, monkeypatch)


def test_once_it_is_known_that_it_landed_the_next_call_is_sent_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        chain = Chain([None, Answer(Block(150))])
        with pytest.raises(ChainUnavailable):
            await chain.writer.write(chain.write())
        chain.landed = 105
        assert await chain.writer.write(chain.write()) == 105
        assert await chain.writer.write(chain.write()) == 150
        assert chain.sent == ["row", "row"]

    run(scenario, monkeypatch)


def test_what_one_node_says_of_a_limit_silences_nobody_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        chain = Chain([Answer(None, Meaning.LATER, "too fast", "SettingWeightsTooFast")])

        async def wait(_code: str) -> int:
            return 1 << 63

        write = chain.write()
        with pytest.raises(Refused) as refused:
            await chain.writer.write(Write(write.kind, write.identity, write.send, write.look, wait))
        assert refused.value.wait_blocks == LONGEST_WAIT

    run(scenario, monkeypatch)


def test_of_two_calls_of_a_kind_the_second_is_made_when_the_first_has_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        chain = Chain([Answer(Block(101)), Answer(Block(102))])
        under_way: list[str] = []

        def slow(identity: str) -> Write[Chain]:
            write = chain.write(identity)

            async def send(client: Chain, attempt: Attempt) -> Answer:
                under_way.append(identity)
                assert under_way == [identity]
                await asyncio.sleep(0.01)
                under_way.remove(identity)
                return await write.send(client, attempt)

            return Write(write.kind, identity, send, write.look, write.wait)

        blocks = await asyncio.gather(*(chain.writer.write(slow(name)) for name in ("first", "second")))
        assert (blocks, chain.sent) == ([101, 102], ["first", "second"])

    run(scenario, monkeypatch)


def test_a_call_whose_caller_was_cancelled_is_looked_for_before_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        chain = Chain([None, Answer(Block(150))])
        calling = asyncio.create_task(chain.writer.write(chain.write()))
        while not chain.sent:  # noqa: ASYNC110 - until it is on its way
            await asyncio.sleep(0)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        chain.landed = 103
        assert (await chain.writer.write(chain.write()), chain.sent) == (103, ["row"])

    run(scenario, monkeypatch)


def test_how_long_it_may_land_is_counted_from_the_first_look_after_it_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was signed at some time before that look, of an endpoint that was perhaps far ahead."""

    async def scenario() -> None:
        chain = Chain([None])
        asyncio.get_running_loop().call_later(0.05, lambda: setattr(chain, "block", 300))
        with pytest.raises(ChainUnavailable, match=f"known after block {300 + ERA} "):
            await chain.writer.write(chain.write())

    run(scenario, monkeypatch)
