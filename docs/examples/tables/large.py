"""Peak memory of `probvae-train` on tables of different lengths: docs/data.md.

    python docs/examples/tables/large.py                   # a million and ten million rows, Parquet
    python docs/examples/tables/large.py --format csv --folder FOLDER   # keeps the files in FOLDER
    python docs/examples/tables/large.py --rows 2000 --quick

A table has 20 columns drawn with seed 0, a million rows at a time: normal, lognormal and heavy-tailed
numbers, counts, few whole numbers, booleans and words; three columns have 2% empty cells. The peak is the
largest resident memory of the process, files mapped into it among this.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd

PART = 1_000_000  # rows that are drawn at a time, and in a group of rows of a Parquet file

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument(
    "--rows", type=int, nargs="+", default=[1_000_000, 10_000_000], help="Numbers of rows, one table each."
)
parser.add_argument("--format", choices=["parquet", "csv"], default="parquet", help="Format of the files.")
parser.add_argument("--folder", type=pathlib.Path, help="Folder to keep the files in; else a temporary one.")
parser.add_argument("--epochs", type=int, default=1, help="Epochs of the training.")
parser.add_argument("--batch-size", type=int, default=10_000, help="Rows of a step.")
parser.add_argument("--quick", action="store_true", help="Batches of 500 rows, for a check that it runs.")


def parts(rows: int) -> Iterator[pd.DataFrame]:
    """Draw a table, `PART` rows at a time."""
    rng = np.random.default_rng(0)
    for start in range(0, rows, PART):
        n = min(PART, rows - start)
        factor = rng.normal(size=n)
        table: dict[str, np.ndarray] = {f"normal{i}": factor + rng.normal(size=n) for i in range(6)}
        table |= {f"price{i}": np.exp(factor + rng.normal(size=n)).round(2) + 0.01 for i in range(3)}
        table |= {f"tailed{i}": rng.standard_t(3, n) for i in range(2)}
        table |= {f"count{i}": rng.poisson(np.exp(0.5 * factor + i)) for i in range(3)}
        table |= {f"grade{i}": rng.integers(0, 5 + i, n) for i in range(2)}
        table |= {"member": factor > rng.normal(size=n)}
        words = np.array(["north", "east", "south", "west", "centre", "abroad"])
        table |= {f"place{i}": words[rng.integers(0, 4 + i, n)] for i in range(3)}
        frame = pd.DataFrame(table)
        for name in ("normal0", "price0", "place0"):
            frame.loc[rng.random(n) < 0.02, name] = None
        yield frame


def write(path: pathlib.Path, rows: int) -> None:
    """Write a table part by part."""
    if path.suffix == ".csv":
        for i, frame in enumerate(parts(rows)):
            frame.to_csv(path, index=False, header=not i, mode="a" if i else "w", float_format="%.6g")
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for frame in parts(rows):
        table = pa.Table.from_pandas(frame, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def train(path: pathlib.Path, output: pathlib.Path, options: argparse.Namespace) -> tuple[float, float]:
    """Train on a file; return the seconds, and the largest resident memory in 10^6 bytes."""
    batch = 500 if options.quick else options.batch_size
    command = [sys.executable, "-m", "probvae.cli.train", "--data", str(path), "--missing"]
    command += ["--epochs", str(options.epochs), "--batch-size", str(batch), "--output", str(output)]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed with status {os.waitstatus_to_exitcode(status)}.")
    unit = 1 if sys.platform == "darwin" else 1024
    return time.monotonic() - started, usage.ru_maxrss * unit / 1e6


def main() -> None:
    """Write, train and print a line for each number of rows."""
    options = parser.parse_args()
    print(
        "| rows | file, MB | reading and training, s | peak memory, MB |\n|---:|---:|---:|---:|", flush=True
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for rows in options.rows:
            path = folder / f"rows{rows}.{options.format}"
            if not path.exists():
                write(path, rows)
            seconds, peak = train(path, pathlib.Path(temporary) / f"run{rows}", options)
            size = path.stat().st_size / 1e6
            print(f"| {rows:,} | {size:,.0f} | {seconds:,.0f} | {peak:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
