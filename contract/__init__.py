"""What a model is: graph signatures, and the manifest that comes with them.

The training side writes it, the serving side reads it; nothing else is shared. Only pydantic and the standard library
are imported here.
"""

from contract.files import ManifestError, read_manifest, write_manifest
from contract.manifest import Manifest
from contract.signatures import SIGNATURES, Capability, Port, Signature, TensorSpec, concatenates, mismatches

__all__ = [
    "SIGNATURES",
    "Capability",
    "Manifest",
    "ManifestError",
    "Port",
    "Signature",
    "TensorSpec",
    "concatenates",
    "mismatches",
    "read_manifest",
    "write_manifest",
]
