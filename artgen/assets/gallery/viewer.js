"use strict";
/* The view of one image: settings, commands, lineage, frames and mask. */
const viewer = document.getElementById("viewer");
const MAX_TREE_IMAGES = 200;
let viewed = null;

const heading = (text) => gallery.element("h3", {}, text);
const button = (text, onclick, properties = {}) =>
  gallery.element("button", { type: "button", textContent: text, onclick, ...properties });

gallery.showImage = (entry, { adds = !viewer.open, writes = true } = {}) => {
  viewed = entry;
  if (writes) gallery.writeAddress({ image: entry.id }, adds);
  const focused = viewer.contains(document.activeElement) ? document.activeElement.dataset.action : "";
  const details = gallery.element("div", { className: "details" }, "Loading …");
  viewer.replaceChildren(imagePane(entry), sidePane(entry, details));
  if (!viewer.open) viewer.showModal();
  (viewer.querySelector(`[data-action="${focused || "close"}"]`) || viewer).focus();
  gallery.detailsOf(entry).then(
    (found) => viewed === entry && fillDetails(entry, found || {}, details),
    (error) => (details.textContent = `The settings cannot be loaded. ${error.message}`),
  );
};

function imagePane(entry) {
  const image = gallery.thumbnail(entry);
  const pane = gallery.element("figure", { className: "picture" }, image);
  gallery.detailsOf(entry).then((details) => {
    if (!details?.image || viewed !== entry) return;
    const original = gallery.element("img", { alt: image.alt, decoding: "async" });
    original.onload = () => image.replaceWith(original);
    original.onerror = () =>
      pane.append(gallery.element("figcaption", {}, "The file is not at its place. This is the thumbnail."));
    original.src = details.image;
  }, () => {});
  return pane;
}

function sidePane(entry, details) {
  const isSelected = gallery.selected.includes(entry);
  return gallery.element(
    "div",
    { className: "side" },
    gallery.element(
      "div",
      { className: "actions" },
      button("‹", () => step(-1), { "aria-label": "Previous image", "data-action": "previous" }),
      button("›", () => step(1), { "aria-label": "Next image", "data-action": "next" }),
      button(isSelected ? "Selected" : "Select", (event) => {
        gallery.toggleSelected(entry);
        const now = gallery.selected.includes(entry);
        event.target.setAttribute("aria-pressed", now);
        event.target.textContent = now ? "Selected" : "Select";
      }, { "aria-pressed": isSelected, "data-action": "select", title: "Select for comparison" }),
      button("Copy link", () => gallery.copy(location.href.split("#")[0] + `#image=${entry.id}`, viewer)),
      button("✕", () => viewer.close(), { "aria-label": "Close", "data-action": "close", className: "close" }),
    ),
    gallery.element("p", { role: "status", className: "message" }),
    entry.note ? gallery.element("p", { className: "note" }, entry.note) : "",
    entry.prompt ? gallery.element("p", { className: "prompt" }, entry.prompt) : "",
    entry.negative ? gallery.element("p", { className: "negative" }, `Not: ${entry.negative}`) : "",
    gallery.element(
      "p",
      { className: "label" },
      gallery.element("span", { id: "viewer-name", className: "name" }, entry.name),
      ...[gallery.sizeOf(entry), entry.model, madeText(entry)].filter(Boolean).map((text) => gallery.element("span", {}, text)),
      entry.rating ? gallery.stars(entry.rating) : "",
      ...entry.tags.map((tag) => gallery.element("span", { className: "tag" }, tag)),
    ),
    details,
  );
}

const madeText = (entry) =>
  entry.made ? new Date(entry.time).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }) : "";

function fillDetails(entry, details, target) {
  const settings = Object.entries(details.settings || {}).filter(([name]) => !["prompt", "negative_prompt"].includes(name));
  const facts = Object.entries(details.facts || {});
  if (details.seconds) settings.push(["seconds", String(details.seconds)]);
  target.replaceChildren(
    ...lineage(entry),
    ...command("Generate this image again", details.replay),
    ...command("Command line", details.command),
    ...picture("Mask", details.mask),
    ...frames(details.frames),
    ...(settings.length ? [heading("Settings"), table(settings)] : [gallery.element("p", {}, "The image has no record.")]),
    ...(facts.length ? [gallery.element("details", {}, gallery.element("summary", {}, "Provenance"), table(facts))] : []),
    ...(details.image ? [gallery.element("p", {}, gallery.element("a", { href: details.image }, "Open the file"))] : []),
  );
}

const table = (rows) =>
  gallery.element("dl", {}, rows.flatMap(([name, value]) => [
    gallery.element("dt", {}, name.replaceAll("_", " ")),
    gallery.element("dd", {}, value),
  ]));

function command(title, text) {
  if (!text) return [];
  const code = gallery.element("code", { tabIndex: 0 }, text);
  return [heading(title), gallery.element("div", { className: "command" }, gallery.element("pre", {}, code),
    button("Copy", () => gallery.copy(text, viewer, code), { "aria-label": `Copy: ${title}` }))];
}

function picture(title, address) {
  return address ? [heading(title), gallery.element("img", { className: "extra", src: address, alt: title })] : [];
}

/** Frames are played only after a click: an animation can disturb. */
function frames(address) {
  if (!address) return [];
  const play = button("Play the frames", () =>
    play.replaceWith(gallery.element("img", { className: "extra", src: address, alt: "Frames of the generation" })));
  const link = gallery.element("a", { href: address }, "Open the file of the frames");
  return [heading("Frames"), address.endsWith(".mp4") ? "" : play, " ", link];
}

/** Returns the tree of images: the first image, all images that were made from it, and other input files. */
function lineage(entry) {
  const inputs = entry.parents.map((parent) => ({ ...parent, entry: gallery.parentEntry(parent, entry) }));
  if (!inputs.length && !gallery.childrenOf(entry).length) return [];
  let root = entry;
  const seen = new Set([entry]);
  for (let parent = inputs[0]?.entry; parent && !seen.has(parent); ) {
    root = parent;
    seen.add(parent);
    parent = parent.parents[0] && gallery.parentEntry(parent.parents[0], parent);
  }
  const drawn = new Set();
  const branch = (each) => {
    drawn.add(each);
    const children = gallery.childrenOf(each).filter((child) => !drawn.has(child) && drawn.size < MAX_TREE_IMAGES);
    const list = children.filter((child) => !drawn.has(child)).map(branch);
    return gallery.element("li", {}, relative(each, each === entry), list.length ? gallery.element("ul", {}, list) : "");
  };
  const lost = root.parents[0];
  const tree = gallery.element("ul", { className: "tree" }, branch(root));
  const others = inputs.filter((input, index) => index > 0 || !input.entry);
  return [
    heading("Lineage"),
    root !== entry && lost ? gallery.element("p", { className: "input" }, `Made from ${lost.name || "an image"}, which is not in this gallery`) : "",
    ...others.map((input) =>
      gallery.element("div", { className: "input" }, gallery.element("span", {}, `${input.role}: `),
        input.entry ? relative(input.entry, false) : `${input.name || input.id}, not in this gallery`)),
    root !== entry || gallery.childrenOf(entry).length ? tree : "",
  ];
}

const relative = (entry, isCurrent) =>
  gallery.element(
    "button",
    { type: "button", className: "relative", "aria-current": isCurrent ? "true" : null, onclick: () => gallery.showImage(entry) },
    gallery.thumbnail(entry, ""),
    gallery.element("span", {}, gallery.element("b", {}, entry.task || "image"), " ", gallery.titleOf(entry)),
  );

function step(by) {
  const position = gallery.shown.indexOf(viewed) + by;
  if (position < 0 || position >= gallery.shown.length) return;
  gallery.activate(position, { focus: false });
  gallery.showImage(gallery.shown[position]);
}

viewer.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "ArrowRight") step(1);
  else if (event.key === "ArrowLeft") step(-1);
  else return;
  event.preventDefault();
});

viewer.addEventListener("close", () => {
  viewed = null;
  viewer.replaceChildren();
  gallery.writeAddress({});
  gallery.activate(gallery.active);
});

/** Copies a text. Without permission, the old command of the browser is used; else the text is selected. */
gallery.copy = async (text, dialog, shown) => {
  const message = dialog.querySelector(".message");
  try {
    await navigator.clipboard.writeText(text);
    message.textContent = "Copied.";
  } catch {
    const area = gallery.element("textarea", { value: text, className: "hidden", "aria-hidden": "true" });
    const focused = document.activeElement;
    dialog.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    focused?.focus();
    message.textContent = isCopied ? "Copied." : "The browser does not allow copying. Press Ctrl+C.";
    if (!isCopied && shown) getSelection().selectAllChildren(shown);
  }
};
