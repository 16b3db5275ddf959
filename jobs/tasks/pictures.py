"""Images as a column: the bytes of files, in the way that the `datasets` library reads them as pictures."""

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from service.codecs import npy, picture

TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def column(images: Sequence[np.ndarray], kind: str) -> pa.Array:
    """Images (C, H, W) as files of this kind, `png` or `npy`: the same bytes as the service answers with."""
    encode = picture.encode if kind == "png" else lambda image: npy.encode(image[None])
    return pa.array([{"bytes": encode(image), "path": None} for image in images], TYPE)


def metadata(schema: pa.Schema, kind: str, class_names: Sequence[str] = ()) -> dict[str, str]:
    """What `datasets` wants to know of a table with the columns `image` and perhaps `label`."""
    features: dict[str, dict] = {}
    for field in schema:
        features[field.name] = {"dtype": str(field.type).replace("double", "float64"), "_type": "Value"}
    if kind == "png":
        features["image"] = {"_type": "Image"}
    else:
        features["image"] = {name: {"dtype": dtype, "_type": "Value"} for name, dtype in _FIELDS}
    if "label" in features and class_names:
        features["label"] = {"names": list(class_names), "_type": "ClassLabel"}
    return {"huggingface": json.dumps({"info": {"features": features}})}


_FIELDS = (("bytes", "binary"), ("path", "string"))
