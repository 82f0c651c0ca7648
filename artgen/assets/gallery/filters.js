"use strict";
/* Search, filters, order, and their values in the address after #. */
gallery.filterNames = ["q", "model", "task", "lora", "size", "rating", "from", "to", "sort"];
gallery.query = {};

gallery.sizeOf = (entry) => (entry.width ? `${entry.width} × ${entry.height}` : "");

const valuesOf = {
  model: (entry) => [entry.model],
  task: (entry) => [entry.task],
  lora: (entry) => entry.loras,
  size: (entry) => [gallery.sizeOf(entry)],
};

const collator = new Intl.Collator(undefined, { numeric: true });
const orders = {
  newest: (a, b) => a.index - b.index,
  oldest: (a, b) => b.index - a.index,
  rating: (a, b) => (b.rating || 0) - (a.rating || 0) || a.index - b.index,
  name: (a, b) => collator.compare(a.name, b.name) || a.index - b.index,
  prompt: (a, b) => collator.compare(a.prompt || "\uffff", b.prompt || "\uffff") || a.index - b.index,
  size: (a, b) => b.width * b.height - a.width * a.height || a.index - b.index,
};

/** Returns the parts of a search: words and "quoted texts"; a part with a leading - must not occur. */
gallery.searchParts = (text) => {
  const parts = [...text.toLowerCase().matchAll(/(-?)"([^"]+)"?|(-?)(\S+)/g)];
  return parts.map(([, quotedMinus, quoted, minus, word]) => ({
    text: quoted || word,
    excluded: (quotedMinus || minus) === "-" && (quoted || word).length > 0,
  }));
};

gallery.find = (query) => {
  const parts = gallery.searchParts(query.q || "");
  const rating = Number(query.rating || 0);
  const names = Object.keys(valuesOf).filter((name) => query[name]);
  // The time of an image is UTC; a day of the filter is a day of the local time of the reader.
  const from = query.from ? Date.parse(`${query.from}T00:00:00`) : -Infinity;
  const to = query.to ? Date.parse(`${query.to}T23:59:59.999`) : Infinity;
  const found = gallery.entries.filter(
    (entry) =>
      parts.every((part) => entry.text.includes(part.text) !== part.excluded) &&
      names.every((name) => valuesOf[name](entry).includes(query[name])) &&
      (!rating || (entry.rating || 0) >= rating) &&
      (!(query.from || query.to) || (entry.time >= from && entry.time <= to)),
  );
  return query.sort && orders[query.sort] ? found.sort(orders[query.sort]) : found;
};

/** Fills the lists of the filters with the values of all images and their numbers. */
gallery.fillFilters = () => {
  for (const name of Object.keys(valuesOf)) {
    const counts = new Map();
    for (const entry of gallery.entries) {
      for (const value of valuesOf[name](entry)) if (value) counts.set(value, (counts.get(value) || 0) + 1);
    }
    if (gallery.query[name] && !counts.has(gallery.query[name])) counts.set(gallery.query[name], 0);
    const values = [...counts.keys()].sort(collator.compare);
    const options = values.map((value) =>
      gallery.element("option", { value, textContent: `${value} (${counts.get(value).toLocaleString()})` }),
    );
    const select = document.getElementById(name);
    select.replaceChildren(gallery.element("option", { value: "", textContent: "All" }), ...options);
    select.value = gallery.query[name] || "";
    select.closest("label").hidden = values.length < 2 && !gallery.query[name];
  }
  const isRated = gallery.entries.some((entry) => entry.rating);
  document.getElementById("rating").closest("label").hidden = !isRated && !gallery.query.rating;
};

const inputOf = (name) => document.getElementById(name === "q" ? "search" : name);

gallery.readInputs = () => {
  for (const name of gallery.filterNames) gallery.query[name] = inputOf(name).value;
};

gallery.clearFilters = () => {
  for (const name of gallery.filterNames) if (name !== "sort") inputOf(name).value = "";
};

/** Reads the address. Returns the image to show and the images to compare. */
gallery.readAddress = () => {
  const values = new URLSearchParams(location.hash.slice(1));
  for (const name of gallery.filterNames) {
    gallery.query[name] = values.get(name) || (name === "sort" ? "newest" : "");
    inputOf(name).value = gallery.query[name];
  }
  return { image: values.get("image"), compare: (values.get("compare") || "").split(",").filter(Boolean).slice(0, 4) };
};

gallery.addressOf = (shown = {}) => {
  const values = new URLSearchParams();
  for (const name of gallery.filterNames) {
    const value = gallery.query[name];
    if (value && value !== "newest") values.set(name, value);
  }
  for (const [name, value] of Object.entries(shown)) values.set(name, value);
  return `#${values}`;
};

/** Writes the address; with `adds`, the back button of the browser returns to the previous one. */
gallery.writeAddress = (shown, adds = false) => {
  const address = gallery.addressOf(shown);
  if (address === (location.hash || "#")) return;
  history[adds ? "pushState" : "replaceState"](null, "", address);
};
