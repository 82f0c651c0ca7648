"""Write the files of `artgen anomaly`: heat maps, the fit and the table of scores."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.errors import OutputError, UsageError

if TYPE_CHECKING:
    from artgen.engine.anomaly.result import AnomalyResult

_OVERWRITE_HINT = "Choose another name, or add --overwrite."


class OutputFiles:
    """Store the paths of the files that the user requested, and write the files."""

    def __init__(
        self,
        paths_and_roots: Sequence[tuple[Path, Path]],
        heatmap: str | None,
        csv_file: str | None,
        fit_file: str | None,
        overwrite: bool,
        print_path: Callable[[Path], None],
    ) -> None:
        """Store the paths. Nothing is written yet.

        Args:
            paths_and_roots: each input image, and the folder that it was found in.
            heatmap: a file for one image, or a folder (ends with `/` or exists, or there are several images), or None.
            csv_file: the table of scores, or a folder, or None.
            fit_file: the statistics of the normal images, or a folder, or None.
            overwrite: existing files may be overwritten.
            print_path: prints the path of the fit if no images are scored.

        Raises:
            UsageError: the value of an option is empty.
        """
        from artgen.outputs import is_folder_name, path_of_file_option

        self._root_by_path = dict(paths_and_roots)
        self._heatmap_path, self._csv_path, self._fit_path = (
            path_of_file_option(value, default_name, option) if value is not None else None
            for value, default_name, option in (
                (heatmap, "", "--map"),
                (csv_file, "scores.csv", "--csv"),
                (fit_file, "fit.safetensors", "--save-fit"),
            )
        )
        self._overwrite = overwrite
        self._print_path = print_path
        self._has_several_images = len(paths_and_roots) > 1 or any(
            path.parent != root for path, root in paths_and_roots
        )
        self._is_heatmap_folder = heatmap is not None and is_folder_name(heatmap)

    @property
    def heatmap_location(self) -> Path | None:
        """Return the file or the folder of `--map`, or None."""
        return self._heatmap_path

    def check_writable(self, request: Any) -> None:
        """Check that all files can be written, and that the request provides their contents.

        Raises:
            UsageError: the input images are missing, `--save-fit` has no folder of normal images, or a suffix is not
                supported.
            OutputError: a file exists already.
        """
        from artgen.outputs import SUFFIX_FORMATS, find_stream, format_from_suffix

        if not self._root_by_path and not (self._fit_path and request.fit):
            raise UsageError(
                "Cannot run anomaly: an input image, or --fit with --save-fit, is missing.", "artgen anomaly image.png"
            )
        if self._fit_path is not None:
            self._check_fit_path(self._fit_path, request)
        if self._heatmap_path is not None and not self._is_heatmap_folder:
            if self._has_several_images and self._heatmap_path.suffix.lower() in SUFFIX_FORMATS:
                raise UsageError(
                    f"--map '{self._heatmap_path}' is one file, but several images are scored.", "Use --map maps/."
                )
            if not self._has_several_images:
                format_from_suffix(self._heatmap_path, "A heat map", "--map heat.png")
        heatmap_paths = [found for path in self._root_by_path if (found := self.heatmap_path(path))]
        if len(set(heatmap_paths)) < len(heatmap_paths):
            raise UsageError(
                "Cannot save the heat maps: two images have the same name.", "Run the command once for each folder."
            )
        for path in (self._csv_path, self._fit_path, *heatmap_paths):
            if path is None or find_stream(str(path)) is not None:
                continue
            if path.exists() and not self._overwrite:
                raise OutputError(f"'{path}' exists already.", _OVERWRITE_HINT)
            if path.is_dir():
                raise OutputError(f"Cannot write to '{path}': it is a folder.", "Use the name of a file.")

    def _check_fit_path(self, fit_path: Path, request: Any) -> None:
        if request.fit is None or not request.fit.is_dir():
            raise UsageError("Cannot use --save-fit without a folder of normal images.", "Add --fit normal/.")
        if fit_path.suffix != ".safetensors":
            raise UsageError(
                f"Cannot save the fit to '{fit_path}': the suffix must be .safetensors.",
                "--save-fit normal.safetensors",
            )

    def heatmap_path(self, path: Path) -> Path | None:
        """Return the path of the heat map of an image; None if no heat map was requested."""
        if self._heatmap_path is None:
            return None
        if not (self._is_heatmap_folder or self._has_several_images):
            return self._heatmap_path
        relative_path = path.relative_to(self._root_by_path[path])
        return self._heatmap_path / relative_path.with_suffix(".png")

    def write_heatmap(self, result: "AnomalyResult") -> None:
        """Write the image next to its heat map, if requested.

        Raises:
            OutputError: the file cannot be written.
        """
        path = self.heatmap_path(result.path)
        if path is None:
            return
        from artgen.engine.anomaly.heatmap import render_result
        from artgen.metadata.input_marks import find_marks
        from artgen.outputs import encode_without_metadata, format_from_suffix

        image_format = format_from_suffix(path, "A heat map", "--map heat.png")
        mark = find_marks(result.path).source_type
        self._write_file(path, encode_without_metadata(render_result(result), image_format, mark))

    def write_fit(self, data: bytes) -> None:
        """Write the statistics of the normal images, if requested.

        Raises:
            OutputError: the file cannot be written.
        """
        if self._fit_path is not None:
            self._write_file(self._fit_path, data)
            if not self._root_by_path:
                self._print_path(self._fit_path)

    def write_csv(self, results: "Sequence[AnomalyResult]") -> None:
        """Write the table of scores in the order of `results`, if requested.

        Raises:
            OutputError: the file cannot be written.
        """
        if self._csv_path is None:
            return
        from artgen.outputs import write_table

        header = ("rank", "file", "score", "p_value", "is_anomaly", "x", "y")
        rows = [_table_row(rank, result) for rank, result in enumerate(results, 1)]
        write_table(self._csv_path, header, rows, overwrite=self._overwrite, hint=_OVERWRITE_HINT)

    def _write_file(self, path: Path, data: bytes) -> None:
        from artgen.outputs import write_user_file

        write_user_file(path, data, overwrite=self._overwrite, hint=_OVERWRITE_HINT)


def _table_row(rank: int, result: "AnomalyResult") -> list[object]:
    verdict = "" if result.is_anomalous is None else str(result.is_anomalous).lower()
    p_value = "" if result.p_value is None else f"{result.p_value:.6g}"
    return [rank, str(result.path), f"{result.score:.6g}", p_value, verdict, *result.peak_xy]
