"""Start the dashboard in the foreground: python scripts/serve.py [--port 8501], after scripts/setup_environment.py."""

import argparse
import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
APPLICATION = CHECKOUT / "app.py"
HIGHEST_PORT = 65535
EXAMPLE = "make run PORT={port}   (or: python scripts/serve.py --port {port})"


def environment_python() -> Path:
    """The interpreter that has the requirements, so that any Python can start the dashboard."""
    folder, name = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    return CHECKOUT / ".venv" / folder / name


def port_problem(port: int) -> str:
    """Why the dashboard cannot listen on this port, in one line; empty where it can."""
    if not 1 <= port <= HIGHEST_PORT:
        return f"Port {port} does not exist; choose one from 1024 to {HIGHEST_PORT}: {EXAMPLE.format(port=8502)}"
    try:
        # The address of the dashboard's own socket: create_server sets the same options as the server does.
        socket.create_server(("localhost", port)).close()
    except OSError as error:
        another = EXAMPLE.format(port=port + 1 if port < HIGHEST_PORT else 8502)
        if error.errno == errno.EACCES:
            return f"Port {port} is reserved by the system; choose another: {another}"
        return f"Port {port} is taken; choose another: {another}"
    return ""


def set_up_problem() -> str:
    """Why there is nothing to start yet, in one line; empty where there is."""
    if not environment_python().exists():
        return "Nothing is installed yet; run first: python scripts/setup_environment.py"
    if not APPLICATION.exists():
        return f"{APPLICATION.name} is missing from this folder; get the whole repository again."
    return ""


def serve(port: int) -> int:
    """Run the server until it ends or Ctrl-C; its options are in .streamlit/config.toml."""
    print(f"Reparam Explorer: http://localhost:{port}   (Ctrl-C stops it)", flush=True)
    command = [str(environment_python()), "-m", "scripts.dashboard", "--server.port", str(port)]
    os.chdir(CHECKOUT)  # the server looks for .streamlit/config.toml where it starts
    if os.name != "nt":
        os.execv(command[0], command)  # one process in the foreground: signals reach the server itself
    return subprocess.run(command).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", default="8501", help="where it listens on localhost (default 8501)")
    wanted = parser.parse_args().port
    if not wanted.isdecimal():
        print(f"A port is a number, got '{wanted}'; for example: {EXAMPLE.format(port=8502)}", file=sys.stderr)
        return 1
    problem = set_up_problem() or port_problem(int(wanted))
    if problem:
        print(problem, file=sys.stderr)
        return 1
    return serve(int(wanted))


if __name__ == "__main__":
    sys.exit(main())
