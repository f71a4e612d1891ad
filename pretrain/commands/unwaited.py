"""Threads that nobody waits for: a disk or a resolver of names may hang for minutes, and a person will not."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Unwaited(ThreadPoolExecutor):
    """An executor for ``set_default_executor``; neither the loop's end nor the program's waits for its threads."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do a piece of work in a thread of its own."""
        future: Future[T] = Future()

        def work() -> None:
            if future.set_running_or_notify_cancel():
                with _Told(future):
                    future.set_result(fn(*args, **kwargs))

        threading.Thread(target=work, daemon=True).start()
        return future


@dataclass(frozen=True)
class _Told(Generic[T]):
    """Whatever is raised within is raised where the result is waited for."""

    future: Future[T]

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is not None:
            self.future.set_exception(error)
        return True
