"""What a device is and has, told by a process of its own: a library or a driver may hang, a process can be killed.

``python -m pretrain.commands.device NAME`` prints it, and ends with exit code 1 and a reason when it cannot be used.
"""

import os
import re
import subprocess
import sys

from pretrain.errors import ConfigError

PROBE = (sys.executable, "-P", "-m", "pretrain.commands.device")


def ask(name: str, seconds: float) -> str:
    """Say what a device is and has; raises ConfigError when it cannot be used, or does not say so in time."""
    if name == "cpu":
        return f"cpu, {os.cpu_count()} cores"
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            [*PROBE, name], capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"--device {name}: no answer within {seconds:.0f} s") from error
    if done.returncode:
        reason = done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"]
        raise ConfigError(f"--device {name}: {reason[-1]}")
    return done.stdout.strip()


def look(name: str) -> str:
    """Say what a GPU is and has, from within the process that may hang; raises ConfigError when it cannot be used."""
    import torch  # noqa: PLC0415 - takes seconds, and a cpu needs none of it

    index = int((re.findall(r"\d+", name) or ["0"])[0])
    if not torch.cuda.is_available():
        raise ConfigError(f"torch {torch.__version__} finds no GPU")
    if index >= torch.cuda.device_count():
        raise ConfigError(f"there are {torch.cuda.device_count()} GPUs, numbered from 0")
    try:
        free, total = torch.cuda.mem_get_info(index)
    except RuntimeError as error:
        raise ConfigError(" ".join(str(error).split())) from error
    return f"{torch.cuda.get_device_name(index)}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free"


def main() -> None:
    """Print the answer, or the reason."""
    try:
        sys.stdout.write(f"{look(sys.argv[1])}\n")
    except ConfigError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
