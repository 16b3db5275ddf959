"""One tree of errors, each with the exit code that a scheduler sees.

    JobError
    ├── JobFailed 1         the input, the output or the code: trying again does not help
    ├── BadUsage 2          the command asks for what cannot be
    ├── TooManyBadRows 3    more rows could not be answered than --max-bad-rows allows, or none could
    └── Interrupted 75      stopped from outside (EX_TEMPFAIL): the same command goes on where this one stood

A message names what was expected, what was found and the remedy.
"""

from typing import ClassVar


class JobError(Exception):
    """Why a job did not end well."""

    exit_code: ClassVar[int] = 1


class JobFailed(JobError):
    exit_code = 1


class BadUsage(JobError):
    exit_code = 2


class TooManyBadRows(JobError):
    exit_code = 3


class Interrupted(JobError):
    exit_code = 75
