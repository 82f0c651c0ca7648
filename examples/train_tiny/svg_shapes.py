"""Define colors and shapes of SVG drawings. The units are percent of the image side."""

Color = tuple[float, float, float]


def mix(first: Color, second: Color, fraction: float) -> Color:
    """Return a color between two colors; `fraction` 0 gives the first."""
    return tuple(a + (b - a) * fraction for a, b in zip(first, second, strict=True))  # type: ignore[return-value]


def css(color: Color) -> str:
    """Return a color of components 0 to 255 as CSS."""
    return "#" + "".join(f"{round(min(255.0, max(0.0, part))):02x}" for part in color)


def polygon(points: list[tuple[float, float]], color: Color, opacity: float = 1) -> str:
    """Return a polygon."""
    text = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
    return f'<polygon points="{text}" fill="{css(color)}" opacity="{opacity:.2f}"/>'


def rectangle(x: float, y: float, width: float, height: float, color: Color, opacity: float = 1) -> str:
    """Return a rectangle."""
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" fill="{css(color)}" '
        f'opacity="{opacity:.2f}"/>'
    )


def ellipse(x: float, y: float, width: float, height: float, color: Color, opacity: float = 1) -> str:
    """Return an ellipse with the given center and diameters."""
    return (
        f'<ellipse cx="{x:.2f}" cy="{y:.2f}" rx="{width / 2:.2f}" ry="{height / 2:.2f}" fill="{css(color)}" '
        f'opacity="{opacity:.2f}"/>'
    )


def gradient(name: str, top: Color, bottom: Color, y: float, height: float) -> str:
    """Return a rectangle over the complete width with a vertical gradient."""
    stops = f'<stop offset="0" stop-color="{css(top)}"/><stop offset="1" stop-color="{css(bottom)}"/>'
    return (
        f'<linearGradient id="{name}" x1="0" y1="0" x2="0" y2="1">{stops}</linearGradient>'
        f'<rect x="0" y="{y:.2f}" width="100" height="{height:.2f}" fill="url(#{name})"/>'
    )
