"""Signed models: an Ed25519 signature (RFC 8032) of the manifest, which has the hash of every file of the model.

openssl genpkey -algorithm ed25519 -out private.pem && openssl pkey -in private.pem -pubout -out public.pem
python -m training sign exported/mnist-gan/1 --key private.pem     # writes manifest.json.sig
AMOSTRA_PUBLIC_KEY=public.pem make serve                           # refuses what is not signed so
"""

import base64
import binascii
import os
from pathlib import Path

from contract.files import MANIFEST_NAME

SIGNATURE_NAME = MANIFEST_NAME + ".sig"
_MAX_BYTES = 4096


class SigningError(ValueError):
    """A key or a signature that is none, or does not fit; the message says what was expected and what was found."""


def sign(directory: Path, private_key: Path) -> Path:
    """Sign the manifest that a model directory has now. Returns the signature's path. Raises SigningError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(private_key.read_bytes(), password=None)
        manifest = (directory / MANIFEST_NAME).read_bytes()
    except OSError as error:
        raise SigningError(f"{error.filename}: expected a readable file, found {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise SigningError(f"{private_key}: expected a private key as PEM without a password, found {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"{private_key}: expected an Ed25519 key, found {type(key).__name__}")
    path = directory / SIGNATURE_NAME
    working = path.with_name(f".{SIGNATURE_NAME}-{os.getpid()}")
    working.write_bytes(base64.b64encode(key.sign(manifest)) + b"\n")
    os.replace(working, path)
    return path


class Verifier:
    """Knows the public key that models must be signed for."""

    def __init__(self, public_key: Path) -> None:
        """Raises SigningError."""
        try:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
            from cryptography.hazmat.primitives.serialization import load_pem_public_key
        except ImportError as error:
            raise SigningError("AMOSTRA_PUBLIC_KEY needs a library: pip install 'amostra[signing]'") from error
        try:
            key = load_pem_public_key(public_key.read_bytes())
        except OSError as error:
            raise SigningError(f"{public_key}: expected a readable file, found {error.strerror}") from error
        except ValueError as error:
            raise SigningError(f"{public_key}: expected a public key as PEM, found {error}") from error
        if not isinstance(key, Ed25519PublicKey):
            raise SigningError(f"{public_key}: expected an Ed25519 key, found {type(key).__name__}")
        self._key = key

    def check(self, directory: Path, manifest: bytes) -> None:
        """Raise SigningError where these bytes of a manifest are not what the directory's signature was made of."""
        from cryptography.exceptions import InvalidSignature

        try:
            with (directory / SIGNATURE_NAME).open("rb") as stream:
                signature = base64.b64decode(stream.read(_MAX_BYTES).strip(), validate=True)
        except OSError as error:
            raise SigningError(
                f"{SIGNATURE_NAME}: expected the manifest's signature, found {error.strerror}"
            ) from error
        except binascii.Error as error:
            raise SigningError(f"{SIGNATURE_NAME}: expected base64, found {error}") from error
        try:
            self._key.verify(signature, manifest)
        except InvalidSignature as error:
            raise SigningError(
                f"{SIGNATURE_NAME}: expected a signature of this {MANIFEST_NAME} by the key of AMOSTRA_PUBLIC_KEY, "
                f"found another: sign the model again if it was changed on purpose"
            ) from error
