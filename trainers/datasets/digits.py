"""digits: 1,797 images of 8 x 8 pixels that come with scikit-learn's wheel; no download, trained in a second."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from trainers.datasets.declaration import Dataset, Loading, ReconstructibleOptions, Task
from trainers.datasets.digits_csv import BRIGHTEST, CLASSES, SIDE, digits_path, parse_csv, read_csv
from trainers.datasets.files import FileRecord, Fingerprint

if TYPE_CHECKING:
    from trainers.datasets.indexed import LoadedSamples

SHA256 = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"


class DigitsOptions(ReconstructibleOptions):
    """`dataset_options` of digits."""

    validation_size: int | None = Field(
        default=180, ge=1, le=1_400, description="samples taken from the training set, by seed; null: a tenth of it"
    )


class Digits(Dataset[DigitsOptions]):
    """Every fifth image of each class, by a fixed draw, is the test set; there is no published one."""

    name = "digits"
    title = "Digits"
    summary = "1,797 handwritten digits of 8 x 8 pixels; small enough for tests and first tries, needs no download"
    kind = "classification"
    source = "Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI (1998), as in scikit-learn"
    licence = "CC BY 4.0"
    sizes = {"train": 1437, "test": 360}
    usual_network = {"kind": "mlp"}
    Options = DigitsOptions

    @classmethod
    def task(cls, options: DigitsOptions) -> Task:
        return options.image_task((1, SIDE, SIDE), CLASSES)

    @classmethod
    def read(cls, options: DigitsOptions, loading: Loading) -> "LoadedSamples":
        import hashlib

        import torch

        from trainers.datasets.image_tables import Tables, load_tables
        from trainers.datasets.splits import every_nth_of_each_class

        path = digits_path()
        content = read_csv(path)
        images, labels = parse_csv(content, path)
        sha256 = hashlib.sha256(content).hexdigest()
        fingerprint = Fingerprint.of(
            [FileRecord("digits.csv", sha256, official=sha256 == SHA256)],
            unofficial=f"{path.name} is not the file that scikit-learn 1.5 to 1.7 carry: its SHA-256 is {sha256}.",
        )
        train, test = every_nth_of_each_class(torch.from_numpy(labels), 5, seed=0, name="digits/test")
        classes: Any = labels.astype("int64")
        return load_tables(
            cls.name,
            Tables(images[train], classes[train], images[test], classes[test]),
            cls.task(options),
            options,
            fingerprint,
            loading,
            brightest=BRIGHTEST,
        )
