"""A validator's reports on wandb: for people to watch, so nothing that goes wrong there stops the validator."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pydantic import ValidationError

from pretrain import plain
from pretrain.report import Report
from pretrain.settings import Wandb
from pretrain.types import Hotkey

if TYPE_CHECKING:
    from wandb import Run

_LOG = logging.getLogger("pretrain.tracking")
_START_SECONDS = 20.0
"""How long to wait for the service at the start, and for what is left to upload at the end."""


class Tracker:
    """One wandb run, from the start of a validator to its end; with ``off``, or when wandb fails, it does nothing.

    ``WANDB_MODE=offline`` keeps everything in ``folder/wandb``, for ``wandb sync`` later. Beside the reports only the
    validator's public hotkey is sent: no flags, environment, command line, source code, console or machine details.
    """

    def __init__(self, settings: Wandb, folder: Path, hotkey: Hotkey) -> None:
        self._run: Run | None = None
        if settings.off:
            return
        with _survived("off for this run"):
            self._run = _start(settings, folder, hotkey)
            _LOG.info("wandb: %s", f"offline, in {folder / 'wandb'}" if self._run.offline else self._run.url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def log(self, report: Report) -> None:
        """Send the numbers of one step."""
        if self._run is not None:
            with _survived("this step is not there"):
                self._run.log(metrics(report))

    def finish(self) -> None:
        """Send what is left, for some seconds at most."""
        if self._run is not None:
            with _survived("the last steps may be missing there"):
                self._run.finish()


def metrics(report: Report) -> dict[str, float | str]:
    """Return what is sent of a step: flat, by competition and the first letters of the hotkey, finite numbers only."""
    name = report.name
    values: dict[str, float | str] = {
        "block": report.block,
        f"{name}/champion": report.champion or "",
        f"{name}/samples": report.samples or "",
        f"{name}/abandoned": float(bool(report.abandoned)),
        f"{name}/canary": report.canary,
        f"{name}/seconds": report.seconds,
    }
    for outcome in ("scored", "rejected", "undecided", "queued"):
        values[f"{name}/{outcome}"] = float(sum(entry.outcome == outcome for entry in report.entries))
    for entry in report.entries:
        if entry.score is None:
            continue
        row = {
            "score": entry.score,
            "win_rate": entry.win_rate,
            "epsilon": entry.epsilon,
            "average": entry.average,
            **({"difference": entry.difference.mean} if entry.difference else {}),
            **{f"loss/{task}": loss for task, loss in (entry.tasks or {}).items()},
        }
        values |= {f"{name}/{entry.hotkey[:8]}/{what}": value for what, value in row.items()}
    return {key: value for key, value in values.items() if isinstance(value, str) or math.isfinite(value)}


def _start(settings: Wandb, folder: Path, hotkey: Hotkey) -> "Run":
    import wandb  # noqa: PLC0415 - more than a second, and not needed with --wandb.off

    (folder / "wandb").mkdir(parents=True, exist_ok=True)  # else wandb goes to another folder by itself
    run = wandb.init(
        project=settings.project,
        entity=settings.entity,
        name=settings.name or f"validator-{hotkey[:8]}",
        dir=folder,
        config={"validator": hotkey},
        reinit="create_new",
        settings=wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            finish_timeout=_START_SECONDS,
            init_timeout=_START_SECONDS,
            login_timeout=_START_SECONDS,
            silent=True,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        ),
    )
    run.define_metric("*", step_metric="block")
    return run


@contextmanager
def _survived(consequence: str) -> Iterator[None]:
    """Turn what wandb raises into one line of the log."""
    import wandb.errors  # noqa: PLC0415 - as above
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError, WandbAttachFailedError  # noqa: PLC0415
    from wandb.sdk.lib.service.service_token import WandbServiceConnectionError  # noqa: PLC0415
    from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError  # noqa: PLC0415
    from wandb.sdk.mailbox.mailbox_handle import ServerResponseError  # noqa: PLC0415

    service = (WandbApiFailedError, WandbAttachFailedError, WandbServiceConnectionError, ServerResponseError)
    try:
        yield
    except (  # what its service's death raises has no parent of its own
        *service,
        HandleAbandonedError,
        MailboxClosedError,
        wandb.errors.Error,
        OSError,
        ValidationError,
    ) as error:  # the last: of its own environment variables
        _LOG.warning("wandb: %s; %s", plain.line(str(error) or type(error).__name__, 200), consequence)
