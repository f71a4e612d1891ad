import os
import subprocess
import sys
from pathlib import Path

import pytest
from bittensor import sp_core
from bittensor.wallet import Wallet
from hypothesis import given
from hypothesis import strategies as st

from pretrain.errors import ConfigError
from pretrain.types import Hotkey
from pretrain.wallet import SS58_FORMAT, coldkey_address, create_wallet, open_wallet, public_key, sign, verify

KEYPAIR = sp_core.Keypair.create_from_uri("//Alice")
ADDRESS = Hotkey(KEYPAIR.ss58_address)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_a_signature_holds_for_its_message_and_key_alone(message: bytes, other: bytes) -> None:
    signature = sign(KEYPAIR, message)
    assert verify(ADDRESS, message, signature)
    assert verify(ADDRESS, other, signature) == (other == message)
    assert not verify(Hotkey(sp_core.Keypair.create_from_uri("//Bob").ss58_address), message, signature)


@pytest.mark.parametrize(
    ("hotkey", "signature"),
    [("", b"x" * 64), ("no address", b"x" * 64), (ADDRESS, b""), (ADDRESS, b"x" * 63), (ADDRESS, b"\0" * 64)],
)
def test_what_is_no_address_or_no_signature_does_not_verify(hotkey: str, signature: bytes) -> None:
    assert not verify(Hotkey(hotkey), b"message", signature)


def test_a_text_signed_for_a_page_is_no_signature_of_a_call() -> None:
    """Wallets wrap such a text, so that what a stranger had them sign is never money moved."""
    assert sp_core.verify(b"text", sign(KEYPAIR, b"<Bytes>text</Bytes>"), ADDRESS)
    assert not verify(ADDRESS, b"text", sign(KEYPAIR, b"<Bytes>text</Bytes>"))
    assert verify(ADDRESS, b"<Bytes>text</Bytes>", sign(KEYPAIR, b"<Bytes>text</Bytes>"))


def test_the_account_of_zeros_signs_nothing() -> None:
    """Its key is the identity of the group, so that this is a signature of everything."""
    nobody, forged = Hotkey(sp_core.ss58_encode(bytes(32), SS58_FORMAT)), bytes(63) + b"\x80"
    assert sp_core.verify(b"anything", forged, nobody)
    assert not verify(nobody, b"anything", forged)


def test_an_address_of_any_length_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="an address of 1000000 characters; at most 64 are read"):
        public_key("5" * 1_000_000)


def test_a_wallet_made_here_opens_here_and_in_the_ecosystems_tools(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = create_wallet("cold", "hot", tmp_path)
    opened = open_wallet("cold", "hot", tmp_path)
    assert capfd.readouterr() == ("", ""), "no mnemonic is shown"
    assert opened.hotkey.ss58_address == made.hotkey.ss58_address
    assert Wallet("cold", "hot", str(tmp_path)).coldkey.ss58_address == made.coldkey.ss58_address
    assert verify(Hotkey(made.hotkey.ss58_address), b"m", sign(opened.hotkey, b"m"))
    assert (tmp_path / "cold" / "hotkeys" / "hot").stat().st_mode & 0o777 == 0o600


def test_making_a_wallet_again_keeps_its_keys_and_adds_hotkeys(tmp_path: Path) -> None:
    first = create_wallet("cold", "one", tmp_path)
    again, second = create_wallet("cold", "one", tmp_path), create_wallet("cold", "two", tmp_path)
    assert again.hotkey.ss58_address == first.hotkey.ss58_address
    assert second.coldkey.ss58_address == first.coldkey.ss58_address
    assert second.hotkey.ss58_address != first.hotkey.ss58_address


def test_a_missing_hotkey_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"hotkey .*cold/hotkeys/hot does not exist") as error:
        open_wallet("cold", "hot", tmp_path)
    assert f"`btcli wallet new-hotkey -w cold -H hot --wallet-path {tmp_path}`" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_address_of_a_coldkey_takes_no_password(tmp_path: Path) -> None:
    wallet = Wallet("cold", "hot", str(tmp_path))
    wallet.create_new_coldkey(use_password=True, coldkey_password="right", suppress=True)  # noqa: S106
    assert coldkey_address("cold", "hot", tmp_path) == wallet.coldkeypub.ss58_address


@pytest.mark.parametrize("text", [None, "", "rubbish", "{}"])
def test_a_coldkey_whose_address_cannot_be_read_is_named(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        create_wallet("cold", "hot", tmp_path)
        (tmp_path / "cold" / "coldkeypub.txt").write_text(text)
    with pytest.raises(ConfigError, match=r"coldkey .*cold/coldkeypub.txt cannot be read"):
        coldkey_address("cold", "hot", tmp_path)


def test_a_key_that_is_no_key_is_named_and_not_shown(tmp_path: Path) -> None:
    create_wallet("cold", "hot", tmp_path)
    (tmp_path / "cold" / "hotkeys" / "hot").write_text("my secret words\n")
    with pytest.raises(ConfigError, match=r"hotkeys/hot cannot be read") as error:
        open_wallet("cold", "hot", tmp_path)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Wallet:
    """Deriving a key from a password takes seconds, by design: once for all tests."""
    wallet = Wallet("cold", "hot", str(tmp_path_factory.mktemp("wallets")))
    wallet.create_new_hotkey(use_password=True, hotkey_password="right", suppress=True)  # noqa: S106
    return wallet


def test_an_encrypted_hotkey_without_a_password_is_said_so_and_nobody_is_asked(encrypted: Wallet) -> None:
    with pytest.raises(ConfigError, match=r"is encrypted: .*BT_PW_"):
        open_wallet("cold", "hot", encrypted.path)


def test_an_encrypted_hotkey_opens_with_the_password_in_its_environment_variable(
    encrypted: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = encrypted.hotkey_file.env_var_name()
    monkeypatch.setenv(variable, "")
    sp_core.save_password_to_environment(variable, "right")
    opened = open_wallet("cold", "hot", encrypted.path)
    assert opened.hotkey.ss58_address == encrypted.hotkeypub.ss58_address


def test_a_wrong_password_is_said_so_without_showing_it(encrypted: Wallet) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as error:
        open_wallet("cold", "hot", encrypted.path, "guess")
    assert "guess" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "hotkey"), [("", "hot"), ("cold", ""), ("a/b", "hot"), ("cold", "../hot"), ("..", "hot")]
)
def test_a_name_that_is_a_path_is_a_wrong_flag(tmp_path: Path, name: str, hotkey: str) -> None:
    with pytest.raises(ConfigError, match=r"--wallet\."):
        open_wallet(name, hotkey, tmp_path)


def test_a_wallet_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be made"):
        create_wallet("cold", "hot", tmp_path / "file")


def test_keys_do_not_bring_torch_along() -> None:
    code = "import sys, pretrain.chain.local; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0  # noqa: S603
