"""A hub on this machine that speaks the HTTP of huggingface.co as its client uses it, over real sockets.

Two servers: the hub on 127.0.0.1, and the storage of large files on localhost, which refuses whoever shows a token.
"""

import base64
import gzip
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from hub_faults import FLOOD, Faults, Rule
from hub_repositories import Blob, Repository, State, is_large

_BLOCK = 1 << 16
_MODEL = r"(?P<repo>[^/]+/[^/]+)"


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    host: str
    """``hub`` or ``storage``."""
    token: str | None


@dataclass
class Loopback:
    """The hub as a test sees it."""

    state: State
    faults: Faults = field(default_factory=Faults)
    requests: list[Request] = field(default_factory=list)
    served: dict[str, int] = field(default_factory=dict)
    """Bytes of bodies sent, by the file's name or object."""
    endpoint: str = ""
    storage: str = ""
    redirects: bool = True
    """Whether another name of a repository is answered by a redirect, or at once by that repository."""
    page: int = 3
    """Entries of one page of a listing."""
    part: int | None = None
    """Bytes of a part, for files that are larger; None: files come up in one piece."""
    verify: str = ""
    """Where uploads are said to be verified; empty: at the hub."""
    closing: threading.Event = field(default_factory=threading.Event)

    def count(self, part: str) -> int:
        """Return how many requests had this part in ``METHOD path``."""
        return sum(part in f"{request.method} {request.path}" for request in self.requests)


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    counted: str = ""


class Refusal(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message}
        body = json.dumps({"error": message}).encode()
        self.answer = Answer(status, body, {name: text for name, text in headers.items() if text})


@contextmanager
def running(tokens: Mapping[str, str]) -> Iterator[Loopback]:
    """Serve an empty hub; ``tokens`` says whose namespace each owns."""
    loopback = Loopback(State(dict(tokens)))
    servers = []
    for kind, name in ((_Hub, "127.0.0.1"), (_Storage, "localhost")):
        handler = type(kind.__name__, (kind,), {"loopback": loopback})
        server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        setattr(loopback, kind.attribute, f"http://{name}:{server.server_port}")
    try:
        yield loopback
    finally:
        loopback.closing.set()
        for rule in loopback.faults.rules:
            rule.go_on.set()
        for server in servers:
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that go away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    loopback: ClassVar[Loopback]
    attribute: ClassVar[str]
    name: ClassVar[str]

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle_any(self) -> None:
        """Read a request, let a rule spoil it, and answer."""
        split = urlsplit(self.path)
        path, query = unquote(split.path), parse_qs(split.query)
        shown = f"{self.command} {path}"
        bearer = self.headers.get("authorization")
        token = bearer.removeprefix("Bearer ") if bearer else None
        self.loopback.requests.append(Request(self.command, path, self.name, token))
        rule = self.loopback.faults.find(shown)
        kind = rule.kind if rule else ""
        if rule is not None and kind == "hold reading":
            rule.go_on.wait()
            return self._reset()
        body = self._read_body()
        if rule is not None and kind == "hold":
            rule.go_on.wait()
        if kind in {"reset", "hold"}:
            return self._reset()
        if rule is not None and kind == "status":
            return self._send(Answer(rule.status, rule.body, rule.headers), None)
        try:
            answer = self.answer(path, query, token, body)
        except Refusal as refusal:
            answer = refusal.answer
        if rule is not None and kind == "hold after":
            rule.go_on.wait()
        if kind in {"lost", "hold after"}:
            return self._reset()
        return self._send(answer, rule)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815 - the names that http.server calls

    def answer(self, path: str, query: Mapping[str, list[str]], token: str | None, body: bytes) -> Answer:
        raise NotImplementedError

    def _read_body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def _send(self, answer: Answer, rule: Rule | None) -> None:
        kind = rule.kind if rule else ""
        body, more = _spoilt(answer.body, kind)
        headers = {"X-Request-Id": "test", "Content-Length": str(len(body)), **answer.headers, **more}
        self.send_response(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if kind == "stall":
            self.loopback.closing.wait()
        elif kind == "short":
            self._write(body[: len(body) // 2], answer.counted)
            self.close_connection = True
        elif kind == "drip":
            for byte in body:
                self._write(bytes([byte]), answer.counted)
                if self.loopback.closing.wait(0.02):
                    return
        elif kind == "flood":
            for _ in range(0, len(body), _BLOCK):
                self._write(bytes(_BLOCK), answer.counted)
        else:
            self._write(body, answer.counted)

    def _write(self, body: bytes, counted: str) -> None:
        self.wfile.write(body)
        if counted:
            self.loopback.served[counted] = self.loopback.served.get(counted, 0) + len(body)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()


def _spoilt(body: bytes, kind: str) -> tuple[bytes, dict[str, str]]:
    """Return the body that a rule makes of an answer's, and the headers that it adds."""
    page = b"<!DOCTYPE html><title>Sign in to this network</title>"
    match kind:
        case "wrong":
            body = bytes(byte ^ 1 for byte in body)
        case "extra":
            body += b"more"
        case "cut":
            body = body[: len(body) // 2]
        case "flood":
            body = bytes(FLOOD)
        case "page":
            return page, {"Content-Type": "text/html"}
        case "bomb":
            return gzip.compress(bytes(FLOOD)), {"Content-Encoding": "gzip"}
    return body, {}


class _Storage(_Handler):
    """Where large files lie: signed addresses, and no token."""

    attribute = "storage"
    name = "storage"

    def answer(self, path: str, query: Mapping[str, list[str]], token: str | None, body: bytes) -> Answer:
        if path == "/verify":
            return Answer(403 if token else 200)
        oid = path.rpartition("/")[2]
        if query.get("signature") != ["good"] or token is not None:
            raise Refusal(403, message="only one way to show who you are is allowed")
        if path.startswith("/parts/"):
            self.loopback.state.parts[path.split("/")[2], int(oid)] = body
            return Answer(200, b"", {"ETag": f'"part {oid}"'})
        if self.command == "PUT":
            if Blob(body, large=True).sha256 != oid:
                raise Refusal(400, message="not the announced bytes")
            self.loopback.state.objects[oid] = body
            return Answer()
        return _part(self.loopback.state.objects[oid], self.headers.get("range"), {"ETag": '"storage"'}, oid)


def _part(content: bytes, asked: str | None, headers: dict[str, str], counted: str) -> Answer:
    """Return a file's bytes, or the range of them that is asked for."""
    headers = {"Accept-Ranges": "bytes", **headers}
    matched = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "")
    if matched is None:
        return Answer(200, content, headers, counted)
    start, stop = int(matched[1]), min(int(matched[2] or len(content)) + 1, len(content))
    if start >= len(content):
        return Answer(416, b"", {**headers, "Content-Range": f"bytes */{len(content)}"})
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
    return Answer(206, content[start:stop], headers, counted)


def _json(value: object, **headers: str) -> Answer:
    return Answer(200, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


class _Hub(_Handler):
    attribute = "endpoint"
    name = "hub"
    routes: ClassVar[list[tuple[str, str, str]]] = [
        ("POST", r"/api/repos/create", "create"),
        ("GET", rf"/api/models/{_MODEL}(/revision/(?P<revision>[^/]+))?", "info"),
        ("GET", rf"/api/models/{_MODEL}/tree/(?P<revision>[^/]+)", "tree"),
        ("POST", rf"/api/models/{_MODEL}/preupload/(?P<revision>[^/]+)", "preupload"),
        ("POST", rf"/{_MODEL}\.git/info/lfs/objects/batch", "batch"),
        ("POST", r"/api/complete_multipart/(?P<oid>[0-9a-f]{64})", "complete"),
        ("POST", rf"/api/models/{_MODEL}/verify", "verify"),
        ("POST", rf"/api/models/{_MODEL}/commit/main", "commit"),
        ("PUT", rf"/api/models/{_MODEL}/settings", "settings"),
        ("POST", r"/api/validate-yaml", "validate_yaml"),
        ("GET|HEAD", rf"/{_MODEL}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", "resolve"),
        ("GET|HEAD", rf"/api/resolve-cache/models/{_MODEL}/(?P<revision>[^/]+)/(?P<file>.+)", "cached"),
    ]

    def answer(self, path: str, query: Mapping[str, list[str]], token: str | None, body: bytes) -> Answer:
        self.query, self.body = query, body
        self.owner = self.loopback.state.tokens.get(token) if token else None
        if token is not None and self.owner is None:
            raise Refusal(401, message="Invalid credentials in Authorization header")
        for methods, pattern, name in self.routes:
            matched = re.fullmatch(pattern, path)
            if self.command in methods.split("|") and matched:
                fields = {key: text for key, text in matched.groupdict().items() if text}
                work: Callable[..., Answer] = getattr(self, f"on_{name}")
                repo = fields.pop("repo", None)
                if repo is None:
                    return work(**fields)
                found = self._find(repo)
                return found if isinstance(found, Answer) else work(found, **fields)
        raise Refusal(404, message=f"no such route: {self.command} {path}")

    def _find(self, repo: str) -> Repository | Answer:
        """Return a repository that may be seen, or the redirect to its name of today."""
        state = self.loopback.state
        today = state.renamed.get(repo, repo)
        found = state.repositories.get(today.lower())
        mine = found is not None and self.owner == found.id.partition("/")[0]
        if found is None or (found.private and not mine):
            raise Refusal(404 if self.owner else 401, "RepoNotFound", "Repository not found")
        if found.disabled:
            raise Refusal(403, message="Access to this resource is disabled.")
        if found.id != repo and self.loopback.redirects:
            return Answer(307, b"", {"Location": self.path.replace(repo, found.id)})
        return found

    def _files(self, repository: Repository, revision: str) -> dict[str, Blob]:
        found = repository.at(revision)
        if found is None:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    def _needs_owner(self, namespace: str) -> None:
        if self.owner != namespace:
            raise Refusal(403 if self.owner else 401, message="You don't have the rights to do this")

    def on_create(self) -> Answer:
        asked = json.loads(self.body)
        repo = f"{asked['organization']}/{asked['name']}"
        self._needs_owner(asked["organization"])
        url = f"{self.loopback.endpoint}/{repo}"
        if repo.lower() in self.loopback.state.repositories:
            return Answer(409, json.dumps({"error": "You already created this model repo", "url": url}).encode())
        self.loopback.state.make(repo, private=asked.get("visibility") == "private")
        return _json({"url": url, "name": repo, "id": "1"})

    def on_info(self, repository: Repository, revision: str = "main") -> Answer:
        self._files(repository, revision)
        info = {
            "_id": "1",
            "id": repository.id,
            "sha": repository.resolved(revision),
            "private": repository.private,
            "gated": repository.gated,
            "disabled": repository.disabled,
        }
        asked = {"_id", "id", *self.query.get("expand", info)}
        return _json({name: value for name, value in info.items() if name in asked})

    def on_tree(self, repository: Repository, revision: str) -> Answer:
        files, items = self._files(repository, revision), []
        recursive = self.query.get("recursive", [""])[0].lower() in {"true", "1"}
        for name, blob in sorted(files.items()):
            folder, slash, _ = name.partition("/")
            if slash and not recursive:
                entry: dict[str, Any] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder}
            else:
                entry = {"type": "file", "oid": blob.oid, "size": len(blob.content), "path": name}
            if blob.large and entry["type"] == "file":
                entry["lfs"] = {"oid": blob.sha256, "size": len(blob.content), "pointerSize": 130}
            if entry not in items:
                items.append(entry)
        start = int(self.query.get("cursor", ["0"])[0])
        headers = {}
        if start + self.loopback.page < len(items):
            here = f"{self.loopback.endpoint}/api/models/{repository.id}/tree/{revision}"
            headers["Link"] = f'<{here}?recursive={recursive}&cursor={start + self.loopback.page}>; rel="next"'
        return _json(items[start : start + self.loopback.page], **headers)

    def on_preupload(self, repository: Repository, revision: str) -> Answer:
        self._needs_owner(repository.id.partition("/")[0])
        there = self._files(repository, revision)
        ignored = b"".join(blob.content for name, blob in there.items() if name == ".gitignore").decode().split()
        return _json(
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if is_large(file["path"], file["size"]) else "regular",
                        "shouldIgnore": file["path"] in ignored,
                        "oid": there[file["path"]].oid if file["path"] in there else None,
                    }
                    for file in json.loads(self.body)["files"]
                ]
            }
        )

    def on_batch(self, repository: Repository) -> Answer:
        self._needs_owner(repository.id.partition("/")[0])
        objects, here = [], f"/api/models/{repository.id}"
        for wanted in json.loads(self.body)["objects"]:
            entry = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.loopback.state.objects:
                entry["actions"] = {
                    "upload": self._upload(wanted["oid"], wanted["size"]),
                    "verify": {"href": self.loopback.verify or f"{self.loopback.endpoint}{here}/verify"},
                }
            objects.append(entry)
        return _json({"transfer": "basic", "objects": objects})

    def _upload(self, oid: str, size: int) -> dict[str, object]:
        """Return where a large file goes: to one signed address, or part by part to several."""
        part, storage = self.loopback.part, self.loopback.storage
        if part is None or size <= part:
            return {"href": f"{storage}/objects/{oid}?signature=good"}
        count = -(-size // part)
        urls = {f"{n:05}": f"{storage}/parts/{oid}/{n}?signature=good" for n in range(1, count + 1)}
        return {
            "href": f"{self.loopback.endpoint}/api/complete_multipart/{oid}",
            "header": {"chunk_size": str(part), **urls},
        }

    def on_complete(self, oid: str) -> Answer:
        told = json.loads(self.body)
        numbers = [part["partNumber"] for part in told["parts"]]
        if [part["etag"] for part in told["parts"]] != [f'"part {n}"' for n in numbers]:
            raise Refusal(400, message="other parts came")
        content = b"".join(self.loopback.state.parts[oid, n] for n in numbers)
        if Blob(content, large=True).sha256 != oid:
            raise Refusal(400, message="not the announced bytes")
        self.loopback.state.objects[oid] = content
        return _json({"completed": True})

    def on_verify(self, repository: Repository) -> Answer:
        self._needs_owner(repository.id.partition("/")[0])
        asked = json.loads(self.body)
        if len(self.loopback.state.objects.get(asked["oid"], b"")) != asked["size"]:
            raise Refusal(422, message="not there")
        return _json({"message": "ok"})

    def on_commit(self, repository: Repository) -> Answer:
        self._needs_owner(repository.id.partition("/")[0])
        files = dict(repository.commits[repository.head])
        for line in self.body.splitlines():
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header" and value.get("parentCommit") not in {None, repository.head}:
                raise Refusal(412, message="A commit has happened since. Please refresh and try again.")
            if key == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]), large=False)
            if key == "lfsFile":
                files[value["path"]] = Blob(self.loopback.state.objects[value["oid"]], large=True)
            if key == "deletedFile":
                del files[value["path"]]
        sha = self.loopback.state.commit(repository, files)
        url = f"{self.loopback.endpoint}/{repository.id}/commit/{sha}"
        return _json({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def on_settings(self, repository: Repository) -> Answer:
        self._needs_owner(repository.id.partition("/")[0])
        asked = json.loads(self.body)
        repository.private = asked.get("visibility", "private") == "private"
        repository.gated = asked.get("gated", repository.gated)
        return _json({"private": repository.private})

    def on_validate_yaml(self) -> Answer:
        return _json({"errors": [], "warnings": []})

    def _blob(self, repository: Repository, revision: str, file: str) -> Blob:
        if repository.gated and self.owner != repository.id.partition("/")[0]:
            raise Refusal(403 if self.owner else 401, "GatedRepo", "Access to this model is restricted")
        files = self._files(repository, revision)
        if file not in files:
            raise Refusal(404, "EntryNotFound", "Entry not found")
        return files[file]

    def on_resolve(self, repository: Repository, revision: str, file: str) -> Answer:
        """Send large files to the storage, and small ones to where the hub keeps them at hand."""
        blob = self._blob(repository, revision, file)
        headers = {
            "X-Repo-Commit": repository.resolved(revision),
            "X-Linked-Size": str(len(blob.content)),
            "X-Linked-ETag": f'"{blob.etag}"',
        }
        if blob.large:
            headers["Location"] = f"{self.loopback.storage}/objects/{blob.sha256}?signature=good"
            return Answer(302, b"", headers)
        headers["Location"] = f"/api/resolve-cache/models/{repository.id}/{headers['X-Repo-Commit']}/{file}"
        return Answer(307, b"", headers)

    def on_cached(self, repository: Repository, revision: str, file: str) -> Answer:
        blob = self._blob(repository, revision, file)
        headers = {"ETag": f'"{blob.oid}"', "X-Repo-Commit": repository.resolved(revision)}
        return _part(blob.content, self.headers.get("range"), headers, file)
