"""Signed models: a server with a key serves what its owner signed, and nothing else."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from contract.files import MANIFEST_NAME
from service.loading import load_model
from service.sessions import ModelRefused
from service.settings import Settings
from service.signing import SIGNATURE_NAME, SigningError, Verifier, sign
from tests.toys import directories
from training.__main__ import main


def keys(place: Path, name: str, key=None) -> tuple[Path, Path]:
    """A pair of files: private, public."""
    key = key or Ed25519PrivateKey.generate()
    private, public = place / f"{name}.pem", place / f"{name}.pub.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return directories.write_density(tmp_path / "store")


def load(model: Path, public: Path | None):
    return load_model(model, Settings(provider="cpu", public_key=public), "cpu")


def test_a_signed_model_is_served_and_an_unsigned_one_is_not(tmp_path: Path, model: Path, capsys) -> None:
    private, public = keys(tmp_path, "owner")
    with pytest.raises(
        ModelRefused, match=r"manifest\.json\.sig: expected the manifest's signature, found No such file"
    ):
        load(model, public)
    assert main(["sign", str(model), "--key", str(private)]) == 0
    assert SIGNATURE_NAME in capsys.readouterr().out
    assert load(model, public).id == directories.DENSITY
    assert load(model, None).id == directories.DENSITY, "who has no key need not care"


def test_what_was_changed_afterwards_is_refused(tmp_path: Path, model: Path) -> None:
    private, public = keys(tmp_path, "owner")
    sign(model, private)
    manifest = model / MANIFEST_NAME
    manifest.write_text(manifest.read_text().replace("Apache-2.0", "MIT"))
    with pytest.raises(ModelRefused, match="expected a signature of this manifest"):
        load(model, public)
    sign(model, private)
    load(model, public)
    graph = model / "log_density.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(ModelRefused, match="sha256"):
        load(model, public)


def test_somebody_elses_signature_is_refused(tmp_path: Path, model: Path) -> None:
    (mine, public), (theirs, _) = keys(tmp_path, "mine"), keys(tmp_path, "theirs")
    sign(model, theirs)
    with pytest.raises(ModelRefused, match="found another"):
        load(model, public)
    (model / SIGNATURE_NAME).write_text("not base64!")
    with pytest.raises(ModelRefused, match="expected base64"):
        load(model, public)
    sign(model, mine)
    load(model, public)


def test_what_is_no_key_is_said_so(tmp_path: Path, model: Path, capsys) -> None:
    other, other_public = keys(tmp_path, "other", generate_private_key(SECP256R1()))
    (tmp_path / "noise.pem").write_text("noise")
    for path in (other, tmp_path / "noise.pem", tmp_path / "none.pem"):
        assert main(["sign", str(model), "--key", str(path)]) == 2
        assert path.name in capsys.readouterr().err
    for path in (other_public, tmp_path / "noise.pem", tmp_path / "none.pem"):
        with pytest.raises(SigningError, match=path.name):
            Verifier(path)
    assert not (model / SIGNATURE_NAME).exists()
