"""What the hub's client raises and what it means: one table by class, one by HTTP status; a test walks both.

Whose fault an answer is depends on who gave it: only the hub itself can say that a repository is private or gone. The
storage that large files lie in answers 403 when a signed address has run out, which is nobody's fault.
"""

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from http import HTTPStatus

import httpx2
from huggingface_hub import errors
from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

from pretrain.errors import HubUnavailable, ModelRejected, Reason, Refused

_LONGEST_WAIT = 3600.0


class Verdict(StrEnum):
    """What an error of the hub's client means."""

    NO = "no"
    """The hub understood and said no: a read is the miner's fault, a write is refused."""
    AGAIN = "again"
    """The world's fault, and the same call a little later may be answered."""
    WORLD = "world"
    """The world's fault, and not worth asking again at once."""
    BUG = "bug"
    """Nothing that we call raises it, unless we call it wrongly."""


class Again(HubUnavailable):
    """The hub did not answer, and the same call may be answered after some seconds."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait
        """Seconds for which the hub asked not to be asked."""


class Abandoned(HubUnavailable):
    """Nobody waits for this call any more."""


STATUS: Mapping[int, Verdict] = {
    400: Verdict.WORLD,  # of a read we have checked all that we send
    401: Verdict.NO,  # private, missing or gated, to somebody without a token
    403: Verdict.NO,
    404: Verdict.NO,
    408: Verdict.AGAIN,
    410: Verdict.NO,
    425: Verdict.AGAIN,
    429: Verdict.AGAIN,
    451: Verdict.NO,  # taken down
}
"""Of the statuses that a name of their own has a meaning for; every other 4xx is WORLD, every 5xx AGAIN."""

WRITE_STATUS: Mapping[int, Verdict] = {
    400: Verdict.NO,
    402: Verdict.NO,
    409: Verdict.AGAIN,  # somebody else, or an answer of ours that was lost, came first: look
    412: Verdict.AGAIN,
    413: Verdict.NO,
    422: Verdict.NO,
}
"""Where a write is answered otherwise than a read."""


def _of(verdict: Verdict | None, classes: Iterable[type[Exception]]) -> dict[type[Exception], Verdict | None]:
    return dict.fromkeys(classes, verdict)


CLASSES: Mapping[type[Exception], Verdict | None] = {
    **_of(
        None,  # by its status
        [errors.HfHubHTTPError, errors.BadRequestError, httpx2.HTTPStatusError],
    ),
    **_of(
        Verdict.NO,
        [
            errors.RepositoryNotFoundError,
            errors.GatedRepoError,
            errors.DisabledRepoError,
            errors.RevisionNotFoundError,
            errors.EntryNotFoundError,
            errors.RemoteEntryNotFoundError,
            errors.HFValidationError,  # a name that no repository there can have
        ],
    ),
    **_of(
        Verdict.AGAIN,
        [
            httpx2.TransportError,
            httpx2.TimeoutException,
            httpx2.ConnectTimeout,
            httpx2.ReadTimeout,
            httpx2.WriteTimeout,
            httpx2.PoolTimeout,
            httpx2.NetworkError,
            httpx2.ConnectError,
            httpx2.ReadError,
            httpx2.WriteError,
            httpx2.CloseError,
            httpx2.ProxyError,
            httpx2.ProtocolError,
            httpx2.RemoteProtocolError,
            httpx2.DecodingError,
        ],
    ),
    **_of(
        Verdict.WORLD,
        [
            httpx2.HTTPError,
            httpx2.RequestError,
            httpx2.TooManyRedirects,
            httpx2.UnsupportedProtocol,  # an address that the hub gave
            httpx2.InvalidURL,
            OSError,  # of the network: what this machine's disk raises never comes here
            errors.OfflineModeIsEnabled,
            errors.FileMetadataError,
            errors.RevisionResolutionError,
            errors.XetDownloadError,
        ],
    ),
    **_of(
        Verdict.BUG,
        [
            httpx2.LocalProtocolError,
            httpx2.CookieConflict,
            httpx2.StreamError,
            httpx2.StreamConsumed,
            httpx2.StreamClosed,
            httpx2.ResponseNotRead,
            httpx2.RequestNotRead,
            httpx2.SSEError,
            errors.LocalTokenNotFoundError,
            errors.OIDCError,
            errors.DeviceCodeError,
            errors.CacheNotFound,
            errors.CorruptedCacheException,
            errors.CachedRepoTreeNotFoundError,
            errors.LocalEntryNotFoundError,
            errors.IncompleteSnapshotError,
            errors.DryRunError,
            errors.HfUriError,
            errors.FileDuplicationError,
            errors.InferenceTimeoutError,
            errors.InferenceEndpointError,
            errors.InferenceEndpointTimeoutError,
            errors.TextGenerationError,
            errors.ValidationError,
            errors.GenerationError,
            errors.OverloadedError,
            errors.IncompleteGenerationError,
            errors.UnknownError,
            errors.SafetensorsParsingError,
            errors.NotASafetensorsRepoError,
            errors.BucketNotFoundError,
            errors.BucketBatchError,
            errors.JobNotFoundError,
            errors.DDUFError,
            errors.DDUFCorruptedFileError,
            errors.DDUFExportError,
            errors.DDUFInvalidEntryNameError,
            errors.StrictDataclassError,
            errors.StrictDataclassDefinitionError,
            errors.StrictDataclassFieldValidationError,
            errors.StrictDataclassClassValidationError,
            errors.CLIError,
            errors.ConfirmationError,
            errors.CLIExtensionInstallError,
            errors.SandboxError,
            errors.SandboxCommandError,
        ],
    ),
}
"""Every exception class of huggingface_hub and of its HTTP library; None: by the status of the answer it carries."""

FOREIGN = (httpx2.HTTPError, httpx2.InvalidURL, errors.EntryNotFoundError, errors.HFValidationError, OSError)
"""What a call of the hub's client may raise and ``verdict`` knows; a read needs nothing more."""


def verdict(error: BaseException, *, write: bool = False) -> Verdict:
    """Return what an error means, by the nearest class in the table; BUG for one that is not of the hub's client."""
    for kind in type(error).__mro__:
        if kind in CLASSES:
            found = CLASSES[kind]
            return of_status(_response_of(error).status_code, write=write) if found is None else found
    return Verdict.BUG


def of_status(status: int, *, write: bool = False) -> Verdict:
    """Return what an HTTP status of the hub itself means, 400 or above."""
    if write and status in WRITE_STATUS:
        return WRITE_STATUS[status]
    return STATUS.get(status, Verdict.AGAIN if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Verdict.WORLD)


def unreadable(repo: str, revision: str) -> ModelRejected:
    """Return the one answer for all that is not readable: nobody learns whether a private repository exists."""
    return ModelRejected(Reason.UNAVAILABLE, f"{repo} at {revision} is not readable without a token")


def of_read(error: BaseException, repo: str, revision: str) -> ModelRejected | HubUnavailable | None:
    """Translate what an anonymous read raised; None for what is our own mistake and must be seen.

    A no without the hub's own marks comes from something before it, and is the world's.
    """
    match verdict(error):
        case Verdict.NO if is_the_hubs(getattr(error, "response", None)):
            return unreadable(repo, revision)
        case Verdict.NO:
            return HubUnavailable(f"something before the hub refused {repo}: {_told(error)}")
        case Verdict.AGAIN:
            return Again(f"the hub did not answer for {repo}: {_told(error)}", asked_to_wait(error))
        case Verdict.WORLD:
            return HubUnavailable(f"the hub did not answer for {repo}: {_told(error)}")
        case _:
            return None


def of_write(error: BaseException, repo: str) -> Refused | HubUnavailable | None:
    """Translate what a write raised; None for what is our own mistake and must be seen."""
    match verdict(error, write=True):
        case Verdict.NO:
            return Refused(f"the hub refused a write to {repo}: {_told(error)}", code=_code(error))
        case Verdict.AGAIN:
            return Again(f"the hub did not answer for {repo}: {_told(error)}", asked_to_wait(error))
        case Verdict.WORLD:
            return HubUnavailable(f"the hub did not answer for {repo}: {_told(error)}")
        case _:
            return None


def is_the_hubs(response: object) -> bool:
    """Whether an answer bears the hub's own marks: its headers, or the JSON in which it tells an error.

    What comes from the client alone, without an answer, is no other machine's.
    """
    if not isinstance(response, httpx2.Response):
        return True
    if any(name in response.headers for name in ("x-error-code", "x-error-message")):
        return True
    if "json" not in response.headers.get("content-type", "json"):
        return False
    try:
        told = json.loads(response.content)
    except (ValueError, RecursionError):
        return False
    return isinstance(told, dict) and isinstance(told.get("error"), str)


def asked_to_wait(error: BaseException) -> float:
    """Return the seconds for which an error's answer asks not to be asked again; 0 when it does not say."""
    response = getattr(error, "response", None)
    return wait_of(response.status_code, response.headers) if isinstance(response, httpx2.Response) else 0.0


def wait_of(status: int, headers: Mapping[str, str]) -> float:
    """Return the seconds of an answer's ``Retry-After``, or of the hub's own ``RateLimit`` header, if any.

    At most an hour, whatever an answer says.
    """
    after = headers.get("retry-after", "").strip()
    try:
        limit = parse_ratelimit_headers(headers)
        if status == HTTPStatus.TOO_MANY_REQUESTS and limit is not None and limit.remaining == 0:
            return min(float(limit.reset_in_seconds), _LONGEST_WAIT)
        return min(float(int(after)), _LONGEST_WAIT) if after.isascii() and after.isdigit() else 0.0
    except (ValueError, OverflowError):  # more digits than a number has
        return _LONGEST_WAIT


def _response_of(error: BaseException) -> httpx2.Response:
    if not isinstance(error, errors.HfHubHTTPError | httpx2.HTTPStatusError):
        raise TypeError(f"{type(error).__name__} carries no answer")
    return error.response


def _code(error: BaseException) -> str:
    """Return our name for why a write was refused: a stranger's token, or whatever the hub calls it."""
    response = getattr(error, "response", None)
    denied = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
    if isinstance(response, httpx2.Response) and response.status_code in denied:
        return "Unauthorized"
    return type(error).__name__


def _told(error: BaseException) -> str:
    """Say in one line what came: addresses may be signed, so of those nothing is told."""
    response = getattr(error, "response", None)
    if isinstance(response, httpx2.Response):
        said = getattr(error, "server_message", None) or ""
        return f"HTTP {response.status_code} {said}".strip().replace("\n", " ")[:300]
    return f"{type(error).__name__} {error}".strip().replace("\n", " ")[:300]
