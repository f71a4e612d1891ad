"""``pretrain chain``: what a person does to an embedded chain: let it go on, stop it, join it, serve it."""

import asyncio
import errno
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from pretrain.commands.output import AsJson, emit, say
from pretrain.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Let an embedded chain go on, stop it, join it, or serve it.")

Network = Annotated[
    str,
    typer.Option(
        "--subtensor.network",
        envvar="PRETRAIN_SUBTENSOR__NETWORK",
        metavar="file:PATH",
        help="The embedded chain's file.",
    ),
]
DEFAULT = "file:localnet-run/chain.sqlite"
FAUCET = "faucet"
"""The wallet whose coldkey the chain's genesis may name as its faucet."""


@app.command()
def resume(*, network: Network = DEFAULT, as_json: AsJson = False) -> None:
    """Let the chain of an ended run go on from its newest block; nothing in it ages meanwhile."""
    from pretrain.chain import history, local  # noqa: PLC0415 - `pretrain --help` answers at once

    path = _file(network)
    local.resume(path)
    _told(f"{path} goes on from block {history.newest(path)}", {"block": history.newest(path)}, as_json=as_json)


@app.command()
def pause(*, network: Network = DEFAULT, as_json: AsJson = False) -> None:
    """Stop the chain's time: it can be read as it stands and takes no calls."""
    from pretrain.chain import history, local  # noqa: PLC0415

    path = _file(network)
    local.pause(path)
    _told(f"{path} stands at block {history.newest(path)}", {"block": history.newest(path)}, as_json=as_json)


@app.command()
def register(
    *,
    name: Annotated[str, typer.Option("--wallet.name", help="The wallet; made, without a password, if missing.")],
    hotkey: Annotated[str, typer.Option("--wallet.hotkey", help="Its hotkey.")] = "default",
    path: Annotated[
        Path, typer.Option("--wallet.path", envvar="PRETRAIN_WALLET__PATH", help="Folder of the wallets.")
    ] = Path("localnet-run/wallets"),
    network: Network = DEFAULT,
    netuid: Annotated[int, typer.Option(min=0, envvar="PRETRAIN_NETUID", help="The subnet.")] = 9,
    as_json: AsJson = False,
) -> None:
    """Register a hotkey on an embedded chain, paid by its coldkey.

    What the coldkey lacks comes from the chain's faucet, where it has one whose wallet lies in the same folder. Such
    keys have no password: they guard nothing of value.
    """
    from pretrain.chain import ledger  # noqa: PLC0415
    from pretrain.chain.local import LocalChain  # noqa: PLC0415
    from pretrain.wallet import create_wallet, open_wallet  # noqa: PLC0415

    file = _file(network)
    LocalChain(file, netuid)  # a wrong chain is told of before a wallet is made
    wallet = create_wallet(name, hotkey, path)
    chain = LocalChain(file, netuid, wallet)
    coldkey = wallet.coldkey.ss58_address
    with ledger.reading(file) as database:
        lacking = chain.genesis.parameters.burn - ledger.balance_of(database, coldkey)
    if lacking > 0:
        if chain.genesis.faucet is None:
            raise ConfigError(f"coldkey {coldkey} lacks {lacking} rao to register, and {file} has no faucet")
        faucet = open_wallet(FAUCET, "default", path)
        asyncio.run(chain.fund(faucet.coldkey, coldkey, lacking))
    uid = asyncio.run(chain.register())
    address = wallet.hotkey.ss58_address
    _told(f"{name}/{hotkey} is uid {uid}: {address}", {"uid": uid, "hotkey": address}, as_json=as_json)


@app.command()
def serve(
    *,
    network: Network = DEFAULT,
    host: Annotated[str, typer.Option(help="Where to listen; anything but this machine is for others to reach.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port; 0: a free one.")] = 9944,
    chaos: Annotated[
        int | None,
        typer.Option(metavar="SEED", help="Drop, delay and spoil answers at random, as drawn from this seed."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Serve the chain over websocket as a subtensor node does, until Ctrl-C.

    The real chain's SDK, the programs here, and btcli for what this chain has can then use it: give them the address
    that is printed as their network.
    """
    asyncio.run(_serve(_file(network), host, port, chaos, as_json=as_json))


async def _serve(path: Path, host: str, port: int, chaos: int | None, *, as_json: bool) -> None:
    from pretrain.chain.node.chaos import Chaos  # noqa: PLC0415
    from pretrain.chain.node.server import serve  # noqa: PLC0415

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        serving = serve(path, host=host, port=port, faults=None if chaos is None else Chaos(chaos))
        try:
            url = await stack.enter_async_context(serving)
        except OSError as error:
            raise ConfigError(f"--host {host} --port {port}: {error.strerror}; take {_other(error)}") from error
        _told(f"{path} is served at {url}", {"url": url}, as_json=as_json)
        await stop.wait()


def _other(error: OSError) -> str:
    """Return what to change when nothing can listen there."""
    of_ports = {errno.EADDRINUSE, errno.EACCES}
    return "another port" if error.errno in of_ports else "an address of this machine, such as 127.0.0.1"


def _file(network: str) -> Path:
    kind, _, path = network.partition(":")
    if kind != "file" or not path:
        raise ConfigError(f"--subtensor.network {network!r}: only an embedded chain, file:PATH")
    if not Path(path).is_file():
        raise ConfigError(f"--subtensor.network {network!r}: {path} does not exist; `pretrain localnet` makes one")
    return Path(path)


def _told(line: str, facts: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        emit(facts)
    else:
        say(line)
