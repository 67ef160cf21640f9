"""The files that scores of patients are written to."""

from collections.abc import Sequence
from pathlib import Path

from ..results_folder import ResultsFolder, machine
from ..sources import Source
from .data_files import per_patient_csv, volume_metrics_json
from .report import volume_report
from .rows import VolumeRow
from .tables import latex_volume_tables, markdown_volume_tables

FILES = ("report.html", "metrics.json", "per_patient.csv", "table.md", "table.tex")


def volume_folder(out: Path, sources: Sequence[Source], save_maps: bool = False) -> ResultsFolder:
    """The context of the folder, see `ResultsFolder`."""
    return ResultsFolder(out, sources, save_maps, files=FILES)


def write_volume_tables(folder: ResultsFolder, rows: Sequence[VolumeRow]) -> None:
    """Write everything but the maps."""
    folder.write(
        [
            volume_report(rows, machine()),
            volume_metrics_json(rows),
            per_patient_csv(rows),
            markdown_volume_tables(rows),
            latex_volume_tables(rows),
        ]
    )
