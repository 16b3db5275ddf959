"""Requests of the Open Inference Protocol (KServe v2) as JSON."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


Parameters = Annotated[
    dict[str, bool | int | float | str],
    Field(max_length=32, description="Of the protocol; hints unknown here are taken."),
]


class InputTensor(_Strict):
    """A tensor of a request in the Open Inference Protocol."""

    name: Annotated[str, Field(max_length=128)]
    shape: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(max_length=8)]
    datatype: Annotated[str, Field(max_length=16, description="As the model's metadata say: FP32, INT64 …")]
    parameters: Parameters = {}
    data: Annotated[
        list[Any] | None,
        Field(description="Numbers in row-major order, flat or nested; left out where binary_data_size says them."),
    ] = None


class WantedTensor(_Strict):
    """An output that a request in the Open Inference Protocol asks for."""

    name: Annotated[str, Field(max_length=128)]
    parameters: Parameters = {}


class InferBody(_Strict):
    """POST /v2/models/{name}/infer"""

    id: Annotated[str, Field(max_length=256, description="Comes back with the answer.")] = ""
    model_name: Annotated[str | None, Field(max_length=256, description="Taken and not used: the path says it.")] = None
    parameters: Parameters = {}
    inputs: Annotated[list[InputTensor], Field(max_length=1024)]
    outputs: Annotated[list[WantedTensor], Field(max_length=1024, description="All of them if left out.")] = []


class IndexBody(_Strict):
    """POST /v2/repository/index"""

    ready: Annotated[bool, Field(description="Leave out what cannot be asked for now.")] = False
