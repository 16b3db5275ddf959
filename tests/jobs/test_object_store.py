"""Inputs and outputs in a bucket: the same bytes as in folders, and a part is there whole or not at all.

The store is Moto's server, in an environment of its own, which is made once: make jobs-test.
"""

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.environments import environment
from benchmarks.servers import free_port
from jobs.storage import Folder, folder
from tests.jobs.command import Command, bytes_of
from tests.toys import directories

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URI of a bucket in a store that speaks S3."""
    python, port = environment("moto", Path(__file__).with_name("moto.txt")), free_port()
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen([python, "-m", "moto.server", "-p", str(port)], stderr=subprocess.DEVNULL)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", address)
            patch.setenv("AWS_ACCESS_KEY_ID", "key")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            _make_bucket(f"{address}/amostra")
            yield "s3://amostra"
    finally:
        server.kill()
        server.wait()


def _make_bucket(address: str) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(address, method="PUT")).close()
            return
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def copied(output: Folder, to: Path) -> Path:
    """A folder of the store as one of this machine."""
    output.fs.get(output.path, str(to), recursive=True)
    return to


def test_a_job_from_a_bucket_to_a_bucket(command: Command, bucket: str) -> None:
    np.save(command.folder / "x.npy", np.random.default_rng(0).normal(size=(90, 3)))
    (command.folder / "x.csv").write_text("a,b,c\n" + "1,2,3\n" * 50)
    asked = ("score", "--model", directories.TABLE, "--shard-rows", 40)
    for kind in ("npy", "csv"):
        folder(f"{bucket}/input").put(f"x.{kind}", (command.folder / f"x.{kind}").read_bytes())
        local, remote = command.folder / kind, f"{bucket}/{kind}"
        assert command(*asked, "--input", command.folder / f"x.{kind}", output=local) == 0
        for _ in range(2):
            assert command(*asked, "--input", f"{bucket}/input/*.{kind}", output=remote) == 0
        found, expected = bytes_of(copied(folder(remote), command.folder / f"{kind}-copy")), bytes_of(local)
        for name in ("_job.json",):  # it knows when its input was changed last
            found.pop(name)
            expected.pop(name)
        assert found == expected
    drawn = f"{bucket}/drawn"
    assert command("generate", "--model", directories.GENERATOR, "--rows", 9, "--shard-rows", 4, output=drawn) == 0
    assert command("score", "--model", directories.DENSITY, "--input", drawn, output=f"{bucket}/scored") == 0
    assert len(command.table(copied(folder(f"{bucket}/scored"), command.folder / "scored"))) == 9


def test_what_failed_half_way_is_not_there(bucket: str) -> None:
    output = folder(f"{bucket}/out")

    def write_half() -> None:
        with output.writing("part") as file:
            file.write(b"half")
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        write_half()
    assert output.names() == set()
    output.put("part", b"whole")
    assert output.names() == {"part"}
    assert output.read("part") == b"whole"
