"""tiny_shakespeare: 1.1 million characters of plays; predict the next one."""

from typing import TYPE_CHECKING

from pydantic import Field

from trainers.datasets.declaration import Dataset, DatasetOptions, KnownFile, Loading, Remote, Task
from trainers.datasets.download import fetch_missing
from trainers.datasets.files import Fingerprint, missing_files, read_official, require

if TYPE_CHECKING:
    from trainers.datasets.symbols import LoadedSymbols

BYTES, SYMBOLS = 1_115_394, 65
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


class TinyShakespeareOptions(DatasetOptions):
    """`dataset_options` of tiny_shakespeare."""

    chunk_length: int = Field(
        default=50, ge=1, le=10_000, description="characters a training step, T: gradients go no further back"
    )
    shuffle: bool = Field(
        default=True,
        description="begin every epoch at another of the first chunk_length characters, by seed, so that chunk borders "
        "move; false: always at the first",
    )
    evaluation_length: int = Field(
        default=1_000, ge=2, le=100_000, description="validation and test run in pieces of this many characters"
    )


class TinyShakespeare(Dataset[TinyShakespeareOptions]):
    """The first 90 % of the text train, the next 5 % validate, the last 5 % test."""

    name = "tiny_shakespeare"
    title = "Tiny Shakespeare"
    summary = "1.1 MB of plays, 65 characters; predict the next character"
    kind = "next_symbol"
    source = "Karpathy (2015), https://github.com/karpathy/char-rnn"
    licence = "public domain"
    sizes = {"train": 1_003_854, "validation": 55_770, "test": 55_770}
    usual_network = {"kind": "recurrent"}
    folder = "tiny-shakespeare"
    files = (
        KnownFile(
            "input.txt",
            BYTES,
            "sha256",
            SHA256,
            Remote(
                ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",),
                BYTES,
                "sha256",
                SHA256,
            ),
        ),
    )
    Options = TinyShakespeareOptions

    @classmethod
    def task(cls, options: TinyShakespeareOptions) -> Task:
        return Task("next_symbol", (), SYMBOLS, symbols=SYMBOLS)

    @classmethod
    def read(cls, options: TinyShakespeareOptions, loading: Loading) -> "LoadedSymbols":
        from trainers.datasets.symbols import LoadedSymbols, encode

        folder = loading.data_dir / cls.folder
        if loading.download:
            fetch_missing(
                cls.title,
                folder,
                lambda: [file.remote for file in missing_files(folder, cls.files) if file.remote is not None],
                progress=loading.progress,
            )
        require(cls.title, folder, cls.files)
        content, record = read_official(folder, cls.files[0])
        alphabet, ids = encode(content, folder / cls.files[0].name)
        first, second = cls.sizes["train"], cls.sizes["train"] + cls.sizes["validation"]
        on_device = ids.to(loading.device)
        return LoadedSymbols(
            name=cls.name,
            task=cls.task(options),
            fingerprint=Fingerprint.of([record]),
            seed=loading.seed,
            alphabet=alphabet,
            train=on_device[:first],
            validation=on_device[first:second],
            test=on_device[second:],
            chunk_length=options.chunk_length,
            shuffle=options.shuffle,
            evaluation_length=options.evaluation_length,
        )
