"use strict";
/* The comparison of two to four images: side by side, with the settings that differ. */
const comparison = document.getElementById("comparison");
let compared = [];

gallery.showComparison = async (entries, { adds = true, writes = true } = {}) => {
  if (entries.length < 2) return;
  compared = entries;
  if (writes) gallery.writeAddress({ compare: entries.map((entry) => entry.id).join(",") }, adds);
  const body = gallery.element("tbody");
  const all = gallery.element("input", { type: "checkbox", id: "all-settings" });
  const zoom = gallery.element("button", { type: "button", textContent: "Actual pixels", "aria-pressed": "false" });
  const close = gallery.element("button", { type: "button", className: "close", "aria-label": "Close", textContent: "✕" });
  close.onclick = () => comparison.close();
  const head = entries.map((entry) => gallery.element("th", { scope: "col" },
    gallery.element("div", { className: "frame" }, gallery.thumbnail(entry)), gallery.element("span", {}, entry.name)));
  const table = gallery.element("table", {},
    gallery.element("thead", {}, gallery.element("tr", {}, gallery.element("td"), head)), body);
  comparison.replaceChildren(
    gallery.element("div", { className: "actions" }, gallery.element("h2", {}, `${entries.length} images`), zoom,
      gallery.element("label", {}, all, " Equal settings too"), close),
    gallery.element("p", { role: "status", className: "message" }),
    gallery.element("div", { className: "scroller" }, table),
  );
  if (!comparison.open) comparison.showModal();
  close.focus();
  zoom.onclick = () => zoom.setAttribute("aria-pressed", comparison.classList.toggle("zoomed"));
  const details = await Promise.all(entries.map((entry) => gallery.detailsOf(entry).catch(() => undefined)));
  if (compared !== entries) return;
  details.forEach((each, index) => {
    const image = head[index].querySelector("img");
    if (!each?.image || !image) return;
    const original = gallery.element("img", { alt: image.alt });
    original.onload = () => image.replaceWith(original);
    original.src = each.image;
  });
  const fill = () => body.replaceChildren(...settingRows(details, all.checked));
  all.onchange = fill;
  fill();
};

function settingRows(details, showsAll) {
  const keysOf = (kind) => details.flatMap((each) => Object.keys(each?.[kind] || {}));
  const names = new Set([...keysOf("settings"), ...keysOf("facts")]);
  const rows = [];
  for (const name of names) {
    const values = details.map((each) => each?.settings?.[name] ?? each?.facts?.[name] ?? "");
    const differs = values.some((value) => value !== values[0]);
    if (!differs && !showsAll) continue;
    const cells = values.map((value) => gallery.element("td", {}, differs ? markDifferences(value, values) : value || "–"));
    rows.push(gallery.element("tr", { className: differs ? "" : "equal" },
      gallery.element("th", { scope: "row" }, name.replaceAll("_", " ")), cells));
  }
  if (!rows.length) rows.push(gallery.element("tr", {}, gallery.element("td", { colSpan: details.length + 1 }, "All recorded settings are equal.")));
  return rows;
}

/** Marks the words of a long text that not all texts contain. */
function markDifferences(value, values) {
  if (!value) return ["–"];
  const words = value.split(/(\s+|,)/);
  if (words.length < 4) return [value];
  const others = values.filter((other) => other && other !== value).map((other) => new Set(other.split(/\s+|,/)));
  return words.map((word) => {
    const isCommon = !word.trim() || word === "," || others.every((other) => other.has(word));
    return isCommon ? word : gallery.element("mark", {}, word);
  });
}

/* With actual pixels, all images show the same place, below the pointer. */
comparison.addEventListener("pointermove", (event) => {
  const frame = event.target.closest?.(".frame");
  if (!frame || !comparison.classList.contains("zoomed")) return;
  const box = frame.getBoundingClientRect();
  const place = `${(100 * (event.clientX - box.left)) / box.width}% ${(100 * (event.clientY - box.top)) / box.height}%`;
  for (const image of comparison.querySelectorAll(".frame img")) image.style.objectPosition = place;
});

comparison.addEventListener("close", () => {
  compared = [];
  comparison.classList.remove("zoomed");
  comparison.replaceChildren();
  gallery.writeAddress({});
  gallery.activate(gallery.active);
});
