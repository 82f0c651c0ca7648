"""Define objects as shapes on a square of 100 by 100 units: (kind, tone, numbers), rendered in order.

The kinds are Pillow's: `polygon` and `line` have points, `ellipse` and `rectangle` two corners, `pieslice` two corners
and two angles, clockwise from three o'clock. A line is five units wide.
"""

Shape = tuple[str, str, tuple[float, ...]]

DARK, LIGHT, HOLE = "dark", "light", "hole"

TRAINING_SHAPES: dict[str, tuple[Shape, ...]] = {
    "a house": (
        ("rectangle", LIGHT, (24, 45, 76, 86)), ("polygon", DARK, (16, 47, 50, 14, 84, 47)),
        ("rectangle", DARK, (43, 60, 57, 86)), ("rectangle", LIGHT, (29, 54, 39, 65)),
        ("rectangle", LIGHT, (61, 54, 71, 65)),
    ),
    "a tree": (
        ("rectangle", DARK, (44, 58, 56, 90)), ("ellipse", DARK, (18, 32, 60, 68)),
        ("ellipse", DARK, (42, 30, 84, 68)), ("ellipse", DARK, (28, 10, 74, 54)),
    ),
    "a sailboat": (
        ("polygon", DARK, (16, 66, 86, 66, 72, 84, 28, 84)), ("line", LIGHT, (50, 12, 50, 66)),
        ("polygon", LIGHT, (53, 14, 53, 60, 82, 60)), ("polygon", DARK, (47, 22, 47, 60, 22, 60)),
    ),
    "a mushroom": (
        ("polygon", LIGHT, (40, 50, 60, 50, 64, 88, 36, 88)), ("pieslice", DARK, (14, 14, 86, 90, 180, 360)),
        ("ellipse", LIGHT, (30, 28, 42, 40)), ("ellipse", LIGHT, (54, 22, 68, 36)),
    ),
    "an apple": (
        ("ellipse", DARK, (18, 28, 60, 86)), ("ellipse", DARK, (40, 28, 82, 86)), ("line", DARK, (50, 34, 54, 14)),
        ("ellipse", DARK, (54, 12, 78, 26)),
    ),
    "a fish": (
        ("polygon", LIGHT, (66, 50, 92, 28, 92, 72)), ("ellipse", LIGHT, (10, 28, 76, 72)),
        ("polygon", DARK, (36, 30, 54, 14, 58, 32)), ("ellipse", LIGHT, (20, 40, 32, 52)),
    ),
    "a star": (
        ("polygon", LIGHT, (50, 8, 61, 38, 93, 38, 67, 57, 77, 88, 50, 69, 23, 88, 33, 57, 7, 38, 39, 38)),
    ),
    "a heart": (
        ("ellipse", DARK, (14, 18, 54, 58)), ("ellipse", DARK, (46, 18, 86, 58)),
        ("polygon", DARK, (17, 48, 50, 30, 83, 48, 50, 88)),
    ),
    "an umbrella": (
        ("line", DARK, (50, 48, 50, 84, 62, 84)), ("pieslice", DARK, (12, 12, 88, 88, 180, 360)),
        ("pieslice", LIGHT, (36, 12, 64, 88, 180, 360)),
    ),
    "a rocket": (
        ("polygon", LIGHT, (40, 76, 60, 76, 50, 96)), ("polygon", DARK, (26, 78, 40, 50, 40, 78)),
        ("polygon", DARK, (74, 78, 60, 50, 60, 78)), ("rectangle", LIGHT, (38, 34, 62, 78)),
        ("polygon", DARK, (38, 34, 50, 6, 62, 34)), ("ellipse", DARK, (43, 40, 57, 54)),
    ),
    "a car": (
        ("polygon", LIGHT, (28, 46, 38, 26, 66, 26, 78, 46)), ("rectangle", DARK, (10, 46, 90, 70)),
        ("ellipse", LIGHT, (20, 60, 40, 80)), ("ellipse", LIGHT, (62, 60, 82, 80)),
    ),
    "a tulip": (
        ("line", DARK, (50, 50, 50, 92)), ("polygon", DARK, (50, 88, 24, 56, 46, 70)),
        ("polygon", LIGHT, (28, 16, 42, 30, 50, 10, 58, 30, 72, 16, 70, 44, 50, 58, 30, 44)),
    ),
    "a cactus": (
        ("rectangle", DARK, (40, 14, 60, 72)), ("polygon", DARK, (18, 32, 28, 32, 28, 46, 42, 46, 42, 56, 18, 56)),
        ("polygon", DARK, (82, 24, 72, 24, 72, 40, 58, 40, 58, 50, 82, 50)),
        ("polygon", DARK, (30, 70, 70, 70, 64, 92, 36, 92)),
    ),
    "a bell": (
        ("ellipse", DARK, (42, 76, 58, 92)), ("pieslice", LIGHT, (24, 12, 76, 96, 180, 360)),
        ("polygon", LIGHT, (24, 54, 76, 54, 88, 80, 12, 80)),
    ),
    "a snowman": (
        ("ellipse", LIGHT, (24, 46, 76, 94)), ("ellipse", LIGHT, (32, 16, 68, 52)),
        ("polygon", LIGHT, (50, 32, 50, 40, 68, 36)), ("rectangle", DARK, (36, 6, 64, 20)),
        ("line", DARK, (34, 50, 66, 50)),
    ),
    "an ice cream cone": (
        ("polygon", DARK, (32, 48, 68, 48, 50, 94)), ("ellipse", LIGHT, (26, 26, 58, 56)),
        ("ellipse", LIGHT, (44, 28, 74, 56)), ("ellipse", LIGHT, (34, 8, 66, 40)),
    ),
}  # fmt: skip
"""Objects of the training images."""

HELD_OUT: dict[str, tuple[Shape, ...]] = {
    "a crown": (
        ("polygon", LIGHT, (12, 28, 30, 50, 50, 18, 70, 50, 88, 28, 80, 78, 20, 78)),
        ("ellipse", DARK, (44, 56, 56, 68)),
    ),
    "a carrot": (
        ("polygon", DARK, (44, 30, 30, 6, 50, 20, 68, 6, 58, 30)), ("polygon", LIGHT, (32, 30, 70, 30, 50, 94)),
    ),
    "a balloon": (
        ("line", LIGHT, (50, 66, 46, 94)), ("ellipse", DARK, (24, 6, 76, 66)),
        ("polygon", DARK, (44, 72, 50, 64, 56, 72)),
    ),
    "a lemon": (("ellipse", LIGHT, (18, 28, 82, 74)), ("polygon", DARK, (50, 28, 64, 8, 76, 22))),
    "the moon": (("ellipse", LIGHT, (16, 12, 84, 88)), ("ellipse", HOLE, (40, 14, 92, 82))),
    "a mountain": (
        ("polygon", LIGHT, (6, 86, 42, 18, 78, 86)), ("polygon", DARK, (46, 86, 70, 40, 96, 86)),
        ("polygon", LIGHT, (33, 36, 42, 18, 51, 36, 42, 42)),
    ),
    "a candle": (("rectangle", LIGHT, (38, 40, 62, 92)), ("ellipse", LIGHT, (42, 10, 58, 40))),
    "a butterfly": (
        ("ellipse", DARK, (8, 14, 48, 54)), ("ellipse", DARK, (52, 14, 92, 54)), ("ellipse", LIGHT, (16, 48, 48, 84)),
        ("ellipse", LIGHT, (52, 48, 84, 84)), ("line", DARK, (50, 20, 50, 84)),
    ),
}  # fmt: skip
"""Objects for testing the classifier; not part of the training."""
