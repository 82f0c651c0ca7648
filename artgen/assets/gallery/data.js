"use strict";
/* Loads the data and keeps it. The static page loads scripts, because a page of a file system cannot use fetch. The page
   of `artgen serve` loads JSON, because another website could include a script with private prompts. */
const gallery = {
  entries: [],
  byId: new Map(),
  byKey: new Map(),
  children: null,
  config: {},
  loads: new Map(),
  details: new Map(),
};

/** Returns an element. Texts become text nodes; the page never interprets data as HTML. */
gallery.element = (name, properties = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key in element && key !== "role") element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== ""));
  return element;
};

gallery.titleOf = (entry) => entry.prompt || entry.name;

gallery.start = async (config) => {
  gallery.config = config;
  if (config.live) Object.assign(config, await (await fetch("gallery/data/config.json")).json());
  document.title = config.title;
  document.getElementById("title").textContent = config.title;
  const pages = Math.max(1, Math.ceil(config.count / config.perPage));
  for (let number = 0; number < pages && config.count; number++) {
    await gallery.load("entries", number);
    if (number === 0) gallery.showFirst();
    else gallery.showMore();
  }
  if (!config.count) gallery.showFirst();
  gallery.showAll();
};

gallery.load = (kind, number) => {
  const name = `${kind}-${number}`;
  if (!gallery.loads.has(name)) {
    gallery.loads.set(name, gallery.config.live ? loadJson(kind, number) : loadScript(name));
  }
  return gallery.loads.get(name);
};

function loadScript(name) {
  return new Promise((resolve, reject) => {
    const script = gallery.element("script", { src: `gallery/data/${name}.js`, onload: resolve });
    script.onerror = () => reject(new Error(`Cannot load ${name}.js.`));
    document.head.append(script);
  });
}

async function loadJson(kind, number) {
  const response = await fetch(`gallery/data/${kind}-${number}.json?last=${gallery.config.last}`);
  if (!response.ok) throw new Error(`The server answered ${response.status}.`);
  gallery.receive(kind, number, await response.json());
}

gallery.receive = (kind, number, items) => {
  if (kind === "details") {
    for (const item of items) gallery.details.set(item.id, item);
    return;
  }
  items.forEach((entry, position) => {
    entry.index = number * gallery.config.perPage + position;
    entry.time = Date.parse(entry.made);
    entry.parents ??= [];
    entry.loras ??= [];
    entry.tags ??= [];
    entry.aspect = Math.min(3, Math.max(0.4, (entry.width || 1) / (entry.height || 1)));
    const texts = [entry.prompt, entry.name, entry.model, entry.task, entry.seed, ...entry.loras, ...entry.tags];
    entry.text = texts.filter(Boolean).join("\n").toLowerCase();
    gallery.entries.push(entry);
    gallery.byId.set(entry.id, entry);
    if (entry.key && !gallery.byKey.has(entry.key)) gallery.byKey.set(entry.key, entry);
  });
  gallery.children = null;
};

/** Loads the settings and the commands of an image. */
gallery.detailsOf = async (entry) => {
  const number = gallery.config.live ? entry.id : Math.floor(entry.index / gallery.config.perDetails);
  await gallery.load("details", number);
  return gallery.details.get(entry.id);
};

/** Returns the image of the gallery that an input file is: a file with the same hash, else with the same record. */
gallery.parentEntry = (parent, child) => {
  const found = gallery.byId.get(parent.id) || (parent.key && gallery.byKey.get(parent.key));
  return found && found !== child ? found : undefined;
};

gallery.childrenOf = (entry) => {
  if (!gallery.children) {
    gallery.children = new Map();
    for (const child of gallery.entries) {
      for (const found of new Set(child.parents.map((parent) => gallery.parentEntry(parent, child)))) {
        if (!found) continue;
        if (!gallery.children.has(found.id)) gallery.children.set(found.id, []);
        gallery.children.get(found.id).push(child);
      }
    }
  }
  return gallery.children.get(entry.id) || [];
};
