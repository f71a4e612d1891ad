"""Attacks through the hub, on the real client: a loopback hub that hides, lies, floods, stalls and redirects."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
from hub_faults import Rule
from hub_scene import ALL, FILES, FLOODED, LARGE, LIMITS, LISTING, REPO, TOKEN, Scene, changed, scene, spoilt
from outside import Attack, Found, Guard

from pretrain.errors import PretrainError
from pretrain.hub import anonymous, download
from pretrain.hub.hub_errors import Verdict, unreadable
from pretrain.types import Revision

BRANCH = Revision("f" * 40)
unpacked: list[int] = []
"""Bytes of each piece of an answer that was unpacked."""


def shares_what_is_private(root: Path) -> Found:
    """A private repository that the account of this validator's token may read."""
    with scene(root) as made:
        made.site.state.repositories[REPO].private = True
        return made.found(made.describe())


def gates(root: Path) -> Found:
    with scene(root) as made:
        made.site.state.repositories[REPO].gated = "auto"
        return made.found(made.describe())


def rename(made: Scene) -> None:
    moved = made.site.state.repositories.pop(REPO)
    moved.id = "alice/other"
    made.site.state.repositories[moved.id] = moved
    made.site.state.renamed[REPO] = moved.id


def respell(made: Scene) -> None:
    made.site.state.repositories[REPO].id = "alice/Model"
    made.site.redirects = False


def move_a_branch(made: Scene) -> None:
    made.site.state.repositories[REPO].branches[BRANCH] = made.revision
    made.revision = BRANCH


def rewrite(made: Scene) -> None:
    """Take a revision away, as a forced push does."""
    made.site.state.repositories[REPO].commits.pop(made.revision)


def list_without_end(made: Scene) -> None:
    made.site.page = 0


def lists_many_small(root: Path) -> Found:
    with scene(root) as made:
        many = {f"{number}.safetensors": b"x" for number in range(260)}
        made.revision = Revision(made.site.state.publish(REPO, many, plain=many))
        found = made.found(made.describe())
        return replace(found, outcome="reads them") if made.site.count("/resolve/") else found


def serves_anothers_file(root: Path) -> Found:
    """A redirect, within the hub, to a file of the same length in another repository."""
    with scene(root) as made:
        others = {name: b"\1" * len(content) for name, content in FILES.items()}
        other = made.site.state.publish("mallory/other", others)
        to = {"Location": f"/mallory/other/resolve/{other}/model.safetensors"}
        made.site.faults.rules.append(Rule("status", f"GET /{REPO}/resolve/{made.revision}/model.saf", 307, to))
        return made.found(made.download())


def unpacks(root: Path) -> Found:
    unpacked.clear()
    found = spoilt(root, Rule("bomb", "/tree/"))
    return replace(found, outcome="unpacks") if sum(unpacked) > ALL else found


def collects_a_token(root: Path) -> Found:
    with scene(root) as made:
        made.site.verify = f"{made.site.storage}/verify"
        folder = root / "model"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"x" * 3000)
        with contextlib.suppress(PretrainError):
            asyncio.run(made.hub.publish(folder, "alice/new"))
        assert made.site.count("POST /verify")
        shown = {request.token for request in made.site.requests if request.host == "storage"}
        return Found("the token stays" if shown == {None} else "the token follows", sum(made.taken))


async def anybody(*_: object) -> None:
    """Look at nothing."""


@asynccontextmanager
async def following(
    reader: anonymous.Reader,
    _place: anonymous.Place,
    url: str,
    **options: Any,  # noqa: ANN401 - as the original
) -> AsyncIterator[httpx2.Response]:
    """Make a request and follow wherever it is sent."""
    sent = reader._client.build_request("GET", url, timeout=5, **options)  # noqa: SLF001 - in its place
    response = await reader._client.send(sent, stream=True, follow_redirects=True)  # noqa: SLF001
    yield response
    await response.aclose()


async def decoded(response: httpx2.Response, _: object) -> AsyncIterator[bytes]:
    """Yield a body unpacked."""
    async for chunk in response.aiter_bytes():
        unpacked.append(len(chunk))
        yield chunk


def anywhere(response: httpx2.Response, *_: object) -> str:
    """Go wherever an answer sends."""
    return str(response.url.join(response.headers["location"]))


async def blamed(_: object, response: httpx2.Response, place: anonymous.Place) -> None:
    """Believe whoever refuses."""
    if response.is_error:
        raise unreadable(place.repo, place.revision)


def without_a_commit(response: httpx2.Response, before: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in FACTS(response, before).items() if name != "commit"}


FACTS = anonymous._facts  # noqa: SLF001 - what is taken out


def take_all(checked: download.Checked, block: bytes) -> None:
    """Take bytes, however many there are."""
    checked.size += len(block)
    checked._sha256.update(block)  # noqa: SLF001 - in its place


async def patient(error: Any, *_: object) -> None:  # noqa: ANN401 - as the original
    await asyncio.sleep(error.wait)


LOOK = Guard("listing.look", {"pretrain.hub.listing.look": anybody})
FINISH = Guard("download.Checked.finish", {"pretrain.hub.download.Checked.finish": lambda _: None})
NO_TOKEN = Guard(
    "anonymous.Reader: no token",
    {"pretrain.hub.anonymous.build_hf_headers": lambda **_: {"authorization": f"Bearer {TOKEN}"}},
)
UNFOLLOWED = Guard("anonymous.Reader._get: follows nothing", {"pretrain.hub.anonymous.Reader._get": following})
SAME_COMMIT = Guard("anonymous.Reader.content: the commit", {"pretrain.hub.anonymous._facts": without_a_commit})
HUB_ATTACKS = (
    Attack(
        "a private repository that the validator's own token may read", "first look", "unavailable", LISTING,
        (NO_TOKEN, LOOK), "read", shares_what_is_private,
    ),
    Attack("a gated repository with a public listing", "first look", "unavailable", LISTING, (LOOK,), "read", gates),
    Attack(
        "a renamed repository, redirected to its new name", "first look", "unavailable", LISTING,
        (UNFOLLOWED, LOOK), "read", partial(changed, change=rename),
    ),
    Attack(
        "a name in other capitals", "first look", "unavailable", LISTING,
        (LOOK,), "read", partial(changed, change=respell),
    ),
    Attack(
        "a branch that is called like a revision", "first look", "unavailable", LISTING,
        (LOOK, SAME_COMMIT), "read", partial(changed, change=move_a_branch),
    ),
    Attack(
        "a file of another repository, by a redirect within the hub", "download", "unavailable", ALL,
        (
            Guard("redirects.next_hop", {"pretrain.hub.redirects.next_hop": anywhere}),
            SAME_COMMIT,
            Guard("download.Checked.expect", {"pretrain.hub.download.Checked.expect": lambda *_: None}),
            FINISH,
        ),
        "read", serves_anothers_file,
    ),
    Attack(
        "a revision that was taken away", "first look", "unavailable", LISTING,
        (Guard("hub_errors.verdict", {"pretrain.hub.hub_errors.verdict": lambda *_, **__: Verdict.WORLD}),),
        "hub", partial(changed, change=rewrite),
    ),
    Attack(
        "a storage that answers 403, which is not the miner's", "download", "hub", LISTING,
        (Guard("anonymous.Reader._refuse: the hub alone says no", {"pretrain.hub.anonymous.Reader._refuse": blamed}),),
        "unavailable", partial(spoilt, rule=Rule("status", "GET /objects", 403)),
    ),
    Attack(
        "a listing without an end", "first look", "files", LISTING,
        (Guard("listing._PAGES", {"pretrain.hub.listing._PAGES": 10**9}),),
        "goes on", partial(changed, change=list_without_end),
    ),
    Attack(
        "260 small files that must be read to be hashed", "first look", "files", 30_000,
        (Guard("listing._refuse_plain", {"pretrain.hub.listing._refuse_plain": lambda *_: None}),),
        "reads them", lists_many_small,
    ),
    Attack(
        "wrong bytes of the right length from a mirror", "download", "hub", ALL, (FINISH,), "read",
        partial(spoilt, rule=Rule("wrong", "GET /objects")),
    ),
    Attack(
        "a file that ends too early", "download", "hub", ALL, (FINISH,), "read",
        partial(spoilt, rule=Rule("cut", "GET /objects")),
    ),
    Attack(
        "a file that does not end where its listing says", "download", "hub", 2 << 20,
        (Guard("download.Checked.add", {"pretrain.hub.download.Checked.add": take_all}),),
        "floods", partial(spoilt, rule=Rule("flood", f"GET /objects/{LARGE}")),
    ),
    Attack(
        "a listing of 24 MiB on one page", "first look", "hub", FLOODED,
        (Guard("anonymous._LARGEST_ANSWER", {"pretrain.hub.anonymous._LARGEST_ANSWER": 1 << 40}),),
        "floods", partial(spoilt, rule=Rule("flood", "/tree/")),
    ),
    Attack(
        "24 KiB of an answer that unpack to 24 MiB", "first look", "hub", 30_000,
        (Guard("anonymous._chunks: undecoded", {"pretrain.hub.anonymous._chunks": decoded}),), "unpacks", unpacks,
    ),
    Attack(
        "a page for people in place of JSON", "first look", "hub", LISTING,
        (Guard("anonymous.Reader._json", {"pretrain.hub.anonymous.Again": ValueError}),),
        "crashes", partial(spoilt, rule=Rule("page", "/tree/")),
    ),
    Attack(
        "429 with a wait of a year", "every call", "hub", LISTING,
        (Guard("asking.pause", {"pretrain.hub.asking.pause": patient}),), "goes on",
        partial(
            spoilt,
            rule=Rule("status", status=429, headers={"Retry-After": "31536000"}),
            limits=replace(LIMITS, tries=5),
        ),
    ),
    Attack(
        "a byte now and then", "download", "hub", LISTING,
        (Guard("asking.deadline", {"pretrain.hub.huggingface.deadline": lambda *_: nullcontext()}),), "goes on",
        partial(spoilt, rule=Rule("drip", "GET /objects"), limits=replace(LIMITS, fetch=0.4)),
    ),
    Attack(
        "an answer that stops after its head", "download", "hub", LISTING,
        (Guard("anonymous.Reader: stall", {"pretrain.hub.anonymous.httpx2.Timeout": lambda *_, **__: None}),),
        "goes on",
        partial(spoilt, rule=Rule("stall", "GET /objects"), limits=replace(LIMITS, stall=0.3)),
    ),
    Attack(
        "a redirect that collects a token", "publication", "the token stays", 0,
        (Guard("upload.guarded_client", {"pretrain.hub.upload.origin": lambda _: ""}),),
        "the token follows", collects_a_token,
    ),
)  # fmt: skip
