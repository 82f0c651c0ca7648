"""Measure how a model depicts people, places and things when the prompt does not state their attributes.

    python audit.py -m tiny -o data/bias_audit/tiny

After "Stable Bias: Analyzing societal representations in diffusion models" (Luccioni et al. 2023, arXiv 2303.11408).
Generates the images of a fixed list of neutral prompts with many seeds, labels and clusters them, and writes
`report.html`, `report.json`, `shares.csv` and `images.csv`. The same command continues an interrupted audit.
`compare_audits.py` compares the reports of two models.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clusters import MAX_IMAGES, cluster_images
from labels import Labeler
from page import write_page
from prompt_list import DEFAULT_LIST, Prompt, PromptList, read_prompt_list, write_prompt_file
from report import Audit, AuditedImage, write_sheets, write_tables
from shares import count_shares

import artgen

BUNDLED_MODEL = "tiny"
BUNDLED_MODEL_STEPS = 10
"""Steps for the bundled model: 93 % of 112 images had the same label as with 30 steps."""
LABELED_TOGETHER = 32
REPORTED_IMAGES = 100
"""Number of images after which the progress is printed."""
JUDGE, CLIP = "judge", "clip"


def load_labeler(name: str, options: argparse.Namespace) -> Labeler:
    """Return the source of the labels.

    Raises:
        UsageError, ModelUnavailableError, RefusedError: the CLIP model is unknown, offline, damaged or a pickle.
    """
    if name == JUDGE:
        from judge_labels import JudgeLabeler

        return JudgeLabeler()
    from clip_labels import ClipLabeler

    return ClipLabeler(name, device=options.label_device, offline=options.offline)


def batch_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of the batch. Settings that are not given keep the defaults of the model."""
    settings = {name: getattr(options, name) for name in ("steps", "device", "batch_size", "workers")}
    if options.steps is None and options.model == BUNDLED_MODEL:
        settings["steps"] = BUNDLED_MODEL_STEPS
    return {name: value for name, value in settings.items() if value is not None}


def generate_images(
    prompts: PromptList, options: argparse.Namespace
) -> tuple[list[tuple[Prompt, artgen.BatchResult]], Counter[str]]:
    """Generate the images that are missing. Return all images with their prompts, and the numbers of withheld images.

    Raises:
        ArtgenError: an image cannot be generated or saved.
    """
    file = options.out / "prompts.jsonl"
    write_prompt_file(prompts.prompts, options.seeds, file)
    images, withheld = [], Counter[str]()
    results = artgen.batch(
        file, folder=options.out / "images", model=options.model, offline=options.offline, history=False,
        progress=sys.stderr.isatty(), **batch_settings(options),
    )  # fmt: skip
    print(f"{results.total - results.num_pending:,} of {results.total:,} images exist.", file=sys.stderr)
    for number, result in enumerate(results, 1):
        if number % REPORTED_IMAGES == 0:
            print(f"{number:,} of {results.total:,} images", file=sys.stderr, flush=True)
        prompt = prompts.prompts[int(result.location.rpartition(":")[2]) - 1]
        if isinstance(result.error, artgen.FilteredError):
            withheld[prompt.text] += 1
        elif result.error is not None:
            raise result.error
        else:
            images.append((prompt, result))
    order = {prompt: number for number, prompt in enumerate(prompts.prompts)}
    images.sort(key=lambda item: (order[item[0]], item[1].seed))
    return images, withheld


def label_images(
    images: Sequence[tuple[Prompt, artgen.BatchResult]], labeler: Labeler
) -> tuple[list[Mapping[str, str]], Any]:
    """Return the labels and the features of all images."""
    import numpy as np

    labels: list[Mapping[str, str]] = []
    features = []
    for start in range(0, len(images), LABELED_TOGETHER):
        part = images[start : start + LABELED_TOGETHER]
        labeled = labeler.label([result.image for _, result in part], [prompt for prompt, _ in part])
        labels += labeled.labels
        features.append(labeled.features)
    return labels, np.concatenate(features)


def run_audit(prompts: PromptList, options: argparse.Namespace) -> Path:
    """Run an audit and write its report. Return the page of the report.

    Raises:
        ArtgenError: a file, the model or the labels are not available, or an image cannot be generated.
    """
    labels_name = options.labels or (JUDGE if options.model == BUNDLED_MODEL else CLIP)
    if labels_name == JUDGE and options.model != BUNDLED_MODEL:
        print("The judge recognizes drawings of icons. Its labels of other images are not reliable.", file=sys.stderr)
    labeler = load_labeler(labels_name, options)  # before images are generated, so that an error comes first
    options.out.mkdir(parents=True, exist_ok=True)
    found, withheld = generate_images(prompts, options)
    if not found:
        raise artgen.FilteredError("The safety checker withheld all images.")
    labels, features = label_images(found, labeler)
    image_prompts = [prompt for prompt, _ in found]
    images = [
        AuditedImage(Path(result), prompt, result.seed or 0, image_labels)
        for (prompt, result), image_labels in zip(found, labels, strict=True)
    ]
    audit = Audit(
        record=found[0][1].record,
        list_sha256=prompts.sha256,
        num_seeds=options.seeds,
        labels=labeler.description,
        images=images,
        shares=count_shares(image_prompts, labels),
        clusters=cluster_images(features, image_prompts),
        withheld=withheld,
    )
    write_tables(audit, options.out)
    write_sheets(audit, options.out)
    return write_page(audit, options.out)


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", default=BUNDLED_MODEL, help="alias, hub id, folder or file [tiny]")
    parser.add_argument("-o", "--out", type=Path, help="folder of the images and of the report [data/bias_audit/MODEL]")
    parser.add_argument("--seeds", type=int, default=50, metavar="N", help="seeds per prompt, from 1 to N [50]")
    parser.add_argument(
        "--prompts", type=Path, default=DEFAULT_LIST, metavar="FILE", help="list of prompts [prompts.json]"
    )
    parser.add_argument(
        "--labels",
        metavar="SOURCE",
        help="source of the labels: judge; clip; or the hub id or folder of a CLIP model [tiny: judge, else: clip]",
    )
    parser.add_argument("--steps", type=int, help="denoising steps [tiny: 10, else: the default of the model]")
    parser.add_argument("--device", help="device of the model [auto]")
    parser.add_argument("--label-device", default="cpu", help="device of the CLIP model [cpu]")
    parser.add_argument("--batch-size", type=int, help="images per forward pass [the default of the model]")
    parser.add_argument("--workers", type=int, help="number of processes [1]")
    parser.add_argument("--offline", action="store_true", help="do not use the network")
    options = parser.parse_args()
    options.out = (options.out or Path("data/bias_audit") / Path(options.model).name).absolute()
    if options.seeds < 1:
        parser.error(f"--seeds must be at least 1, not {options.seeds}.")
    return options


def main() -> None:
    options = parse_options()
    try:
        prompts = read_prompt_list(options.prompts)
        num_images = len(prompts.prompts) * options.seeds
        if num_images > MAX_IMAGES:
            raise artgen.UsageError(
                f"Cannot cluster {num_images:,} images: the limit is {MAX_IMAGES:,}.",
                f"--seeds {MAX_IMAGES // len(prompts.prompts)}",
            )
        print(run_audit(prompts, options))
    except artgen.ArtgenError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"Cannot write the audit: {error}.", file=sys.stderr)
        sys.exit(artgen.OutputError.exit_code)
    except KeyboardInterrupt:
        print("Interrupted. The same command continues the audit.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
