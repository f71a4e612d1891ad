"""One client at a time of several endpoints: deadlines fire, what fails is dropped, and the next one is opened."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from pretrain.backoff import delay
from pretrain.chain.connection import Access, Connection, Deadlines, Mismatch, shown
from pretrain.errors import ChainUnavailable, ConfigError

SOON = Deadlines(opening=0.2, read=0.2, write=0.2, settling=0.2, closing=0.2, first_pause=0.001)


@dataclass
class World:
    """What happened: which endpoints were opened and closed, and which of them are to fail at opening."""

    refuses: tuple[str, ...] = ()
    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    hangs: tuple[str, ...] = ()

    async def open(self, endpoint: str) -> str:
        self.opened.append(endpoint)
        if endpoint in self.hangs:
            await asyncio.Event().wait()
        if endpoint in self.refuses:
            raise OSError("refused")
        return endpoint

    async def close(self, client: str) -> None:
        self.closed.append(client)

    def connection(self, *endpoints: str) -> Connection[str]:
        return Connection(endpoints, Access(self.open, self.close, (OSError,)), SOON)


async def answer(client: str) -> str:
    return f"from {client}"


def fails(*endpoints: str) -> Callable[[str], Awaitable[str]]:
    async def work(client: str) -> str:
        if client in endpoints:
            raise OSError("reset")
        return f"from {client}"

    return work


def hangs(*endpoints: str) -> Callable[[str], Awaitable[str]]:
    async def work(client: str) -> str:
        if client in endpoints:
            await asyncio.Event().wait()
        return f"from {client}"

    return work


def test_nothing_is_opened_before_the_first_call_and_one_client_serves_all() -> None:
    async def scenario() -> World:
        world = World()
        connection = world.connection("a", "b")
        assert world.opened == []
        assert await asyncio.gather(*(connection.read(answer) for _ in range(5))) == ["from a"] * 5
        await connection.close()
        return world

    world = asyncio.run(scenario())
    assert (world.opened, world.closed) == (["a"], ["a"])


@pytest.mark.parametrize("trouble", [fails("a"), hangs("a")], ids=["an error", "no answer"])
def test_a_client_that_fails_is_dropped_and_the_next_endpoint_answers(trouble: Callable[[str], Awaitable[str]]) -> None:
    async def scenario() -> World:
        world = World()
        connection = world.connection("a", "b")
        assert await connection.read(trouble) == "from b"
        assert await connection.read(trouble) == "from b"
        await connection.close()
        return world

    world = asyncio.run(scenario())
    assert (world.opened, world.closed) == (["a", "b"], ["a", "b"])


@pytest.mark.parametrize("world", [World(refuses=("a",)), World(hangs=("a",))], ids=["refused", "no handshake"])
def test_an_endpoint_that_cannot_be_opened_is_passed_over(world: World) -> None:
    async def scenario() -> str:
        connection = world.connection("a", "b")
        try:
            return await connection.read(answer)
        finally:
            await connection.close()

    assert asyncio.run(scenario()) == "from b"
    assert world.opened == ["a", "b"]


def test_when_no_endpoint_answers_the_last_ones_reason_is_told_and_later_calls_try_again() -> None:
    async def scenario() -> None:
        world = World(refuses=("a", "b"))
        connection = world.connection("a", "b")
        with pytest.raises(ChainUnavailable, match=r"^a: refused; b: refused$"):
            await connection.read(answer)
        assert world.opened == ["a", "b", "a"]
        world.refuses = ()
        assert await connection.read(answer) == "from b"
        await connection.close()

    asyncio.run(scenario())


def test_a_single_endpoint_is_tried_a_few_times_for_its_socket_may_just_have_been_old() -> None:
    async def scenario() -> list[str]:
        world = World()
        connection = world.connection("a")
        with pytest.raises(ChainUnavailable):
            await connection.read(fails("a"))
        await connection.close()
        return world.opened

    assert asyncio.run(scenario()) == ["a", "a", "a"]


def test_what_may_not_be_done_twice_is_done_once() -> None:
    async def scenario() -> list[str]:
        world = World()
        connection = world.connection("a", "b")
        with pytest.raises(ChainUnavailable):
            await connection.once(fails("a"), 1.0)
        await connection.close()
        return world.opened

    assert asyncio.run(scenario()) == ["a"]


def test_another_calls_client_is_not_dropped_by_one_that_failed_before() -> None:
    async def scenario() -> World:
        world = World()
        connection = world.connection("a", "b")
        results = await asyncio.gather(*(connection.read(fails("a")) for _ in range(4)))
        assert results == ["from b"] * 4
        await connection.close()
        return world

    assert asyncio.run(scenario()).opened == ["a", "b"]


def test_the_wrong_chain_is_told_at_once() -> None:
    async def wrong(_endpoint: str) -> str:
        raise ConfigError("another chain")

    async def scenario() -> None:
        connection: Connection[str] = Connection(["a", "b"], Access(wrong, World().close, (OSError,)), SOON)
        with pytest.raises(ConfigError, match="another chain"):
            await connection.read(answer)
        await connection.close()

    asyncio.run(scenario())


def test_a_caller_that_is_cancelled_leaves_the_client_to_the_others() -> None:
    async def scenario() -> World:
        world = World()
        connection = world.connection("a")
        waiting = asyncio.create_task(connection.once(hangs("a"), 5.0))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await connection.read(answer) == "from a"
        await connection.close()
        return world

    assert asyncio.run(scenario()).opened == ["a"]


def test_the_work_of_a_caller_that_is_cancelled_goes_no_further() -> None:
    async def scenario() -> list[str]:
        connection, done = World().connection("a"), []

        async def work(_client: str) -> str:
            done.append("begun")
            await asyncio.sleep(0.05)
            done.append("sent")
            return ""

        caller = asyncio.create_task(connection.read(work))
        await asyncio.sleep(0.01)
        caller.cancel()
        with suppress(asyncio.CancelledError):
            await caller
        await asyncio.sleep(0.1)
        await connection.close()
        return done

    assert asyncio.run(scenario()) == ["begun"]


def test_who_waits_for_a_client_that_another_gives_up_is_not_cancelled_with_it() -> None:
    """A loop that ended as cancelled would end without a word, and its program would go on without it."""

    async def scenario() -> list[str]:
        world = World(hangs=("a",))
        connection = world.connection("a", "b")
        impatient = asyncio.create_task(connection.once(answer, 0.02))
        patient = asyncio.create_task(connection.once(answer, 5.0))
        told = await asyncio.gather(impatient, patient, return_exceptions=True)
        assert all(isinstance(each, ChainUnavailable) for each in told)
        assert await connection.read(answer) == "from b"
        await connection.close()
        return [str(each) for each in told]

    assert asyncio.run(scenario()) == ["a did not answer within 0.02 s", "a was given up while it was waited for"]


def test_a_client_that_does_not_close_holds_nobody_up() -> None:
    class Stubborn(World):
        async def close(self, client: str) -> None:
            await super().close(client)
            await asyncio.Event().wait()

    async def scenario() -> None:
        connection = Stubborn().connection("a", "b")
        assert await connection.read(fails("a")) == "from b"
        await connection.close()

    asyncio.run(asyncio.wait_for(scenario(), 5.0))


def test_a_deadline_fires_also_for_work_that_waits_while_it_is_cancelled() -> None:
    """The SDK says goodbye to a subscription, and waits for an answer, before it lets itself be cancelled."""
    freed = asyncio.Event()

    class Freeing(World):
        async def close(self, client: str) -> None:
            await super().close(client)
            freed.set()

    async def stubborn(_client: str) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            await freed.wait()  # until its socket is closed
        return ""

    async def scenario() -> None:
        connection = Freeing().connection("a", "b")
        with pytest.raises(ChainUnavailable, match=r"a did not answer within 0\.05 s"):
            await connection.once(stubborn, 0.05)
        await connection.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


def test_closing_is_bounded_whatever_a_client_leaves_behind() -> None:
    never = asyncio.Event()

    async def deaf(_client: str) -> str:
        while not never.is_set():
            with suppress(asyncio.CancelledError):
                await never.wait()
        return ""

    async def scenario() -> None:
        connection = World().connection("a", "b")
        with pytest.raises(ChainUnavailable):
            await connection.once(deaf, 0.02)
        await connection.close()
        never.set()

    asyncio.run(asyncio.wait_for(scenario(), 10.0))


@pytest.mark.parametrize("rights", [("b",), ()])
def test_an_endpoint_that_serves_something_else_is_passed_over_and_told_of_when_there_is_no_other(
    rights: tuple[str, ...],
) -> None:
    async def open_right(endpoint: str) -> str:
        if endpoint not in rights:
            raise Mismatch(f"{endpoint} serves another chain")
        return endpoint

    async def scenario() -> str:
        connection: Connection[str] = Connection(["a", "b"], Access(open_right, World().close, (OSError,)), SOON)
        try:
            return await connection.read(answer)
        finally:
            await connection.close()

    if rights:
        assert asyncio.run(scenario()) == "from b"
    else:
        with pytest.raises(Mismatch, match=r"^a serves another chain; b serves another chain$"):
            asyncio.run(scenario())


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("wss://user:word@node.example:9944/v1/KEY?apikey=KEY#KEY", "wss://node.example:9944"),
        ("ws://127.0.0.1:9944", "ws://127.0.0.1:9944"),
        ("ws://[::1]:9944/KEY", "ws://[::1]:9944"),
        ("wss://node.example", "wss://node.example"),
    ],
)
def test_an_address_is_shown_without_what_may_be_a_key(endpoint: str, expected: str) -> None:
    assert shown(endpoint) == expected


def test_opening_has_a_deadline_of_its_own() -> None:
    async def scenario() -> None:
        world = World(hangs=("a",))
        impatient = Deadlines(opening=0.02, read=30.0, first_pause=0.001)
        connection: Connection[str] = Connection(["a", "b"], Access(world.open, world.close, (OSError,)), impatient)
        assert await connection.read(answer) == "from b"
        await connection.close()

    asyncio.run(asyncio.wait_for(scenario(), 10.0))


def test_when_it_is_closed_nothing_is_left_running() -> None:
    class Slow(World):
        async def close(self, client: str) -> None:
            await asyncio.sleep(0.05)
            await super().close(client)

    async def scenario() -> list[str]:
        world = Slow()
        connection = world.connection("a", "b")
        await connection.read(fails("a"))
        await connection.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return world.closed

    assert asyncio.run(scenario()) == ["a", "b"]


def test_pauses_double_up_to_a_bound_differ_by_who_asks_and_never_by_chance() -> None:
    pauses = [delay("alice", attempt, 1.0, 60.0) for attempt in range(1, 100)]

    assert all(0.5 * min(60, 2 ** (n - 1)) <= pause <= min(60, 2 ** (n - 1)) for n, pause in enumerate(pauses, 1))
    assert pauses == [delay("alice", attempt, 1.0, 60.0) for attempt in range(1, 100)]
    assert len({delay(f"hotkey {i}", 3, 1.0, 60.0) for i in range(100)}) == 100
