"""Complete prompts, asked and answered in the shape of OpenAI's Batch API.

    {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"prompt": "ROMEO:", "max_tokens": 64}}
    {"id": …, "custom_id": "a", "response": {"status_code": 200, "request_id": …, "body": {…}}, "error": null}

The body is the service's. One without a seed gets the row's: a function of the job's seed and the custom_id. What is in an
answer depends on no clock, so `created` is 0.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jobs.chunks import Answer, Chunk, Refused
from jobs.engine import ROW_ERRORS, InProcess, RowError
from jobs.job import Job
from jobs.seeds import row_seed
from service.api import completions, parsing
from service.engine.job import Job as EngineJob
from service.errors import Invalid
from service.model import LoadedModel
from service.schemas import CompletionBody
from service.settings import Settings
from service.tasks import complete as completing

WINDOW = 64


class Line(BaseModel):
    """One request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    custom_id: Annotated[str, Field(min_length=1, max_length=512)]
    method: Literal["POST"] = "POST"
    url: Literal["/v1/completions"] = "/v1/completions"
    body: dict[str, Any]


@dataclass(frozen=True)
class _Asked:
    """A line that was read: its custom_id where it has one, and what it asks for, or why it cannot be answered."""

    custom_id: str | None
    ask: CompletionBody | None
    wanted: list[completing.Request] | RowError

    def jobs(self, model: LoadedModel) -> list[tuple[EngineJob, float]] | RowError:
        if not isinstance(self.wanted, list):
            return self.wanted
        return [(completing.complete(model, request), request.work) for request in self.wanted]


def answers(engine: InProcess, settings: Settings, job: Job, chunks: Iterator[Chunk]) -> Iterator[Answer]:
    """The answers to chunks of lines, each a line."""
    model = engine.model
    for chunk in chunks:
        asked = (_read(model, settings, job, line) for line in chunk.items)
        lines, refused = [], []
        done = engine.each(((one, one.jobs(model)) for one in asked), WINDOW)
        for row, (one, found) in zip(chunk.rows.tolist(), done, strict=True):
            if isinstance(found, ROW_ERRORS):
                refused.append(Refused(row, found, one.custom_id))
            else:
                lines.append(_line(model, job, one, found))
        yield Answer(lines, refused)


def _read(model: LoadedModel, settings: Settings, job: Job, line: bytes) -> _Asked:
    custom_id = None
    try:
        try:
            read = Line.model_validate_json(line)
        except ValidationError as error:
            raise parsing.refusal(error) from error
        custom_id = read.custom_id
        ask = parsing.parse_json(orjson.dumps(read.body), CompletionBody)
        if ask.model not in (None, model.id, f"{model.id}@{model.version}"):
            raise Invalid(f"model: expected {model.id}, the job's, found {ask.model!r}: leave it out", field="model")
        if ask.stream:
            raise Invalid("stream: answers of a job come as a whole: leave it out", field="stream")
        if ask.seed is None:
            ask = ask.model_copy(update={"seed": row_seed(job.seed, custom_id)})
        return _Asked(custom_id, ask, completions.requests_of(model, ask, settings))
    except ROW_ERRORS as error:
        return _Asked(custom_id, None, error)


def _line(model: LoadedModel, job: Job, one: _Asked, done: list[completing.Completion]) -> bytes:
    assert one.ask is not None, "what was refused is not answered"
    name = hashlib.blake2b(f"{job.seed}:{one.custom_id}".encode(), digest_size=12).hexdigest()
    answer = {
        "id": f"cmpl-{name}",
        "object": "text_completion",
        "created": 0,
        "model": model.id,
        "system_fingerprint": f"{model.id}@{model.version}",
        "seed": one.ask.seed,
        "choices": completions.choices_of(model, done, one.ask.logprobs is not None),
        "usage": completions.usage_of(done, one.ask.n),
    }
    response = {"status_code": 200, "request_id": name, "body": answer}
    whole = {"id": f"batch_req_{name}", "custom_id": one.custom_id, "response": response, "error": None}
    return orjson.dumps(whole, option=orjson.OPT_APPEND_NEWLINE)
