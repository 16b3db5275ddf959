"""Loading: a sound directory becomes a model that works; a broken one is refused with expected and found."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from contract import Capability
from service import loading
from service.engine.batch import Batch, Lane, Piece, Work
from service.engine.job import RowCall
from service.engine.rows import RowRunner
from service.engine.sequence_parts import SequenceParts
from service.engine.sizes import BUCKETS
from service.loading import load_model
from service.sessions import ModelRefused
from service.settings import Settings
from tests.toys import directories
from tests.toys.broken import BROKEN, edit_graph, edit_manifest, rehash

LANE = Lane("model", "shape", 64)
SETTINGS = Settings(provider="cpu", text_slots=3)


def load(directory: Path):
    return load_model(directory, SETTINGS, "cpu")


def test_every_toy_loads_with_its_tasks(store: Path) -> None:
    tasks = {d.parent.name: load(d).tasks for d in store.glob("*/*")}
    assert tasks == {
        directories.GENERATOR: ("generate",),
        directories.DENOISER: ("denoise", "restore"),
        directories.DENSITY: ("score",),
        directories.TABLE: ("embed", "score"),
        directories.DETECTOR: ("score",),
        directories.SENSORS: ("score",),
        directories.SAMPLER: ("sample", "embed"),
        directories.WRITER: ("score", "complete"),
        directories.EMBEDDER: ("embed",),
        directories.PIXELS: ("generate", "edit"),
        directories.BIGRAM: ("complete",),
        directories.TEXT_EMBEDDER: ("embed",),
        directories.DIFFUSION: ("generate", "denoise", "edit"),
        directories.RESTORER: ("restore",),
        directories.INPAINTER: ("edit", "restore"),
        directories.COLOURIST: ("restore",),
    }


def test_what_is_loaded_is_what_the_directory_holds(store: Path) -> None:
    model = load(store / directories.WRITER / "1")
    assert (model.id, model.version, model.manifest.family) == (directories.WRITER, "1", "toy")
    assert set(model.providers.values()) == {"CPUExecutionProvider"}
    assert model.tokenizer is not None
    assert model.tokenizer.encode("To be").ids == [directories.CHARACTERS.index(c) for c in "To be"]
    assert model.unknown_token == len(directories.CHARACTERS)
    assert model.calibration is not None
    assert model.calibration.shape == (1, 199)
    assert 0 < model.load_seconds < 60
    assert model.sheet is None
    assert load(store / directories.EMBEDDER / "1").sheet == (store / directories.EMBEDDER / "1/sheet.png").read_bytes()
    runner = model.runners[Capability.NEXT_TOKEN]
    assert isinstance(runner, SequenceParts)
    assert (runner.slots, runner.context) == (3, directories.CONTEXT)


class TestParts:
    @staticmethod
    def slots(directory: Path, slots: int, workers: int) -> list[int]:
        """Of each part of the writer's sequences."""
        settings = SETTINGS.model_copy(update={"text_slots": slots, "workers": workers})
        runner = load_model(directory, settings, "cpu").runners[Capability.NEXT_TOKEN]
        assert isinstance(runner, SequenceParts)
        return [part.slots for part in runner.parts]

    @pytest.fixture
    def exact(self, store: Path, tmp_path: Path) -> Path:
        """A writer whose rows have the same bits in any batch."""
        directory = shutil.copytree(store / directories.WRITER / "1", tmp_path / directories.WRITER / "1")
        sound = {"max_abs_diff": 0.0, "tolerance": 0.0, "batch_sizes": [2, 3, 8]}
        edit_manifest(directory, lambda m: m["capabilities"]["next_token"].update(batch_invariance=sound))
        return directory

    @pytest.mark.parametrize(
        ("slots", "workers", "expected"),
        [(16, 2, [8, 8]), (17, 2, [8, 9]), (16, 1, [16]), (15, 2, [15]), (16, 8, [8, 8]), (24, 8, [8, 8, 8])],
    )
    def test_of_eight_slots_or_more(self, exact: Path, slots: int, workers: int, expected: list[int]) -> None:
        assert self.slots(exact, slots, workers) == expected

    def test_a_large_graph_has_one(self, exact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each would read all of its weights."""
        size, found = (exact / "next_token.onnx").stat().st_size, []
        for most in (size, size - 1):
            monkeypatch.setattr(loading, "_PART_BYTES", most)
            found.append(self.slots(exact, 16, 2))
        assert found == [[8, 8], [16]]

    def test_a_graph_whose_rows_depend_on_their_batch_has_one(self, store: Path) -> None:
        assert self.slots(store / directories.WRITER / "1", 16, 2) == [16]


class TestKeysAndValues:
    @staticmethod
    def runner(directory: Path, megabytes: int, slots: int = 100_000) -> SequenceParts:
        settings = SETTINGS.model_copy(update={"text_slots": slots, "text_cache_mb": megabytes})
        runner = load_model(directory, settings, "cpu").runners[Capability.NEXT_TOKEN]
        assert isinstance(runner, SequenceParts)
        return runner

    @pytest.mark.parametrize("megabytes", [1, 2])
    def test_leave_room_for_so_many_sequences(self, store: Path, megabytes: int) -> None:
        runner = self.runner(store / directories.WRITER / "1", megabytes)
        each = runner.bytes // runner.slots
        assert runner.bytes <= megabytes * 2**20 < runner.bytes + each

    def test_that_fit_are_of_as_many_as_were_asked_for(self, store: Path) -> None:
        assert self.runner(store / directories.WRITER / "1", 1, slots=3).slots == 3

    def test_of_one_sequence_that_do_not_fit_are_refused(self, tmp_path: Path) -> None:
        directory = directories.write_writer(tmp_path)
        edit_manifest(directory, lambda m: m["text"].update(context=2**20))
        with pytest.raises(ModelRefused, match=r"within AMOSTRA_TEXT_CACHE_MB = 1 MB, found \d+\.\d MB: allow more"):
            self.runner(directory, 1)


def test_every_load_has_a_key_of_its_own(store: Path) -> None:
    directory = store / directories.GENERATOR / "1"
    assert load(directory).key != load(directory).key


def test_rows_that_may_depend_on_their_batch_run_alone(store: Path) -> None:
    most = {}
    for name in (directories.GENERATOR, directories.DENOISER):
        (runner,) = load(store / name / "1").runners.values()
        assert isinstance(runner, RowRunner)
        most[name] = runner.max_rows
    assert most == {directories.GENERATOR: 1, directories.DENOISER: BUCKETS[-1]}


def test_a_row_is_never_run_alone_where_that_alone_changes_it(tmp_path: Path) -> None:
    directory = directories.write_denoiser(tmp_path)
    sound = {"max_abs_diff": 0.0, "tolerance": 0.0, "batch_sizes": [2, 3, 8]}
    edit_manifest(directory, lambda m: m["capabilities"]["reconstruct"].update(batch_invariance=sound))
    (runner,) = load(directory).runners.values()
    work = Work("a", RowCall(Capability.RECONSTRUCT, {"x": np.zeros((1, 1, 4, 4)), "sigma": np.zeros(1)}), LANE)
    _, padding = runner.run(Batch(LANE, (Piece(work, 0, 1),)))
    assert padding == 1


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_directory_is_refused_with_expected_and_found(tmp_path: Path, case: str) -> None:
    breakage = BROKEN[case]
    directory = breakage.write(tmp_path)
    load(directory)
    breakage.spoil(directory)
    with pytest.raises(ModelRefused) as caught:
        load(directory)
    for part in breakage.says:
        assert part in str(caught.value)


def test_no_pickle_is_ever_loaded(tmp_path: Path) -> None:
    """A pickle that would make a file if it were loaded."""
    witness = tmp_path / "witness"

    class Trap:
        def __reduce__(self):
            return Path.touch, (witness,)

    directory = directories.write_density(tmp_path)
    with (directory / "calibration.npy").open("wb") as stream:
        np.save(stream, np.array([Trap()], object), allow_pickle=True)
    rehash(directory)
    with pytest.raises(ModelRefused):
        load(directory)
    assert not witness.exists()


def externalise(directory: Path, location: str = "weights.bin", listed: bool = True) -> None:
    """Move the decoder's largest weight into a file of its own."""

    def change(proto: onnx.ModelProto) -> None:
        weight = next(w for w in proto.graph.initializer if list(w.dims) == [4, 64])
        (directory / location).write_bytes(numpy_helper.to_array(weight).tobytes())
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        entry = weight.external_data.add()
        entry.key, entry.value = "location", location

    edit_graph(directory, "decode.onnx", change)
    if listed:
        ref = directories.reference(directory, location).model_dump()
        edit_manifest(directory, lambda m: m["capabilities"]["decode"].update(external_data=[ref]))


class TestExternalData:
    def test_in_the_directory_and_in_the_manifest_is_loaded(self, tmp_path: Path) -> None:
        directory = directories.write_generator(tmp_path)
        feed = {"z": np.ones((1, 4), np.float32), "label": np.zeros(1, np.int64)}
        (before,) = load(directory).runners[Capability.DECODE]._session.run(None, feed)
        externalise(directory)
        (after,) = load(directory).runners[Capability.DECODE]._session.run(None, feed)
        assert np.array_equal(before, after)

    def test_that_the_manifest_does_not_list_is_refused(self, tmp_path: Path) -> None:
        directory = directories.write_generator(tmp_path)
        externalise(directory, listed=False)
        with pytest.raises(ModelRefused, match=r"external_data \[\], found 'weights.bin'"):
            load(directory)

    def test_that_was_changed_is_refused(self, tmp_path: Path) -> None:
        directory = directories.write_generator(tmp_path)
        externalise(directory)
        (directory / "weights.bin").write_bytes(bytes(4 * 4 * 64))
        with pytest.raises(ModelRefused, match=r"weights.bin: expected sha256"):
            load(directory)

    def test_that_is_a_link_out_of_the_directory_is_refused(self, tmp_path: Path) -> None:
        directory = directories.write_generator(tmp_path)
        externalise(directory)
        shutil.move(directory / "weights.bin", tmp_path / "weights.bin")
        (directory / "weights.bin").symlink_to(tmp_path / "weights.bin")
        with pytest.raises(ModelRefused, match="found a link out of it"):
            load(directory)

    @pytest.mark.parametrize("where", ["sparse", "constant", "branch", "function"])
    def test_outside_is_refused_wherever_the_graph_hides_it(self, tmp_path: Path, where: str) -> None:
        directory = directories.write_generator(tmp_path)
        secret = tmp_path / "secret.bin"
        secret.write_bytes(np.ones(4, np.float32).tobytes())

        tensor = TensorProto(name="hidden", data_type=TensorProto.FLOAT, dims=[4])
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", str(secret)
        constant = helper.make_node("Constant", [], ["hidden"])
        constant.attribute.append(helper.make_attribute("value", TensorProto(data_type=1, dims=[4])))
        constant.attribute[0].t.CopyFrom(tensor)

        def change(proto: onnx.ModelProto) -> None:
            graph = proto.graph
            if where == "sparse":
                indices = numpy_helper.from_array(np.arange(4), "hidden_indices")
                graph.sparse_initializer.append(onnx.SparseTensorProto(values=tensor, indices=indices, dims=[8]))
            elif where == "constant":
                graph.node.append(constant)
            elif where == "branch":
                shape = helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [4])
                branch = helper.make_graph([constant], "branch", [], [shape])
                graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
                graph.node.append(helper.make_node("If", ["yes"], ["out"], then_branch=branch, else_branch=branch))
            else:
                opsets = [helper.make_opsetid("", 18)]
                function = helper.make_function("local", "Hide", [], ["hidden"], [constant], opsets)
                proto.functions.append(function)
                proto.opset_import.append(helper.make_opsetid("local", 1))
                graph.node.append(helper.make_node("Hide", [], ["out"], domain="local"))

        edit_graph(directory, "decode.onnx", change)
        with pytest.raises(ModelRefused, match="expected the data of"):
            load(directory)


def test_an_operator_of_ones_own_cannot_hide_in_a_function(tmp_path: Path) -> None:
    directory = directories.write_generator(tmp_path)

    def change(proto: onnx.ModelProto) -> None:
        inner = helper.make_node("Steal", [], ["hidden"], domain="evil.corp")
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("evil.corp", 1)]
        proto.functions.append(helper.make_function("local", "Hide", [], ["hidden"], [inner], opsets))
        proto.opset_import.append(helper.make_opsetid("local", 1))
        proto.graph.node.append(helper.make_node("Hide", [], ["out"], domain="local"))

    edit_graph(directory, "decode.onnx", change)
    with pytest.raises(ModelRefused, match=r"expected operators of .*found \['evil.corp'\]"):
        load(directory)
