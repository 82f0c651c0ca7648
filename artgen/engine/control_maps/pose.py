"""Find the poses of persons, and render them as OpenPose skeletons.

RT-DETR: Zhao et al. 2023, arXiv 2304.08069. ViTPose: Xu et al. 2022, arXiv 2204.12484. OpenPose: Cao et al. 2018,
arXiv 1812.08008.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from artgen.engine.loading.transformers_models import ModelWithProcessor

Point = tuple[float, float]
Person = tuple[Point | None, ...]
"""18 points in OpenPose's order, in pixels; None for a point that was not found."""

MIN_PERSON_SCORE = 0.3
MIN_POINT_SCORE = 0.3
MAX_PERSONS = 32

_COCO_INDEX = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""Index of COCO's point for each point of OpenPose; None for the neck, the mean of COCO's shoulders."""

_COCO_SHOULDERS = (5, 6)

# fmt: off
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
    (0, 14), (14, 16), (0, 15), (15, 17),
)
"""Pairs of points that are connected. Limb i has color i."""

COLORS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255),
    (255, 0, 255), (255, 0, 170), (255, 0, 85),
)
"""RGB colors of OpenPose. Point i has color i."""
# fmt: on

LIMB_BRIGHTNESS = 0.6
RADIUS_PX = 4.0
"""Radius of a point and half the width of a limb, in pixels, if the shorter side of the image has 512 pixels."""


def openpose_points(points: Sequence[Point], scores: Sequence[float]) -> Person:
    """Convert the 17 points of COCO to the 18 points of OpenPose.

    Args:
        points: points of COCO in pixels.
        scores: confidence of each point, 0 to 1. Points below `MIN_POINT_SCORE` are None.
    """
    coco = [point if score >= MIN_POINT_SCORE else None for point, score in zip(points, scores, strict=True)]
    left, right = (coco[i] for i in _COCO_SHOULDERS)
    neck = ((left[0] + right[0]) / 2, (left[1] + right[1]) / 2) if left and right else None
    return tuple(neck if i is None else coco[i] for i in _COCO_INDEX)


def find_people(image: Image.Image, detector: ModelWithProcessor, poser: ModelWithProcessor) -> list[Person]:
    """Return the points of each person in an image, the most certain person first.

    Args:
        image: RGB image.
        detector: RT-DETR.
        poser: ViTPose.
    """
    outputs = detector.run(detector.processor(images=image, return_tensors="pt"))
    (found,) = detector.processor.post_process_object_detection(
        outputs, threshold=MIN_PERSON_SCORE, target_sizes=[(image.height, image.width)]
    )
    names = detector.model.config.id2label
    rows = zip(found["scores"].tolist(), found["labels"].tolist(), found["boxes"].tolist(), strict=True)
    persons = sorted((row for row in rows if names.get(row[1]) == "person"), key=lambda row: -row[0])[:MAX_PERSONS]
    # Boxes as left, top, width and height, as in COCO.
    boxes = [[x0, y0, x1 - x0, y1 - y0] for _, _, (x0, y0, x1, y1) in persons if x1 - x0 >= 1 and y1 - y0 >= 1]
    if not boxes:
        return []
    all_boxes = [np.asarray(boxes, np.float32)]
    outputs = poser.run(poser.processor(images=image, boxes=all_boxes, return_tensors="pt"))
    (poses,) = poser.processor.post_process_pose_estimation(outputs, boxes=all_boxes, threshold=0.0)
    points = [openpose_points(each["keypoints"].tolist(), each["scores"].tolist()) for each in poses]
    return [person for person in points if any(person)]


def render_pose(people: Sequence[Person], size: tuple[int, int]) -> Image.Image:
    """Render skeletons on black, mode RGB.

    Args:
        people: points of each person.
        size: width and height of the map in pixels.
    """
    image = Image.new("RGB", size)
    draw = ImageDraw.Draw(image)
    radius = max(1.0, RADIUS_PX * min(size) / 512)
    for person in people:
        for (i, j), color in zip(LIMBS, COLORS, strict=False):  # the last color belongs to a point only
            if (start := person[i]) and (end := person[j]):
                dark = tuple(int(value * LIMB_BRIGHTNESS) for value in color)
                draw.polygon(_ellipse(start, end, radius), fill=dark)
    for person in people:
        for point, color in zip(person, COLORS, strict=True):
            if point:
                x, y = point
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    return image


def _ellipse(start: Point, end: Point, radius: float) -> list[Point]:
    """Return the outline of an ellipse with the long axis from `start` to `end` and the half width `radius`."""
    center_x, center_y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    half_x, half_y = (end[0] - start[0]) / 2, (end[1] - start[1]) / 2
    length = math.hypot(half_x, half_y) or 1.0
    normal_x, normal_y = -half_y / length * radius, half_x / length * radius
    angles = [2 * math.pi * i / 40 for i in range(40)]
    return [
        (
            center_x + half_x * math.cos(angle) + normal_x * math.sin(angle),
            center_y + half_y * math.cos(angle) + normal_y * math.sin(angle),
        )
        for angle in angles
    ]
