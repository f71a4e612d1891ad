"""Where the hub sends on to, and what that says: only an address of another repository speaks of the repository.

Whatever stands before a hub (a page of maintenance, a network that wants a login, http that becomes https) redirects
too, and every header is the text of somebody else: what cannot be read in one is the world's fault.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from pretrain.errors import HubUnavailable, ModelRejected
from pretrain.hub.hub_errors import unreadable

_API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/.*)?")
_FILE = re.compile(r"(?:/([^/]+/[^/]+)/resolve|/api/resolve-cache/models/([^/]+/[^/]+))/.+")


def origin(url: str) -> tuple[str, str, int | None]:
    """Return what makes two addresses one host: scheme, name and port."""
    parsed = httpx2.URL(url)
    return parsed.scheme, parsed.host.lower(), parsed.port


@contextmanager
def parsing(repo: str) -> Iterator[None]:
    """Raise HubUnavailable for a header, or an address in one, that cannot be read."""
    try:
        yield
    except (ValueError, OverflowError, httpx2.InvalidURL) as error:
        raise HubUnavailable(
            f"a header of the hub's answer for {repo} cannot be read: {type(error).__name__}"
        ) from error


def next_page(response: httpx2.Response, repo: str) -> str | None:
    """Return the path of a listing's next page, with its query; None after the last one. Raises HubUnavailable."""
    with parsing(repo):
        link = response.links.get("next", {}).get("url")
        return None if link is None else httpx2.URL(link).raw_path.decode("ascii")


def of_api(response: httpx2.Response, endpoint: str, repo: str, revision: str) -> ModelRejected | HubUnavailable:
    """Return what a redirect of the API means: the repository is renamed or spelt in another way, or the world's."""
    with parsing(repo):
        target = response.url.join(response.headers["location"])
        found = _API.fullmatch(target.path) if origin(str(target)) == origin(endpoint) else None
    if found is not None and found[1] != repo:
        return unreadable(repo, revision)
    return HubUnavailable(f"the hub, or something before it, sends elsewhere for {repo}")


def next_hop(response: httpx2.Response, endpoint: str, repo: str, revision: str) -> str:
    """Return where a file's bytes are: in the hub only this very revision's, or anywhere outside of it.

    Raises ModelRejected(UNAVAILABLE) when the hub sends to a file of another repository, HubUnavailable when it sends
    to anything else of its own or from https into the clear.
    """
    with parsing(repo):
        target = response.url.join(response.headers["location"])
        within = origin(str(target)) == origin(endpoint)
        in_the_clear = target.scheme != "https" and httpx2.URL(endpoint).scheme == "https"
    if within and not target.path.startswith(
        (f"/api/resolve-cache/models/{repo}/{revision}/", f"/{repo}/resolve/{revision}/")
    ):
        found = _FILE.fullmatch(target.path)
        if found is not None and (found[1] or found[2]) != repo:
            raise unreadable(repo, revision)
        raise HubUnavailable(f"the hub, or something before it, sends elsewhere for a file of {repo}")
    if in_the_clear:
        raise HubUnavailable(f"the hub sends in the clear for {repo}")
    return str(target)
