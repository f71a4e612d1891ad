"""One table says what an error of the hub's client means; nothing that the client can raise is missing in it."""

import inspect
from collections.abc import Iterator

import httpx2
import huggingface_hub.hf_api
import pytest
from huggingface_hub import errors

from pretrain.errors import HubUnavailable, ModelRejected, Refused
from pretrain.hub import hub_errors
from pretrain.hub.hub_errors import CLASSES, Again, Verdict

REQUEST = httpx2.Request("GET", "https://huggingface.co/api/models/a/b", headers={"authorization": "Bearer secret"})


def _descendants(kind: type[Exception]) -> Iterator[type[Exception]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


def _defined() -> set[type[Exception]]:
    """Return every exception that the two libraries define and give out, and each that they have loaded besides."""
    assert huggingface_hub.hf_api
    public = {
        kind
        for module in (errors, httpx2)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Exception)
    }
    loaded = {kind for kind in _descendants(Exception) if kind.__module__.partition(".")[0] == "huggingface_hub"}
    return public | loaded


def answered(status: int, body: bytes = b"", **headers: str) -> errors.HfHubHTTPError:
    response = httpx2.Response(status, headers=headers, content=body, request=REQUEST)
    return errors.HfHubHTTPError("told", response=response)


def test_every_exception_of_the_hubs_client_is_in_the_table() -> None:
    assert len(_defined()) > 70
    assert {kind.__name__ for kind in _defined() - set(CLASSES)} == set()


def test_nothing_in_the_table_is_an_exception_that_the_client_has_not() -> None:
    assert set(CLASSES) - _defined() == {OSError}


@pytest.mark.parametrize(
    ("status", "read", "write"),
    [
        (400, Verdict.WORLD, Verdict.NO),
        (401, Verdict.NO, Verdict.NO),
        (402, Verdict.WORLD, Verdict.NO),
        (403, Verdict.NO, Verdict.NO),
        (404, Verdict.NO, Verdict.NO),
        (408, Verdict.AGAIN, Verdict.AGAIN),
        (409, Verdict.WORLD, Verdict.AGAIN),
        (410, Verdict.NO, Verdict.NO),
        (412, Verdict.WORLD, Verdict.AGAIN),
        (413, Verdict.WORLD, Verdict.NO),
        (418, Verdict.WORLD, Verdict.WORLD),
        (422, Verdict.WORLD, Verdict.NO),
        (425, Verdict.AGAIN, Verdict.AGAIN),
        (429, Verdict.AGAIN, Verdict.AGAIN),
        (451, Verdict.NO, Verdict.NO),
        (500, Verdict.AGAIN, Verdict.AGAIN),
        (502, Verdict.AGAIN, Verdict.AGAIN),
        (503, Verdict.AGAIN, Verdict.AGAIN),
        (504, Verdict.AGAIN, Verdict.AGAIN),
        (599, Verdict.AGAIN, Verdict.AGAIN),
    ],
)
def test_an_answer_means_what_its_status_says(status: int, read: Verdict, write: Verdict) -> None:
    assert (hub_errors.verdict(answered(status)), hub_errors.verdict(answered(status), write=True)) == (read, write)


def test_each_verdict_has_one_error_of_ours() -> None:
    ours = [
        (hub_errors.of_read(error, "a/b", "0" * 40), hub_errors.of_write(error, "a/b"))
        for error in (
            answered(404, b'{"error": "none"}'),
            httpx2.ReadError("cut"),
            httpx2.InvalidURL("x"),
            httpx2.StreamConsumed(),
        )
    ]
    assert [(type(read), type(write)) for read, write in ours] == [
        (ModelRejected, Refused),
        (Again, Again),
        (HubUnavailable, HubUnavailable),
        (type(None), type(None)),
    ]


@pytest.mark.parametrize(
    ("headers", "body", "fault"),
    [
        ({"x-error-code": "RepoNotFound"}, b"Repository not found", ModelRejected),
        ({"x-error-message": "Access to this resource is disabled."}, b"", ModelRejected),
        ({}, b'{"error": "Invalid username or password."}', ModelRejected),
        ({}, b"", HubUnavailable),
        ({"server": "CloudFront"}, b"<html>Request blocked.</html>", HubUnavailable),
        ({"content-type": "application/json"}, b'{"error": "Sorry, we can\'t find the page."}', ModelRejected),
        ({"content-type": "text/html"}, b'{"error": "Forbidden"}', HubUnavailable),
        ({}, b'{"message": "Forbidden"}', HubUnavailable),
        ({}, b'{"error": 7}', HubUnavailable),
        ({}, b"[" * 100_000, HubUnavailable),
    ],
)
@pytest.mark.parametrize("status", [401, 403, 404, 410, 451])
def test_a_no_is_the_hubs_only_with_its_marks(
    status: int, headers: dict[str, str], body: bytes, fault: type[Exception]
) -> None:
    read = hub_errors.of_read(answered(status, body, **headers), "a/b", "0" * 40)
    assert type(read) is fault


def test_a_class_that_comes_with_a_later_client_means_what_the_one_above_it_means() -> None:
    class NewError(httpx2.ReadError):
        pass

    assert hub_errors.verdict(NewError("new")) is Verdict.AGAIN
    assert hub_errors.verdict(LookupError("not the client's")) is Verdict.BUG


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"retry-after": "7"}, 7.0),
        (503, {"retry-after": " 7 "}, 7.0),
        (429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        (429, {"retry-after": "-7"}, 0.0),
        (429, {"ratelimit": '"api";r=0;t=55', "retry-after": "7"}, 55.0),
        (429, {"ratelimit": '"api";r=3;t=55'}, 0.0),
        (429, {"ratelimit": f'"api";r=0;t={"9" * 5000}'}, 3600.0),
        (429, {"ratelimit": f'"api";r=0;t={"9" * 400}'}, 3600.0),
        (503, {"retry-after": "9" * 5000}, 3600.0),
        (503, {"retry-after": "9" * 400}, 3600.0),
        (503, {"retry-after": "86400"}, 3600.0),
        (503, {}, 0.0),
    ],
)
def test_a_hub_says_how_long_not_to_ask(status: int, headers: dict[str, str], seconds: float) -> None:
    assert hub_errors.asked_to_wait(answered(status, b"", **headers)) == seconds


def test_what_is_told_of_an_answer_holds_no_address_and_no_token() -> None:
    told = str(hub_errors.of_write(answered(500), "a/b"))
    assert told == "the hub did not answer for a/b: HTTP 500"
