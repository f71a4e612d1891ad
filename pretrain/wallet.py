"""Keys: opening a wallet, signing with it, and checking another's signature.

Besides the client of the real chain this is the only file that imports bittensor, and only its key handling: wallets
made here open in the ecosystem's other tools, and theirs open here. Nothing here logs or returns a secret.
"""

from pathlib import Path
from typing import Protocol

from bittensor import sp_core
from bittensor.keyfiles import Keyfile
from bittensor.wallet import DEFAULT_WALLET_PATH, Wallet

from pretrain.errors import ConfigError
from pretrain.types import Hotkey

__all__ = [
    "DEFAULT_WALLET_PATH",
    "Keypair",
    "Keys",
    "Wallet",
    "coldkey_address",
    "create_wallet",
    "is_address",
    "open_wallet",
    "public_key",
    "sign",
    "verify",
]

SS58_FORMAT = 42
"""The prefix of every address of this network: under another one the same key would pass for a second account."""
_LONGEST_ADDRESS = 64  # characters; 48 are usual


class Keypair(Protocol):
    """What signing needs of a key."""

    @property
    def ss58_address(self) -> str:
        """The public key as text."""

    @property
    def public_key(self) -> bytes:
        """The public key, 32 bytes."""

    @property
    def crypto_type(self) -> int:
        """The scheme of its signatures; 1: sr25519."""

    def sign(self, message: bytes) -> bytes:
        """Return the sr25519 signature, 64 bytes."""


class Keys(Protocol):
    """The two keys of a neuron; a ``Wallet`` is one."""

    @property
    def hotkey(self) -> Keypair:
        """Signs what the neuron says."""

    @property
    def coldkey(self) -> Keypair:
        """Signs what costs money; no daemon asks for it."""


def open_wallet(name: str, hotkey: str, path: str | Path = DEFAULT_WALLET_PATH, password: str | None = None) -> Wallet:
    """Open a wallet and unlock its hotkey; raises ConfigError with what to do when that fails.

    So a daemon fails at its start and never waits at a password prompt. Without a password the one in the key's own
    environment variable is taken, as the ecosystem's tools leave it there. The coldkey stays closed.
    """
    wallet = _locate(name, hotkey, path)
    file = wallet.hotkey_file
    _check_present(file, f"btcli wallet new-hotkey -w {name} -H {hotkey} --wallet-path {path}")
    variable = file.env_var_name()
    try:
        if file.is_encrypted() and not (password or sp_core.get_password_from_environment(variable)):
            raise ConfigError(f"hotkey {file.path} is encrypted: give its password, as btcli stores it, in {variable}")
        wallet.get_hotkey(password)
    except (sp_core.KeyfileError, sp_core.WrongPasswordError, ValueError, OSError) as error:
        raise ConfigError(f"hotkey {file.path} cannot be read: {_first_line(error)}") from None
    return wallet


def coldkey_address(name: str, hotkey: str, path: str | Path = DEFAULT_WALLET_PATH) -> str:
    """Return the coldkey's address, from the file of its public half, which has no password; raises ConfigError."""
    wallet = _locate(name, hotkey, path)
    try:
        return str(wallet.coldkeypub.ss58_address)
    except (sp_core.KeyfileError, ValueError, OSError) as error:
        raise ConfigError(f"coldkey {wallet.coldkeypub_file.path} cannot be read: {_first_line(error)}") from None


def create_wallet(name: str, hotkey: str, path: str | Path) -> Wallet:
    """Make a wallet with an unencrypted hotkey and coldkey, for a local subnet; an existing one is opened.

    No mnemonic is shown: such keys guard nothing of value.
    """
    wallet = _locate(name, hotkey, path)
    try:
        if not wallet.coldkey_file.exists_on_device():
            wallet.create_new_coldkey(use_password=False, suppress=True)
        if not wallet.hotkey_file.exists_on_device():
            wallet.create_new_hotkey(use_password=False, suppress=True)
    except OSError as error:
        raise ConfigError(f"wallet {name}/{hotkey} cannot be made in {path}: {error}") from error
    return open_wallet(name, hotkey, path)


def sign(keypair: Keypair, message: bytes) -> bytes:
    """Return the sr25519 signature of a message, 64 bytes."""
    return bytes(keypair.sign(message))


def verify(hotkey: Hotkey, message: bytes, signature: bytes) -> bool:
    """Whether the signature is the hotkey's and of this message; False for an address that is none.

    The library also takes a signature of ``<Bytes>message</Bytes>``, which wallets make of a text so that it can never
    be a call: not here. Nor does the account of 32 zero bytes sign anything, for which a signature can be made up.
    """
    try:
        return (
            any(public_key(hotkey))
            and sp_core.verify(message, signature, hotkey)
            and not sp_core.verify(b"<Bytes>" + message + b"</Bytes>", signature, hotkey)
        )
    except ValueError:
        return False


def public_key(address: str) -> bytes:
    """Return the 32 bytes that an ss58 address stands for; raises ValueError for an address that is none."""
    if len(address) > _LONGEST_ADDRESS:  # decoding takes the square of the length
        raise ValueError(f"an address of {len(address)} characters; at most {_LONGEST_ADDRESS} are read")
    return bytes(sp_core.ss58_decode(address))


def is_address(text: str) -> bool:
    """Whether a text is the one way in which this network writes an account."""
    try:
        return bool(sp_core.ss58_encode(public_key(text), SS58_FORMAT) == text)
    except ValueError:
        return False


def _locate(name: str, hotkey: str, path: str | Path) -> Wallet:
    for flag, value in (("--wallet.name", name), ("--wallet.hotkey", hotkey)):
        if not value or "/" in value or value in {".", ".."}:
            raise ConfigError(f"{flag} {value!r}: expected the name of a wallet's folder or file, without '/'")
    return Wallet(name, hotkey, str(path))


def _check_present(file: Keyfile, command: str) -> None:
    if not file.exists_on_device():
        raise ConfigError(f"hotkey {file.path} does not exist: make it with `{command}`")
    if not file.is_readable():
        raise ConfigError(f"hotkey {file.path} is not readable by this user: check its owner and mode")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
