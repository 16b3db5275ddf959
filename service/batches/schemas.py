"""Requests for files and batches: what each field is, its bounds and its default, as OpenAI's API has them."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from service.schemas import (
    CompletionBody,
    DenoiseBody,
    EditBody,
    EmbedBody,
    GenerateBody,
    RestoreBody,
    SampleBody,
    ScoreBody,
)

BATCHED: dict[str, type[BaseModel]] = {
    "/v1/completions": CompletionBody,
    "/v1/embeddings": EmbedBody,
    "/v1/score": ScoreBody,
    "/v1/images/generations": GenerateBody,
    "/v1/rows/generations": SampleBody,
    "/v1/images/edits": EditBody,
    "/v1/images/denoise": DenoiseBody,
    "/v1/images/restore": RestoreBody,
}
"""The routes that the lines of a batch may ask, and the bodies that these take."""
_MAX_WINDOW_HOURS = 168
_KeepSeconds = Annotated[int, Field(ge=3600, le=2_592_000, description="Until a file is deleted.")]
_Id = Annotated[str, Field(max_length=64)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExpiresAfter(_Body):
    """How long a file is kept."""

    anchor: Literal["created_at"]
    seconds: _KeepSeconds


class BatchBody(_Body):
    """POST /v1/batches"""

    input_file_id: Annotated[_Id, Field(description="A file that was uploaded with the purpose batch.")]
    endpoint: Annotated[
        str, Field(description="What all lines of the file ask.", json_schema_extra={"enum": list(BATCHED)})
    ]
    completion_window: Annotated[
        str, Field(pattern=r"^[1-9][0-9]{0,2}h$", description="Hours, 168 at most; what is not answered then, is not.")
    ] = "24h"
    metadata: Annotated[
        dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None,
        Field(max_length=16, description="Kept and given back."),
    ] = None
    output_expires_after: Annotated[ExpiresAfter | None, Field(description="Of the files with the answers.")] = None

    @field_validator("endpoint")
    @classmethod
    def _is_batched(cls, value: str) -> str:
        if value not in BATCHED:
            raise ValueError(f"expected one of {', '.join(BATCHED)}")
        return value

    @field_validator("completion_window")
    @classmethod
    def _is_short(cls, value: str) -> str:
        if int(value.removesuffix("h")) > _MAX_WINDOW_HOURS:
            raise ValueError(f"expected {_MAX_WINDOW_HOURS}h or less")
        return value


class FileFields(_Body):
    """What goes beside a file in a form."""

    purpose: Literal["batch"]
    anchor: Annotated[Literal["created_at"] | None, Field(alias="expires_after[anchor]")] = None
    seconds: Annotated[_KeepSeconds | None, Field(alias="expires_after[seconds]")] = None

    @model_validator(mode="after")
    def _expires_after_something(self) -> Self:
        if (self.anchor is None) != (self.seconds is None):
            raise ValueError("expected expires_after[anchor] and expires_after[seconds] together")
        return self


class FilesQuery(_Body):
    """Which files are listed."""

    after: _Id | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 10_000
    order: Literal["asc", "desc"] = "desc"
    purpose: Annotated[str | None, Field(max_length=32)] = None


class BatchesQuery(_Body):
    """Which batches are listed."""

    after: _Id | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
