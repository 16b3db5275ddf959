"""The command `amostra`: a service of Amostra from a terminal or a script.

It ends with 0 where all is well, 1 where the service refused or failed, 2 where the command line or a file is wrong, 3 where
no answer came (nobody there, too busy, too late), 130 where it was interrupted. An error is one line on the error stream.
"""

import io
import os
import sys
from collections.abc import Sequence

from amostra.cli import show
from amostra.cli.arguments import parse
from amostra.client import Client
from amostra.errors import AmostraError, Busy, TimedOut, Unreachable

REFUSED, WRONG, NO_ANSWER, INTERRUPTED = 1, 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code. Raises SystemExit where the arguments are no command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an old terminal lacks some letters, and that is no reason to fail
            stream.reconfigure(errors="replace")
    asked = parse(arguments)
    try:
        with Client(asked.url, key=asked.key, timeout=asked.timeout, retries=asked.retries) as client:
            asked.run(client, asked)
        sys.stdout.flush()
    except (Busy, TimedOut, Unreachable) as error:
        return _end(error, NO_ANSWER)
    except AmostraError as error:
        return _end(error, REFUSED)
    except BrokenPipeError:  # whoever read has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return REFUSED
    except (OSError, ValueError, ImportError) as error:
        return _end(error, WRONG)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _end(error: Exception, code: int) -> int:
    request = f" (request {error.request_id})" if isinstance(error, AmostraError) and error.request_id else ""
    show.error(f"{error}{request}")
    return code
