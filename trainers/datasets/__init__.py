"""The data that networks are trained on: what each set is, its files, and batches that lie on the device.

    declaration.py    what a data set says of itself (torch-free), its options, its known files
    files.py          files on disk: found, read whole, compared with their official sums
    download.py       files from the network: mirrors, resume, checksum, lock
    idx.py  cifar_binary.py  digits_csv.py  npz.py                  one reader a format (numpy alone)
    loaded.py         `Data` (what the training loop drives) and `LoadedDataset`
    splits.py  indexed.py  augmentation.py  image_tables.py         sets of labelled samples
    symbols.py  bit_sequences.py  digit_streams.py                  text and generated streams

The other modules declare one family of data sets each. Importing them does not import torch; their `load` does.
"""
