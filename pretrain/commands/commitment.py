"""``pretrain commitment``: the text that names a model on chain, made and read without a chain."""

import base64
import binascii
import hashlib
import re
from typing import Annotated

import typer

from pretrain.commands.output import AsJson, emit, say, verdict
from pretrain.commitment import MAX_BYTES, Commitment, decode, secure_hash
from pretrain.errors import ConfigError
from pretrain.types import CompetitionId, Digest, Hotkey, Revision

app = typer.Typer(no_args_is_help=True, help="Make and read the text that names a model on chain.")

_SS58 = re.compile(r"[1-9A-HJ-NP-Za-km-z]{46,48}", re.ASCII)
_HOTKEY_HELP = "The ss58 address of the hotkey that commits."
_DIGEST_HELP = "The content digest: base64 of a sha256, 44 characters."


@app.command()
def encode(
    repo: Annotated[str, typer.Argument(metavar="NAMESPACE/NAME", help="The repository.")],
    revision: Annotated[str, typer.Argument(help="Its commit: 40 lower-case hex digits.")],
    *,
    digest: Annotated[str, typer.Option(help=_DIGEST_HELP)],
    hotkey: Annotated[str, typer.Option(help=_HOTKEY_HELP)],
    competition: Annotated[int, typer.Option(help="The competition's id, 0 to 99.")],
    as_json: AsJson = False,
) -> None:
    """Print the text that this hotkey would commit for a model."""
    namespace, slash, name = repo.partition("/")
    if not slash:
        raise ConfigError(f"repository {repo!r}: expected NAMESPACE/NAME")
    bound = _bind(digest, hotkey)
    commitment = Commitment(namespace, name, Revision(revision), bound, CompetitionId(competition))
    try:
        text = commitment.encode()
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if as_json:
        emit({"text": text, "bytes": len(text), "max_bytes": MAX_BYTES, "secure_hash": bound})
    else:
        say(text)


@app.command("decode")
def decode_text(
    text: Annotated[str, typer.Argument(help="The text as it stands on chain.")],
    *,
    hotkey: Annotated[str | None, typer.Option(help=_HOTKEY_HELP)] = None,
    digest: Annotated[str | None, typer.Option(help=_DIGEST_HELP)] = None,
    as_json: AsJson = False,
) -> None:
    """Read a commitment; with --hotkey and --digest, say whether it binds those files to that hotkey: 0 yes, 1 no."""
    if (hotkey is None) != (digest is None):
        raise ConfigError("--hotkey and --digest go together: the hash on chain binds one to the other")
    try:
        commitment = decode(text)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    verifies = None if hotkey is None or digest is None else _bind(digest, hotkey) == commitment.secure_hash
    facts = {**vars(commitment), "repo": commitment.repo, "bytes": len(text), "verifies": verifies}
    if as_json:
        emit(facts)
    else:
        for field, value in facts.items():
            if field != "verifies":
                say(f"{field}: {value}")
        if verifies is not None:
            say(f"verifies: {'yes' if verifies else 'no'}")
    verdict(so=verifies is not False)


def _bind(digest: str, hotkey: str) -> Digest:
    """Return the secure hash; raises ConfigError when one of its halves cannot be what it should."""
    if not _SS58.fullmatch(hotkey):
        raise ConfigError(f"hotkey {hotkey!r}: expected an ss58 address, 46 to 48 letters and digits")
    try:
        raw = base64.b64decode(digest, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != hashlib.sha256().digest_size or base64.b64encode(raw).decode("ascii") != digest:
        raise ConfigError(f"digest {digest!r}: expected the canonical base64 of a sha256, 44 characters")
    return secure_hash(Digest(digest), Hotkey(hotkey))
