"use strict";
/* The grid of thumbnails: justified rows, of which only the visible ones exist. One cell has tabindex 0. */
gallery.shown = [];
gallery.active = 0;
gallery.selected = [];

const GAP = 6;
const OVERSCAN_PX = 700;
const MAX_SELECTED = 4;
const grid = document.getElementById("grid");
let rows = [];
let rowOf = [];
const rowElements = new Map();

/** Shows these images. The active image stays active if it is among them. */
gallery.showEntries = (entries) => {
  const active = gallery.shown[gallery.active];
  gallery.shown = entries;
  gallery.active = Math.max(0, active ? entries.indexOf(active) : 0);
  layOut();
  document.getElementById("empty").hidden = entries.length > 0;
};

function layOut() {
  const width = grid.clientWidth;
  const target = width < 600 ? 130 : 210;
  rows = [];
  rowOf = new Array(gallery.shown.length);
  let top = 0;
  let start = 0;
  let aspects = 0;
  const finish = (end, height) => {
    for (let index = start; index < end; index++) rowOf[index] = rows.length;
    rows.push({ start, end, top, height });
    top += height + GAP;
    start = end;
    aspects = 0;
  };
  gallery.shown.forEach((entry, index) => {
    aspects += entry.aspect;
    const height = (width - GAP * (index - start)) / aspects;
    if (height <= target) finish(index + 1, height);
  });
  if (start < gallery.shown.length) finish(gallery.shown.length, target);
  grid.style.height = `${Math.max(0, top - GAP)}px`;
  grid.setAttribute("aria-rowcount", rows.length);
  const hadFocus = grid.contains(document.activeElement);
  for (const element of rowElements.values()) element.remove();
  rowElements.clear();
  render();
  if (hadFocus) cellAt(gallery.active)?.focus({ preventScroll: true });
}

/** Creates the rows near the visible area, and removes the others. The row of the active image remains. */
function render() {
  const from = window.scrollY - grid.offsetTop - OVERSCAN_PX;
  const to = from + window.innerHeight + 2 * OVERSCAN_PX;
  const wanted = new Set();
  for (let index = firstRowAt(from); index < rows.length && rows[index].top < to; index++) wanted.add(index);
  if (rowOf[gallery.active] !== undefined) wanted.add(rowOf[gallery.active]);
  for (const [index, element] of rowElements) {
    if (!wanted.has(index)) {
      element.remove();
      rowElements.delete(index);
    }
  }
  for (const index of [...wanted].sort((a, b) => a - b)) {
    if (rowElements.has(index)) continue;
    const element = createRow(index);
    const next = [...rowElements.keys()].filter((other) => other > index);
    grid.insertBefore(element, next.length ? rowElements.get(Math.min(...next)) : null);
    rowElements.set(index, element);
  }
}

function firstRowAt(top) {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].top + rows[middle].height < top) low = middle + 1;
    else high = middle;
  }
  return low;
}

function createRow(index) {
  const { start, end, top, height } = rows[index];
  const row = gallery.element("div", { role: "row", "aria-rowindex": index + 1, className: "row" });
  row.style.transform = `translateY(${top}px)`;
  row.style.height = `${height}px`;
  let left = 0;
  for (let position = start; position < end; position++) {
    const cell = createCell(position);
    const width = gallery.shown[position].aspect * height;
    cell.style.left = `${left}px`;
    cell.style.width = `${width}px`;
    left += width + GAP;
    row.append(cell);
  }
  return row;
}

function createCell(position) {
  const entry = gallery.shown[position];
  const isSelected = gallery.selected.includes(entry);
  const cell = gallery.element(
    "div",
    { role: "gridcell", className: "cell", tabIndex: position === gallery.active ? 0 : -1, "aria-selected": isSelected },
    gallery.thumbnail(entry),
    gallery.element("div", { className: "caption", "aria-hidden": "true" }, gallery.titleOf(entry)),
    entry.rating ? gallery.element("span", { className: "stars" }, gallery.stars(entry.rating)) : "",
  );
  const mark = gallery.element("span", { className: "mark", "aria-hidden": "true", title: "Select for comparison" });
  cell.append(mark);
  cell.position = position;
  return cell;
}

/** Returns the thumbnail of an image, or a placeholder for a damaged file. The alternative text is the prompt. */
gallery.thumbnail = (entry, alt = gallery.titleOf(entry)) =>
  entry.thumbnail
    ? gallery.element("img", { src: entry.thumbnail, alt, decoding: "async", draggable: false })
    : gallery.element("div", { className: "damaged" }, `${entry.name}: damaged`);

gallery.stars = (rating) =>
  gallery.element("span", { role: "img", "aria-label": `Rating: ${rating} of 5` }, "★".repeat(rating));

const cellAt = (position) =>
  [...(rowElements.get(rowOf[position])?.children || [])].find((cell) => cell.position === position);

/** Makes an image the active one, and scrolls to it. */
gallery.activate = (position, { focus = true } = {}) => {
  if (!gallery.shown.length) return;
  const previous = cellAt(gallery.active);
  if (previous) previous.tabIndex = -1;
  gallery.active = Math.min(gallery.shown.length - 1, Math.max(0, position));
  const { top, height } = rows[rowOf[gallery.active]];
  const header = document.querySelector("header").offsetHeight;
  const tray = document.getElementById("tray").offsetHeight;
  const start = grid.offsetTop + top;
  if (start - header - GAP < window.scrollY) window.scrollTo(0, start - header - GAP);
  else if (start + height + GAP + tray > window.scrollY + window.innerHeight)
    window.scrollTo(0, start + height + GAP + tray - window.innerHeight);
  render();
  const cell = cellAt(gallery.active);
  cell.tabIndex = 0;
  if (focus) cell.focus({ preventScroll: true });
};

/** Returns the image of another row whose center is nearest to the center of the active one. */
function neighbor(step) {
  const row = rows[rowOf[gallery.active] + step];
  if (!row) return gallery.active;
  const center = (position) => {
    const { start, height } = rows[rowOf[position]];
    let left = 0;
    for (let index = start; index < position; index++) left += gallery.shown[index].aspect * height + GAP;
    return left + (gallery.shown[position].aspect * height) / 2;
  };
  const wanted = center(gallery.active);
  let best = row.start;
  for (let position = row.start; position < row.end; position++) {
    if (Math.abs(center(position) - wanted) < Math.abs(center(best) - wanted)) best = position;
  }
  return best;
}

const moves = {
  ArrowRight: () => gallery.active + 1,
  ArrowLeft: () => gallery.active - 1,
  ArrowDown: () => neighbor(1),
  ArrowUp: () => neighbor(-1),
  Home: () => 0,
  End: () => gallery.shown.length - 1,
  PageDown: () => rows[Math.min(rows.length - 1, rowOf[gallery.active] + 3)].start,
  PageUp: () => rows[Math.max(0, rowOf[gallery.active] - 3)].start,
};

grid.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !gallery.shown.length) return;
  if (moves[event.key]) gallery.activate(moves[event.key]());
  else if (event.key === "Enter") gallery.showImage(gallery.shown[gallery.active]);
  else if (event.key === " ") gallery.toggleSelected(gallery.shown[gallery.active]);
  else return;
  event.preventDefault();
});

grid.addEventListener("click", (event) => {
  const cell = event.target.closest(".cell");
  if (!cell) return;
  gallery.activate(cell.position);
  const entry = gallery.shown[cell.position];
  if (event.target.closest(".mark") || event.ctrlKey || event.metaKey || event.shiftKey) gallery.toggleSelected(entry);
  else gallery.showImage(entry);
});

gallery.toggleSelected = (entry) => {
  if (gallery.selected.includes(entry)) gallery.selected = gallery.selected.filter((other) => other !== entry);
  else if (gallery.selected.length < MAX_SELECTED) gallery.selected = [...gallery.selected, entry];
  else return gallery.announce(`Not selected: at most ${MAX_SELECTED} images can be compared.`);
  gallery.showSelected();
};

gallery.showSelected = () => {
  for (const cell of grid.querySelectorAll(".cell")) {
    cell.setAttribute("aria-selected", gallery.selected.includes(gallery.shown[cell.position]));
  }
  const tray = document.getElementById("tray");
  const count = gallery.selected.length;
  tray.hidden = !count;
  document.getElementById("tray-images").replaceChildren(
    ...gallery.selected.map((entry) =>
      gallery.element(
        "button",
        { type: "button", className: "tile", title: "Remove", onclick: () => gallery.toggleSelected(entry) },
        gallery.thumbnail(entry, `Remove ${gallery.titleOf(entry)} from the comparison`),
      ),
    ),
  );
  const compare = document.getElementById("compare");
  compare.disabled = count < 2;
  compare.textContent = count < 2 ? "Select another" : `Compare ${count}`;
  gallery.announce(count ? `${count} of ${MAX_SELECTED} images selected for comparison.` : "No image is selected.");
};

let isRendering = false;
window.addEventListener("scroll", () => {
  if (isRendering) return;
  isRendering = true;
  requestAnimationFrame(() => {
    isRendering = false;
    render();
  });
}, { passive: true });

let lastWidth = 0;
new ResizeObserver(() => {
  if (grid.clientWidth === lastWidth) return;
  lastWidth = grid.clientWidth;
  layOut();
}).observe(grid);
