"use strict";
/* Connects the search, the filters and the shortcuts, and follows the address. */
const byId = (id) => document.getElementById(id);

gallery.announce = (text) => (byId("status").textContent = text);

gallery.update = () => {
  const found = gallery.find(gallery.query);
  gallery.showEntries(found);
  const total = gallery.entries.length;
  const images = (count) => `${count.toLocaleString()} ${count === 1 ? "image" : "images"}`;
  const more = gallery.config.count > total ? `, loading ${gallery.config.count.toLocaleString()}` : "";
  gallery.announce(found.length === total ? images(total) + more : `${found.length.toLocaleString()} of ${images(total)}${more}`);
  const active = gallery.filterNames.filter((name) => !["q", "sort"].includes(name) && gallery.query[name]).length;
  byId("show-filters").textContent = active ? `Filters (${active})` : "Filters";
};

/** Shows what the address names: an image or a comparison. */
function showAddressed() {
  const { image, compare } = gallery.readAddress();
  gallery.update();
  const entry = gallery.byId.get(image);
  const entries = compare.map((id) => gallery.byId.get(id)).filter(Boolean);
  if (entry) {
    const position = gallery.shown.indexOf(entry);
    if (position >= 0) gallery.activate(position, { focus: false });
    gallery.showImage(entry, { writes: false });
  } else if (viewer.open) viewer.close();
  if (entries.length > 1) gallery.showComparison(entries, { writes: false });
  else if (comparison.open) comparison.close();
  return (image && !entry) || compare.length > entries.length;
}

let isMissing = false;
gallery.showFirst = () => {
  isMissing = showAddressed();
  gallery.fillFilters();
  if (gallery.filterNames.some((name) => !["q", "sort"].includes(name) && gallery.query[name])) toggleFilters(true);
  performance.mark("interactive");
};
gallery.showMore = () => gallery.update();
gallery.showAll = () => {
  gallery.fillFilters();
  gallery.update();
  if (isMissing && showAddressed()) gallery.announce("The image of the address is not in this gallery.");
  performance.mark("complete");
};

function changed() {
  gallery.readInputs();
  gallery.update();
  gallery.writeAddress({});
  window.scrollTo(0, 0);
}

function toggleFilters(isShown) {
  byId("filters").hidden = !isShown;
  byId("show-filters").setAttribute("aria-expanded", isShown);
}

for (const name of gallery.filterNames) {
  byId(name === "q" ? "search" : name).addEventListener(name === "q" ? "input" : "change", changed);
}
byId("show-filters").addEventListener("click", () => toggleFilters(byId("filters").hidden));
for (const id of ["clear", "clear-all"]) {
  byId(id).addEventListener("click", () => {
    gallery.clearFilters();
    changed();
    byId("search").focus();
  });
}
byId("show-help").addEventListener("click", () => byId("help").showModal());
byId("compare").addEventListener("click", () => gallery.showComparison(gallery.selected));
byId("clear-tray").addEventListener("click", () => {
  gallery.selected = [];
  gallery.showSelected();
  gallery.activate(gallery.active);
});
byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  gallery.activate(gallery.active);
});
window.addEventListener("popstate", showAddressed);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const isTyping = event.target.closest("input, select, textarea");
  if (isTyping) {
    if (event.key === "ArrowDown" && event.target.id === "search") gallery.activate(gallery.active);
    else return;
  } else if (event.key === "/") byId("search").focus();
  else if (event.key === "?") byId("help").showModal();
  else if (event.key === "c" || event.key === "C") gallery.showComparison(gallery.selected);
  else return;
  event.preventDefault();
});
