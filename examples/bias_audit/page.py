"""Write the page of the report. It loads only the contact sheets of its folder, and runs no scripts."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from report import SHEET_IMAGES, Audit, sheet_name
from shares import Share

from artgen.system.counts import counted

MIN_SHOWN_SHARE = 0.04
"""Rarer labels are summed up on the page. `shares.csv` has all labels."""
MIN_SHOWN_LABELS = 3
"""The most frequent labels are shown even if they are rarer."""

STYLE = """
:root { color-scheme: light dark; --line: #8886; --bar: #3b76c4; --mark: #111; }
@media (prefers-color-scheme: dark) { :root { --bar: #6aa2ea; --mark: #fff; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 0 auto; padding: 1rem; }
h1 { margin: 0; } h2 { margin-top: 2.5rem; } section { border-top: 1px solid var(--line); padding: 1rem 0; }
img { max-width: 100%; height: auto; } figure { margin: 0; }
.tables { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: flex-start; }
table { border-collapse: collapse; font-size: 14px; } caption { text-align: left; font-weight: 600; }
td, th { padding: 1px 8px 1px 0; text-align: left; font-weight: 400; white-space: nowrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
svg { width: 120px; height: 12px; display: block; } .bar { fill: var(--bar); } .track { fill: var(--line); }
.interval { stroke: var(--mark); stroke-width: 2; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; }
dd { margin: 0; overflow-wrap: anywhere; } ul { padding-left: 1.2rem; } nav a { margin-right: 1rem; }
@media (max-width: 600px) { svg { width: 40px; } table { font-size: 12px; } td, th { white-space: normal; } }
"""

LIMITS = (
    "A label is the output of a classifier. Labels of gender, age and skin tone are guesses from the appearance of an "
    "image, not facts about persons. Generated people have no gender and no age.",
    "The labels are coarse: they contain only the values of the tables, and a classifier has its own bias.",
    "An interval contains only the uncertainty of the random seeds. It does not contain the errors of the labels, and "
    "it does not apply to other prompts.",
    "Shares are not compared with statistics of the real world. Equal shares are not always the goal.",
    "A bar is the share of a label, the line on it is the interval. Behind them: share, interval, number of images.",
)


def write_page(audit: Audit, out: Path) -> Path:
    """Write `report.html`, and return its path. `write_sheets` writes its images."""
    title = f"Bias audit of {audit.model}"
    style_hash = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src 'self' data:; style-src 'sha256-{style_hash}'; base-uri 'none'; "
        "form-action 'none'"
    )
    groups = list(dict.fromkeys(prompt.group for prompt in audit.prompts))
    links = "".join(f'<a href="#{_anchor(group)}">{escape(group)}</a>' for group in (*groups, "clusters"))
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer"><link rel="icon" href="data:,">',
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
        f"<header><h1>{escape(title)}</h1>{_summary(audit)}<nav>{links}</nav></header>\n<main>",
        "<h2>How to read this report</h2>" + _list((*LIMITS, *audit.labels.get("limits", ()))),
        *(_group(audit, group) for group in groups),
        _clusters(audit),
        "</main>\n</body>\n</html>\n",
    ]
    path = out / "report.html"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def _list(texts: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def _anchor(text: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in text)


def _summary(audit: Audit) -> str:
    """Return the model, its settings and the source of the labels as a list of terms."""
    record = audit.record
    settings = ", ".join(
        f"{name.replace('_', ' ')} {record[name]}"
        for name in ("steps", "guidance_scale", "scheduler")
        if name in record
    )
    terms = {
        "model": f"{record.get('model_source', audit.model)}, SHA-256 {record.get('model_hash', 'unknown')}",
        "settings": f"{settings}, {record['width']}x{record['height']} pixels",
        "images": f"{len(audit.images):,}: {len(audit.prompts)} prompts with the seeds 1 to {audit.num_seeds}",
        "labels": f"{audit.labels['source']}, SHA-256 {audit.labels.get('sha256', 'unknown')}",
        "intervals": "95 %, Wilson score",
        "prompt list": f"SHA-256 {audit.list_sha256}",
    }
    if audit.withheld:
        terms["withheld"] = f"{sum(audit.withheld.values()):,} images, by the safety checker of the model"
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in terms.items()) + "</dl>"


def _group(audit: Audit, group: str) -> str:
    """Return the section of a group: its shares, and a subsection for each prompt."""
    parts = [f'<h2 id="{_anchor(group)}">{escape(group.capitalize())}</h2>', _tables(audit.shares, group, "")]
    for number, prompt in enumerate(audit.prompts, 1):
        if prompt.group == group:
            figure = _figure(f"sheets/{sheet_name('prompt', number)}", f"Images of the prompt: {prompt.text}")
            diversity = audit.clusters.diversity[prompt.text]
            parts.append(
                f"<section><h3>{escape(prompt.text)}</h3>{figure}<p>Effective number of clusters: {diversity:g}</p>"
                f"{_tables(audit.shares, group, prompt.text)}</section>"
            )
    return "\n".join(parts)


def _figure(source: str, text: str) -> str:
    return f'<figure><img src="{escape(source)}" alt="{escape(text)}" loading="lazy"></figure>'


def _tables(shares: Sequence[Share], group: str, prompt: str) -> str:
    """Return a table of shares for each attribute."""
    selected = [share for share in shares if (share.group, share.prompt) == (group, prompt)]
    attributes = dict.fromkeys(share.attribute for share in selected)
    tables = (_table(name, [share for share in selected if share.attribute == name]) for name in attributes)
    return f'<div class="tables">{"".join(tables)}</div>'


def _table(attribute: str, shares: Sequence[Share]) -> str:
    """Return a table with a row for each frequent label, and a row for all others."""
    shown = [share for i, share in enumerate(shares) if i < MIN_SHOWN_LABELS or share.share >= MIN_SHOWN_SHARE]
    if len(shares) - len(shown) == 1:
        shown = list(shares)
    rows = [_row(share) for share in shown]
    if others := shares[len(shown) :]:
        count = sum(share.count for share in others)
        percentage = f"{100 * count / shares[0].images:.0f} %"
        rows.append(
            f'<tr><th scope="row">{len(others)} others</th><td></td><td class="number">{percentage}</td><td></td>'
            f'<td class="number">{count}</td></tr>'
        )
    return f"<table><caption>{escape(attribute)}</caption><tbody>{''.join(rows)}</tbody></table>"


def _row(share: Share) -> str:
    low, high = 100 * share.low, 100 * share.high
    return (
        f'<tr><th scope="row">{escape(share.label)}</th><td><svg viewBox="0 0 100 10" preserveAspectRatio="none" '
        f'aria-hidden="true"><rect class="track" width="100" height="10"/>'
        f'<rect class="bar" width="{100 * share.share:.1f}" height="10"/>'
        f'<line class="interval" x1="{low:.1f}" x2="{high:.1f}" y1="5" y2="5"/></svg></td>'
        f'<td class="number">{100 * share.share:.0f} %</td><td class="number">{low:.0f} to {high:.0f} %</td>'
        f'<td class="number">{share.count} of {share.images}</td></tr>'
    )


def _clusters(audit: Audit) -> str:
    """Return the section of the clusters: images and most frequent prompts."""
    parts = [
        '<h2 id="clusters">Clusters</h2><p>All images were clustered by their features (Ward). A sheet shows up to '
        f"{SHEET_IMAGES} images of a cluster, evenly spread.</p>"
    ]
    for number, counts in enumerate(audit.clusters.prompts, 1):
        figure = _figure(f"sheets/{sheet_name('cluster', number)}", f"Images of cluster {number}")
        prompts = ", ".join(_prompt_counts(counts.items()))
        parts.append(
            f"<section><h3>Cluster {number}: {sum(counts.values())} images</h3>{figure}"
            f"<p>{escape(prompts)}</p></section>"
        )
    return "\n".join(parts)


def _prompt_counts(counts: Iterable[tuple[str, int]], limit: int = 8) -> list[str]:
    """Return the most frequent prompts of a cluster with their numbers of images."""
    texts = [f"{text} {count}" for text, count in counts]
    return texts if len(texts) <= limit else [*texts[:limit], counted(len(texts) - limit, "other prompt")]
