"""Requests as JSON: what each field is, its bounds and its default. Unknown fields are refused.

OpenAI's fields that we have no use for are taken where they ask for nothing, and refused with a reason where they do.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from service.samplers.noise import MAX_SEED

ModelName = Annotated[
    str | None, Field(max_length=128, description="Model name, or name@version; the task's default if left out.")
]
Seed = Annotated[
    int | None,
    Field(ge=0, le=MAX_SEED, description="The same seed gives the same bytes; drawn and returned if left out."),
]
ImageFormat = Annotated[Literal["b64_json", "png", "npy"] | None, Field(description="As the Accept header.")]
Prompt = Annotated[str | None, Field(max_length=1000, description="A class name, or empty for no wish.")]
Label = Annotated[int | None, Field(ge=0, description="A class index, instead of prompt.")]
Latents = Annotated[
    list[list[float]] | None, Field(description="n × latent size numbers of unit variance, instead of drawn ones.")
]
Seeds = Annotated[
    list[Annotated[int, Field(ge=0, le=MAX_SEED)]] | None,
    Field(min_length=2, max_length=16, description="n samples on the way from each seed's first one to the next's."),
]
Base64Image = Annotated[str, Field(description="A PNG, JPEG or .npy file in base64, with or without a data: prefix.")]


def _refuse_boolean(value: Any) -> Any:
    if isinstance(value, bool):  # which is equal to a number
        raise ValueError("expected a number")
    return value


_no_boolean = BeforeValidator(_refuse_boolean)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class _DrawFields(_Body):
    """What can be said of images that are drawn, whole or in part."""

    model: ModelName = None
    prompt: Prompt = None
    label: Label = None
    n: Annotated[int, Field(ge=1, description="How many images.")] = 1
    seed: Seed = None
    response_format: ImageFormat = None
    steps: Annotated[int | None, Field(ge=1, le=1000, description="Noise levels, for models that take them.")] = None
    sampler: Annotated[str | None, Field(max_length=64, description="Sampler, for models that have several.")] = None
    guidance: Annotated[
        float | None, Field(ge=0, le=100, description="How far to go towards the class; 1 is without guidance.")
    ] = None
    temperature: Annotated[
        float | None, Field(ge=0, le=10, description="For models that draw value by value; 0 takes the likeliest.")
    ] = None
    size: Annotated[str | None, Field(max_length=32, description="The model's own size, or auto.")] = None
    quality: Annotated[Literal["auto"] | None, Field(description="There is one.")] = None
    background: Annotated[Literal["auto", "opaque"] | None, Field(description="Nothing is transparent.")] = None
    output_format: Annotated[Literal["png"] | None, Field(description="Of b64_json.")] = None
    moderation: Annotated[Literal["auto", "low"] | None, Field(description="Taken and not used.")] = None
    user: Annotated[str | None, Field(max_length=512, description="Taken and not used.")] = None

    @field_validator("response_format", mode="before")
    @classmethod
    def _no_urls(cls, value: Any) -> Any:
        if value == "url":
            raise ValueError("images are not kept: use b64_json, or Accept: image/png")
        return value


class GenerateBody(_DrawFields):
    """POST /v1/images/generations"""

    latents: Latents = None
    seeds: Seeds = None
    stream: Annotated[bool, Field(description="Server-sent events, one with each image at the end.")] = False
    partial_images: Annotated[
        int | None, Field(ge=0, le=8, description="Previews in a stream, where the model draws in several steps.")
    ] = None


class SampleBody(_Body):
    """POST /v1/rows/generations"""

    model: ModelName = None
    prompt: Prompt = None
    label: Label = None
    n: Annotated[int, Field(ge=1, description="How many rows.")] = 1
    seed: Seed = None
    latents: Latents = None
    seeds: Seeds = None


class EditFields(_DrawFields):
    """What goes beside an image and its mask in a query or a form."""


class EditBody(EditFields):
    """POST /v1/images/edits"""

    image: Base64Image
    mask: Annotated[
        str | None,
        Field(
            description="A picture of the image's size in base64. Transparent pixels are drawn anew; of one without "
            "transparency, white ones. The image's own transparency if left out."
        ),
    ] = None


class DenoiseFields(_Body):
    """What goes beside an image in a query or a form."""

    model: ModelName = None
    sigma: Annotated[
        float | None, Field(ge=0, description="Noise standard deviation for images in [0, 1]; estimated if left out.")
    ] = None
    response_format: ImageFormat = None


class DenoiseBody(DenoiseFields):
    """POST /v1/images/denoise"""

    image: Annotated[Base64Image | list[Base64Image], Field(description="One image or several of one size.")]


class RestoreBody(DenoiseBody):
    """POST /v1/images/restore"""


class ScoreFields(_Body):
    """What goes beside images in a query or a form."""

    model: ModelName = None
    alpha: Annotated[
        float | None,
        Field(gt=0, lt=1, description="Items with p_value <= alpha are called anomalies; 0.05 if left out."),
    ] = None
    fdr: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="Instead of alpha: the share of false alarms among those of this request, at most. With "
            "1,000 calibration scores or more it holds for nine such sets in ten by itself, with fewer on average over sets.",
        ),
    ] = None
    statistic: Annotated[
        str | None,
        Field(max_length=64, description="Which of the model's statistics decides; its default if left out."),
    ] = None
    explain: Annotated[bool, Field(description="Say where in each item the surprise lies.")] = False

    @field_validator("fdr")
    @classmethod
    def _one_rule(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("alpha") is not None:
            raise ValueError("expected alpha or fdr, not both: leave one out")
        return value


class EmbedFields(_Body):
    """What goes beside images in a query or a form."""

    model: ModelName = None
    encoding_format: Annotated[
        Literal["float", "base64"], Field(description="Numbers, or base64 of float32, little-endian.")
    ] = "float"
    dimensions: Annotated[int | None, Field(ge=1, description="The model's own size.")] = None
    user: Annotated[str | None, Field(max_length=512, description="Taken and not used.")] = None


class ItemsBody(_Body):
    """What a model scores or embeds, in JSON: one of the three fields."""

    input: Annotated[str | list[str] | None, Field(description="A text or several, for models of text.")] = None
    inputs: Annotated[
        Any,
        Field(
            description="Vectors [[…], …], rows of a table as objects by column name or lists in the columns' order, or "
            "images as nested lists of numbers in [0, 1]."
        ),
    ] = None
    image: Annotated[Base64Image | list[Base64Image] | None, Field(description="Images in base64.")] = None


class ScoreBody(ScoreFields, ItemsBody):
    """POST /v1/score"""


class EmbedBody(EmbedFields, ItemsBody):
    """POST /v1/embeddings"""


class CompletionBody(_Body):
    """POST /v1/completions"""

    model: ModelName = None
    prompt: Annotated[str | list[str], Field(description="A prompt or several.")] = ""
    max_tokens: Annotated[int | None, Field(ge=0, description="New tokens at most.")] = None
    temperature: Annotated[float, Field(ge=0, le=10, description="0 takes the likeliest token.")] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1, description="Nucleus sampling.")] = 1.0
    top_k: Annotated[int, Field(ge=0, description="Only the k likeliest tokens; 0 for all.")] = 0
    n: Annotated[int, Field(ge=1, description="Completions of each prompt.")] = 1
    seed: Seed = None
    stop: Annotated[str | list[str] | None, Field(description="Up to 16 strings that end the text.")] = None
    logprobs: Annotated[int | None, Field(ge=0, le=20, description="Likeliest tokens to report at each place.")] = None
    echo: Annotated[bool, Field(description="Give the prompt back before the completion.")] = False
    stream: Annotated[bool, Field(description="Server-sent events, ending in [DONE].")] = False
    stream_options: dict[str, bool] | None = None
    best_of: Annotated[Literal[1] | None, _no_boolean] = None
    suffix: None = None
    frequency_penalty: Annotated[Literal[0] | None, _no_boolean] = None
    presence_penalty: Annotated[Literal[0] | None, _no_boolean] = None
    logit_bias: Annotated[dict[str, float] | None, Field(max_length=0)] = None
    user: Annotated[str | None, Field(max_length=512, description="Taken and not used.")] = None

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, value: str | list[str] | None) -> str | list[str] | None:
        stops = [value] if isinstance(value, str) else value or []
        if len(stops) > 16 or any(not 0 < len(s) <= 256 for s in stops):
            raise ValueError("expected up to 16 strings of 1 to 256 characters")
        return value
