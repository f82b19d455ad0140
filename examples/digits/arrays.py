"""Writes the digits as the model takes them: python arrays.py FOLDER makes {calibration,evaluation}.npz there."""

import sys
from pathlib import Path

import numpy as np

from sloctl.cli._digits import upscale

HERE = Path(__file__).parent


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with np.load(HERE / "digits_calibration.npz") as file:
        np.savez(folder / "calibration.npz", image=upscale(file["images"]))
    with np.load(HERE / "digits_eval.npz") as file:
        np.savez(folder / "evaluation.npz", image=upscale(file["images"]), labels=file["labels"])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
