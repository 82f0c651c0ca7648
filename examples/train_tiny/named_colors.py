"""Define the named colors of backgrounds and objects."""

BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255), "black": (20, 20, 24), "gray": (150, 150, 155),
    "red": (224, 48, 48), "orange": (248, 140, 24), "yellow": (252, 216, 48),
    "green": (56, 164, 72), "blue": (36, 104, 224), "purple": (136, 60, 176),
    "pink": (248, 148, 188), "brown": (124, 84, 56), "turquoise": (48, 190, 190),
    "light blue": (160, 214, 248), "beige": (240, 224, 196),
}  # fmt: skip
HUES = {
    "red": 0.0, "orange": 0.075, "yellow": 0.145, "green": 0.35,
    "turquoise": 0.5, "blue": 0.61, "purple": 0.77, "pink": 0.92,
}  # fmt: skip
