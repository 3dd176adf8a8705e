"""A user's own arrays: trained on when they are sound, refused with the array's name and the reason when not."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainers.datasets.arrays import Arrays, ArraysOptions
from trainers.datasets.npz import MAX_BYTES, read_arrays
from trainers.errors import DatasetUnavailable, SpecError

SOUND: dict[str, Any] = {
    "x_train": np.arange(80, dtype=np.float32).reshape(20, 4),
    "y_train": np.arange(20) % 3,
    "x_test": np.ones((6, 4), np.float32),
    "y_test": np.arange(6) % 3,
}


def saved(folder: Path, **changes: Any) -> str:
    path = folder / "mine.npz"
    np.savez(path, **{name: value for name, value in (SOUND | changes).items() if value is not None})
    return str(path)


def load(path: str, **options: Any) -> Any:
    return Arrays.load(ArraysOptions(path=path, **options), seed=0)


def test_sound_arrays_are_trained_on(tmp_path: Path) -> None:
    loaded = load(saved(tmp_path), validation_size=4, shuffle=False)
    assert loaded.sizes == {"train": 16, "validation": 4, "test": 6}
    assert (loaded.task.kind, loaded.task.input_shape, loaded.task.outputs) == ("classification", (4,), 3)
    batch = next(loaded.data(batch_size=16).batches(0))
    assert torch.equal(batch.inputs, torch.from_numpy(SOUND["x_train"])[batch.indices])
    assert torch.equal(batch.targets, torch.from_numpy(SOUND["y_train"])[batch.indices])
    assert not loaded.official


def test_the_stored_arrays_are_not_changed_by_normalising(tmp_path: Path) -> None:
    loaded = load(saved(tmp_path), normalize="standard")
    before = loaded.train.inputs.clone()
    list(loaded.data(batch_size=5).batches(0))
    assert torch.equal(loaded.train.inputs, before)


def test_standard_features_have_no_mean_and_deviation_one_each(tmp_path: Path) -> None:
    constant = SOUND["x_train"].copy()
    constant[:, 2] = 7
    loaded = load(saved(tmp_path, x_train=constant), normalize="standard")
    inputs = next(loaded.data(batch_size=100).batches(0)).inputs
    torch.testing.assert_close(inputs.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs.std(0, correction=0), torch.tensor([1.0, 1, 0, 1]), atol=1e-5, rtol=0)


def test_without_a_test_set_one_is_drawn_the_same_for_every_seed(tmp_path: Path) -> None:
    path = saved(tmp_path, x_test=None, y_test=None)
    one = Arrays.load(ArraysOptions(path=path, test_fraction=0.25), seed=1)
    other = Arrays.load(ArraysOptions(path=path, test_fraction=0.25), seed=2)
    assert len(one.test) == 5
    assert torch.equal(one.test.inputs, other.test.inputs)
    rows = torch.cat([one.test.inputs, one.train.inputs])
    assert sorted(rows[:, 0].tolist()) == SOUND["x_train"][:, 0].tolist()


def test_bytes_are_pixels_and_grey_images_get_a_channel(tmp_path: Path) -> None:
    images = np.full((20, 5, 6), 255, np.uint8)
    loaded = load(saved(tmp_path, x_train=images, x_test=images[:6]), crop_padding=1)
    assert loaded.task.input_shape == (1, 5, 6)
    assert next(loaded.data(batch_size=4).batches(0)).inputs.max() == 1


def test_sequences_keep_their_time_axis(tmp_path: Path) -> None:
    waves = np.zeros((20, 7), np.float32)
    loaded = load(saved(tmp_path, x_train=waves, x_test=waves[:6]), task="sequence_classification")
    assert (loaded.task.time_steps, loaded.task.input_shape) == (7, (1,))
    assert next(loaded.data(batch_size=4).batches(0)).inputs.shape == (4, 7, 1)


def test_values_can_be_predicted(tmp_path: Path) -> None:
    path = saved(tmp_path, y_train=np.linspace(0, 1, 20), y_test=np.linspace(0, 1, 6))
    loaded = load(path, task="regression")
    assert (loaded.task.kind, loaded.task.outputs) == ("regression", 1)
    batch = next(loaded.data(batch_size=4).batches(0))
    assert batch.targets.shape == (4, 1)
    assert batch.targets.dtype == torch.float32


def test_the_same_numbers_have_the_same_sum_however_they_are_packed(tmp_path: Path) -> None:
    plain = load(saved(tmp_path)).sha256
    np.savez_compressed(tmp_path / "packed.npz", **SOUND)
    assert load(str(tmp_path / "packed.npz")).sha256 == plain
    assert load(saved(tmp_path, y_test=np.zeros(6, int))).sha256 != plain


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"x_train": None}, "lacks x_train"),
        ({"y_test": None}, "lacks y_test"),
        ({"labels": np.zeros(3)}, r"holds 'labels\.npy'; it may hold x_train"),
        ({"x_train": np.zeros((20, 4), np.int64)}, "x_train has type int64; uint8"),
        ({"x_train": np.zeros((20, 4), complex)}, "x_train has type complex128"),
        ({"x_train": np.zeros((20, 4), bool)}, "x_train has type bool"),
        ({"x_train": np.full((20, 4), "a")}, "x_train has type <U1"),
        ({"x_train": np.array([[1, np.nan, 0, 0]] * 20)}, r"x_train holds nan at \(0, 1\)"),
        ({"x_test": np.array([[1, 0, -np.inf, 0]] * 6, np.float32)}, r"x_test holds -inf at \(0, 2\)"),
        ({"x_train": np.array([[1e300, 0, 0, 0]] * 20)}, "x_train as float32 holds inf"),
        ({"x_train": np.zeros((0, 4), np.float32)}, "x_train is empty"),
        ({"x_train": np.zeros((20, 0), np.float32)}, "x_train is empty"),
        ({"x_train": np.float32(3)}, "x_train is empty"),
        ({"x_train": np.zeros(20, np.float32)}, r"x_train has shape \(20,\)"),
        ({"x_train": np.zeros((20, 1, 2, 2, 2), np.float32)}, r"x_train has shape \(20, 1, 2, 2, 2\)"),
        ({"x_train": np.zeros((20, 8, 8, 3), np.uint8)}, "channels last"),
        ({"x_test": np.zeros((6, 5), np.float32)}, r"x_test has samples of float32 \(5,\), x_train of float32 \(4,\)"),
        ({"x_test": np.zeros((6, 4), np.uint8)}, "x_test has samples of uint8"),
        ({"y_train": np.arange(19) % 3}, r"y_train has shape \(19,\); one label for each of 20"),
        ({"y_train": np.zeros((20, 3), int)}, r"y_train has shape \(20, 3\)"),
        ({"y_train": np.zeros(20)}, "y_train has type float64; class labels are whole numbers"),
        ({"y_train": np.full(20, -1)}, "y_train holds label -1; 0 and up"),
        (
            {"x_train": SOUND["x_train"][:2], "y_train": SOUND["y_train"][:2]},
            "x_train holds 2 samples; 3 are the least",
        ),
    ],
)
def test_unsound_arrays_are_refused_by_name(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(DatasetUnavailable, match=reason):
        load(saved(tmp_path, **changes))


def test_a_label_beyond_the_stated_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetUnavailable, match=r"y_train holds label 2; 0\.\.1 is allowed"):
        load(saved(tmp_path), classes=2)
    assert load(saved(tmp_path), classes=9).task.outputs == 9


def test_values_must_be_finite_too(tmp_path: Path) -> None:
    with pytest.raises(DatasetUnavailable, match="y_train holds nan"):
        load(saved(tmp_path, y_train=np.full(20, np.nan)), task="regression")


def test_crops_of_what_is_no_image_are_refused_at_their_field(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="needs images") as refused:
        load(saved(tmp_path), flip=True)
    assert refused.value.errors[0].pointer == "#/dataset_options/flip"


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_pickles_are_refused_and_never_opened(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    objects = np.empty(20, object)
    objects[:] = [Trap(mark) for _ in range(20)]
    path = tmp_path / "mine.npz"
    np.savez(path, **(SOUND | {"x_train": objects}), allow_pickle=True)
    with pytest.raises(DatasetUnavailable, match="Python objects, which are never loaded"):
        load(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", pickle.dumps(Trap(mark)))
    with pytest.raises(DatasetUnavailable, match="is no NumPy array"):
        load(str(path))
    assert not mark.exists()


def test_an_array_that_claims_more_than_is_allowed_is_refused_unread(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (MAX_BYTES, 4)})
    path = tmp_path / "mine.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", header.getvalue())
    with pytest.raises(DatasetUnavailable, match="at most 4,294,967,296 are allowed"):
        read_arrays(path)


def test_a_truncated_array_is_refused(tmp_path: Path) -> None:
    whole = io.BytesIO()
    np.save(whole, SOUND["x_train"])
    saved(tmp_path)
    path = tmp_path / "mine.npz"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["x_train.npy"] = whole.getvalue()[:-10]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(DatasetUnavailable, match="is broken"):
        load(str(path))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", b"x,y\n1,2\n"])
def test_a_file_that_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    with pytest.raises(DatasetUnavailable, match=r"cannot be read as an \.npz file"):
        load(str(path))


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetUnavailable, match="There is no file"):
        load(str(tmp_path / "none.npz"))
