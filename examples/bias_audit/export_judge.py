"""Convert the concept classifier of `examples/train_tiny` to fp16 safetensors, and measure its accuracy on renders.

    python export_judge.py --work data/train_tiny --data data/train_tiny/raw

`--work` is the folder of a finished `concept_classifier.py`. Writes `model.safetensors` and `provenance.json` to
`--out`. The script fails if a label of the fp16 weights differs from the label of the fp32 weights.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from judge_labels import JUDGE_FOLDER, MAN_OR_NEUTRAL, NO_PERSON, WOMAN, JudgeLabeler, load_judge, person_label
from PIL import Image
from prompt_list import Prompt
from safetensors.torch import save_file

sys.path.append(str(Path(__file__).parents[1] / "train_tiny"))
from concept_classifier import render_objects
from concept_network import ConceptClassifier, load_classifier, probabilities
from concepts import read_concepts
from named_colors import BACKGROUNDS, HUES
from render import load_sprites
from scene_generator import SceneGenerator
from scenes import SETTINGS, Scene, Thing, render_scene

PEOPLE = (WOMAN, MAN_OR_NEUTRAL, NO_PERSON)
"""Labels of people."""
MEASURED_SIDE = 128


def people_accuracy(classifier: ConceptClassifier, generator: SceneGenerator, count: int) -> dict[str, Any]:
    """Return the fractions of the labels of renders of women's icons, other icons of people, and other icons."""
    result = {}
    for label in PEOPLE:
        names = [name for name in classifier.names if person_label(name) == label and name in generator.core]
        images, _ = render_objects(generator, names, count, plain=False)
        sums = torch.stack(
            [
                probabilities(classifier, images)[:, [person_label(n) == each for n in classifier.names]].sum(1)
                for each in PEOPLE
            ]
        )
        found = Counter(PEOPLE[i] for i in sums.argmax(0).tolist())
        result[label] = {each: round(found[each] / count, 4) for each in PEOPLE}
    return result


def men_among_neutral(classifier: ConceptClassifier, generator: SceneGenerator, count: int) -> dict[str, float]:
    """Return how often a man's icon and the neutral icon of the same occupation are labeled as the man's icon."""
    pairs = [name for name in classifier.names if name.startswith("man-") and name[4:] in classifier.names]
    result = {}
    for kind, names in (("man's icons", pairs), ("neutral icons", [name[4:] for name in pairs])):
        images, _ = render_objects(generator, [name for name in names if name in generator.core], count, plain=False)
        top = probabilities(classifier, images).argmax(1).tolist()
        result[f"{kind} labeled as a man's icon"] = round(
            float(np.mean([classifier.names[i].split("-")[0] == "man" for i in top])), 4
        )
    return result


def pixel_accuracy(generator: SceneGenerator, labeler: JudgeLabeler, count: int) -> dict[str, float]:
    """Return the fractions of renders with the correct color, number and background."""
    hits: dict[str, list[bool]] = {"color": [], "count": [], "background": [], "scene or gradient": []}
    random, names = generator.random, generator.recolorable
    for index in range(count):
        color, plain = str(random.choice(list(HUES))), list(BACKGROUNDS)[index % len(BACKGROUNDS)]
        thing = Thing(str(random.choice(names)), "flat", 0.5, 0.5, 0.85, color)
        things = generator._count().things if index % 2 else (thing,)
        found = _pixel_labels(labeler, Scene("one", things, plain), generator)
        hits["background"].append(found["background"] == f"plain {plain}")
        hits["count"].append(found["count"] == str(len(things)))
        if things == (thing,) and plain != color:
            hits["color"].append(found["color"] == color)
        setting = SETTINGS[index % len(SETTINGS)]
        found = _pixel_labels(labeler, Scene("one", (thing,), setting, index), generator)
        hits["scene or gradient"].append(found["background"] == "scene or gradient")
    return {name: round(float(np.mean(each)), 4) for name, each in hits.items()}


def _pixel_labels(labeler: JudgeLabeler, scene: Scene, generator: SceneGenerator) -> dict[str, str]:
    image = Image.fromarray(render_scene(scene, generator.sprites, MEASURED_SIDE))
    return labeler.label([image], [Prompt("a thing", "things", "things")]).labels[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/train_tiny/raw"))
    parser.add_argument("--work", type=Path, default=Path("data/train_tiny"))
    parser.add_argument("--out", type=Path, default=JUDGE_FOLDER)
    parser.add_argument("--images", type=int, default=2000, help="renders per measurement")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    source = options.work / "concept_classifier.pt"
    exact = load_classifier(source)
    weights = {name: value.half() if value.is_floating_point() else value for name, value in exact.state_dict().items()}
    model_file, provenance_file = options.out / "model.safetensors", options.out / "provenance.json"
    save_file({name: value.contiguous() for name, value in weights.items()}, model_file)
    model_file.chmod(0o644)  # save_file creates a file that only its owner can read
    provenance: dict[str, Any] = {
        "license": "Apache-2.0",
        "source": "examples/train_tiny/concept_classifier.py, fp32 weights converted to fp16",
        "source sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "sha256": hashlib.sha256(model_file.read_bytes()).hexdigest(),
        "training data": "renders of the icons of artgen/assets/tiny/provenance.json (MIT and Apache-2.0)",
        "accuracy on real renders": {},
        "classes": exact.names,
    }
    provenance_file.write_text(json.dumps(provenance, indent=1) + "\n")
    judge = load_judge(options.out)
    generator = SceneGenerator(read_concepts(options.data, options.work), load_sprites(options.work), 31337)
    images, truth = render_objects(generator, generator.core, options.images, plain=False)
    labels, exact_labels = (probabilities(each, images).argmax(1) for each in (judge, exact))
    if not torch.equal(labels, exact_labels):
        parser.exit(1, f"{int((labels != exact_labels).sum())} labels of the fp16 weights differ.\n")
    provenance["accuracy on real renders"] = {
        "renders per measurement": options.images,
        "fp16 and fp32 labels are equal": 1.0,
        "icon": round(
            float(
                (labels == torch.tensor([judge.names.index(generator.core[i]) for i in truth.tolist()])).float().mean()
            ),
            4,
        ),
        "person": people_accuracy(judge, generator, options.images),
        **men_among_neutral(judge, generator, options.images),
        **pixel_accuracy(generator, JudgeLabeler(options.out), options.images),
    }
    provenance_file.write_text(json.dumps(provenance, indent=1) + "\n")
    print(json.dumps(provenance["accuracy on real renders"], indent=1))


if __name__ == "__main__":
    main()
