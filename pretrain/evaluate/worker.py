"""Judges each model in a process of its own, and says whose fault it is when that fails.

This side never imports torch and never unpickles: a child that touched a stranger's model sends bounded bytes, and
those are read as a stranger's. Every wait is asyncio's own, so that a deadline or a cancellation ends it at once.
"""

import asyncio
import logging
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

from pretrain.competition import Constraints
from pretrain.data import Samples
from pretrain.errors import Cause, ConfigError, EvaluatorUnavailable
from pretrain.evaluate import Measurement, canary, isolation
from pretrain.evaluate.answer import MOST_FIT_BYTES, GarbageError, decode, decode_fit, most_bytes
from pretrain.evaluate.children import Child, ChildError, ForkServer, ServerError, environment, last_line
from pretrain.evaluate.engine import engine_version
from pretrain.evaluate.request import EngineSettings, Request, write_preview, write_samples
from pretrain.preview import Preview

_JUDGE = "pretrain.evaluate.child:judge"
_START = 180.0  # seconds that the fork server may take to import its libraries and fork
_INSPECTION = 120.0  # seconds for the config and the headers of a model
log = logging.getLogger("pretrain.evaluate")


@dataclass(frozen=True)
class Bounds:
    """What one child may take."""

    size: int
    """Bytes of its answer."""
    seconds: float


class ProcessEvaluator:
    """An Evaluator (``pretrain.evaluate``) whose children come from a fork server that has imported torch beforehand.

    ``vocabularies`` gives the number of ids of each tokenizer that constraints may name. ``start`` it early, before the
    program knows a secret; ``close`` it at the end. ``target`` is what a child runs, ``module:function``: tests put in
    its place what a hostile or broken child would do.
    """

    def __init__(self, settings: EngineSettings, vocabularies: Mapping[str, int], *, target: str = _JUDGE) -> None:
        self._settings = settings
        self._vocabularies = {**vocabularies, canary.TOKENIZER: canary.VOCABULARY}
        self._target = target
        self._server: ForkServer | None = None
        self._isolation: str | None = None

    @property
    def isolation(self) -> str | None:
        """What the last child had given up before it met its model, in one line; None before the first."""
        return self._isolation

    @property
    def engine(self) -> str:
        """The engine version that every measurement will carry."""
        return engine_version(self._settings.device)

    @property
    def server_pid(self) -> int | None:
        """The process number of the fork server, or None when none was started."""
        return None if self._server is None else self._server.process.pid

    def start(self) -> None:
        """Start the fork server unless it runs, and return at once; its first child has to wait for its imports."""
        if self._server is not None and not self._server.alive:
            self.close()
        if self._server is None:
            variables = environment(os.environ, self._settings.threads)
            self._server = ForkServer(self._target, variables, isolated=self._settings.isolated)

    def close(self) -> None:
        """End the fork server and every child."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def inspect(self, preview: Preview, constraints: Constraints) -> None:
        """See, in a child, whether config and headers are those of a model that the competition allows.

        Raises as ``losses`` does.
        """
        with (
            tempfile.TemporaryDirectory(prefix="pretrain-preview-") as folder,
            tempfile.TemporaryFile() as nothing,
            tempfile.TemporaryFile() as output,
        ):
            await asyncio.to_thread(write_preview, preview, Path(folder))
            limit = min(_INSPECTION, self._settings.deadline)
            request = self._request(Path(folder), constraints, limit, "inspect")
            raw = await self._ask(request, nothing, output, MOST_FIT_BYTES)
        try:
            decode_fit(raw)
        except GarbageError as error:
            raise EvaluatorUnavailable(f"a child gave an answer that is not ours: {error}", Cause.CRASHED) from error

    async def losses(
        self, model: Path, samples: Samples, constraints: Constraints, seconds: float | None = None
    ) -> Measurement:
        """Measure a model folder on samples in at most ``seconds``, and never more than its own deadline.

        Several may run at once.

        Raises ModelRejected when the model is at fault; EvaluatorUnavailable with TIMEOUT when its child outlasted the
        deadline, with MEMORY when it had too little, with CRASHED when it died, said too much or said what no child of
        ours says, and without a cause when no child can be had. Whatever happens, the child's process group is gone
        afterwards.
        """
        limit = min(seconds or math.inf, self._settings.deadline)
        request = self._request(model, constraints, limit, "judge")
        with tempfile.TemporaryFile() as drawn, tempfile.TemporaryFile() as output:
            await asyncio.to_thread(write_samples, samples, drawn)
            raw = await self._ask(request, drawn, output, most_bytes(samples))
        try:
            return decode(raw, samples, self.engine)
        except GarbageError as error:
            raise EvaluatorUnavailable(f"a child gave an answer that is not ours: {error}", Cause.CRASHED) from error

    def _request(
        self, model: Path, constraints: Constraints, seconds: float, work: Literal["judge", "inspect"]
    ) -> Request:
        if constraints.tokenizer not in self._vocabularies:
            known = ", ".join(sorted(self._vocabularies)) or "none"
            raise ConfigError(f"the size of tokenizer {constraints.tokenizer!r} is not known; known are {known}")
        if not model.is_dir():
            raise EvaluatorUnavailable(f"{model} is not a folder; a model's files must be there before it is judged")
        settings = self._settings
        return Request(
            work=work,
            model=model.absolute(),
            constraints=constraints,
            vocabulary=self._vocabularies[constraints.tokenizer],
            device=settings.device,
            batch=settings.batch,
            chunk=settings.chunk,
            threads=settings.threads,
            memory=settings.memory,
            seconds=seconds,
        )

    async def _ask(self, request: Request, samples: BinaryIO, output: BinaryIO, size: int) -> bytes:
        """Return the answer of a child to a request, of at most ``size`` bytes; raises EvaluatorUnavailable."""
        self.start()
        server = self._server
        if server is None:
            raise EvaluatorUnavailable("the evaluator is closed")
        try:
            child = server.launch(request.model_dump_json().encode(), request.model, samples, output)
            return await self._answer(child, Bounds(size, request.seconds))
        except ChildError as error:
            raise EvaluatorUnavailable(f"{error}; its last words: {last_line(output)}", Cause.CRASHED) from error
        except ServerError as error:
            server.process.kill()  # it takes all its children along; the next model gets a new one
            raise EvaluatorUnavailable(f"no child can judge: {error}; last words: {server.last_words()}") from error

    async def _answer(self, child: Child, bounds: Bounds) -> bytes:
        """Return a child's answer and leave no process.

        Raises EvaluatorUnavailable(TIMEOUT), ChildError or ServerError.
        """
        try:
            try:
                async with asyncio.timeout(_START):
                    self._tell(await child.started())
            except TimeoutError:
                raise ServerError(f"the fork server did not fork within {_START:.0f} s") from None
            try:
                async with asyncio.timeout(bounds.seconds):
                    return await child.result(bounds.size)
            except TimeoutError:
                raise EvaluatorUnavailable(
                    f"a child outlasted its deadline of {bounds.seconds:g} s", Cause.TIMEOUT
                ) from None
        finally:
            await child.end()

    def _tell(self, report: str) -> None:
        """Log once what children give up before they meet a model."""
        if report != self._isolation:
            self._isolation = report
            level = logging.INFO if isolation.is_whole(report) else logging.WARNING
            log.log(level, "a model is judged behind: %s", report)
