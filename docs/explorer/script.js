// The views of the page. An address names all that is chosen, so that every state can be linked:
//   #googlenet/inception3a/branch_5x5    #change/googlenet/size=64&channels=1    #see/clothing/0/conv1
//   #hand/12    #trained/0
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const seen = JSON.parse(document.getElementById("seen").textContent);
const { comma, sum } = arithmetic;
const $ = (id) => document.getElementById(id);
const PAPER = { size: 224, channels: 3, classes: 1000, batchNorm: false, heads: true, whatIf: "none" };

/** An element: h("a", {href: "#"}, "text", child). Null children and attributes are left out. */
function h(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "text", "line", "circle", "title", "g"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
const fill = (id, ...children) => $(id).replaceChildren(...children.flat(9).filter(Boolean));
const here = (condition, what = "true") => (condition ? what : null);
const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;
const length = (share) => `${(100 * share).toFixed(1)}%`; // of a bar
const short = (n) =>
  n >= 1e9 ? `${(n / 1e9).toFixed(2)} billion` : n >= 1e6 ? `${(n / 1e6).toFixed(1)} million` : comma(n);
const millions = (n) => (n ? `${(n / 1e6).toLocaleString("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 })} M` : "0");
const memory = (values) => (values < 25e3 ? `${comma(Math.round(values / 25) / 10)} kB` : `${comma(Math.round(values / 25e3) / 10)} MB`);
const shapeOf = ({ channels, side, flat }) => (flat ? comma(channels) : `${channels} × ${side} × ${side}`);
const title = (row) => row.name.replace(/(\d)x(\d)/g, "$1×$2");
const brief = (row) => title(row).replace(/^inception \((.*)\)$/, "$1").replace("convolution", "conv").replace(/ 3×3\/2/, "");
const minus = (n) => String(n).replace("-", "−");

/** The colour of a row or a layer: what it does. */
function hue({ kind, paths, source }) {
  if (paths) return source ? "head" : paths.length > 1 ? "concat" : hue(paths[0].at(-1).kind === "normalisation" ? paths[0].at(-2) : paths[0].at(-1));
  return { convolution: "convolution", linear: "linear", dropout: "none", normalisation: "none" }[kind] ?? "pooling";
}
const KINDS = { convolution: "convolution", pooling: "pooling", concat: "inception module", head: "auxiliary head, in training only", linear: "linear", none: "dropout" };

const describe = (layer) =>
  ({
    convolution: `${layer.kernel}×${layer.kernel} convolution`, linear: "linear", dropout: "dropout",
    average: "average pool", normalisation: "local response normalisation",
  })[layer.kind] ?? `${layer.kernel}×${layer.kernel} ${layer.kind}`;

// ------------------------------------------------------------------- tables of a network

/** The rows of a network as a table, with what they were before where that has changed. */
function tableOf({ rows, main, all }, { link, current, before, compact }) {
  const most = (what) => Math.max(...rows.map((row) => row[what]));
  const old = before && new Map(before.rows.map((row) => [row.id, row]));
  const cell = (row, what, write, bar) => {
    const [was, is] = [old?.get(row.id) && write(old.get(row.id)), write(row)];
    const moved = was !== undefined && was !== is;
    const share = bar ? h("span", { class: "bar", "--share": length(row[what] / most(what)) }) : null;
    return h("td", { class: here(moved, "moved") }, moved ? h("s", {}, was) : null, is, share);
  };
  const line = (row) =>
    h("tr", { class: `${hue(row)} ${old && !old.has(row.id) ? "new" : ""}`, "data-current": here(row.id === current) },
      h("th", { scope: "row" }, h("a", { href: link(row), "aria-current": here(row.id === current) }, title(row))),
      cell(row, "shape", (r) => shapeOf(r.output)),
      cell(row, "parameters", (r) => comma(r.parameters), true),
      cell(row, "macs", (r) => (compact ? millions(r.macs) : comma(r.macs)), true),
      compact ? null : cell(row, "values", (r) => memory(r.values)));
  const foot = (name, total) =>
    h("tr", {}, h("th", { scope: "row" }, name), h("td"), h("td", {}, comma(total.parameters)),
      h("td", {}, compact ? millions(total.macs) : comma(total.macs)), compact ? null : h("td", {}, memory(total.values)));
  return h("table", {},
    h("thead", {}, h("tr", {}, ["Row", "Output", "Parameters", "MACs", compact ? null : "Memory"].filter(Boolean).map((t) => h("th", { scope: "col" }, t)))),
    h("tbody", {}, rows.map(line)),
    h("tfoot", {}, foot("all rows", main), all.parameters === main.parameters ? null : foot("with the heads", all)));
}

/** The arithmetic of a row, layer by layer. */
function sumsOf(row, only) {
  const several = row.paths.flat().length > 1;
  const layers = row.paths.flat().filter((layer) => !only || layer.name.startsWith(only));
  const list = layers.map((layer) => [
    several ? h("dt", { class: "of" }, `${describe(layer)}, ${layer.input.channels} → ${layer.output.channels} channels`) : null,
    layer.sums.map(([what, text]) => [h("dt", {}, what), h("dd", {}, text)]),
  ]);
  const ends = row.paths.map((path) => path.at(-1).output.channels);
  const total = several && row.macs && !only;
  return h("dl", { class: "sums" }, list,
    total ? h("dt", { class: "of" }, "together") : null,
    total && ends.length > 1 ? [h("dt", {}, "channels"), h("dd", {}, `${ends.join(" + ")} = ${row.output.channels}`)] : null,
    total ? ["parameters", "macs"].map((what) => {
      const terms = row.paths.flat().map((layer) => layer[what]).filter(Boolean).map(comma);
      return [h("dt", {}, what.replace("macs", "MACs")), h("dd", {}, `${terms.join(" + ")} = ${comma(row[what])}`)];
    }) : null);
}

// ------------------------------------------------------------------- 1. walk through a network

const papersOwn = Object.fromEntries(Object.entries(data.networks).map(([name, network]) => [name, arithmetic.compute(network, PAPER)]));

function strip(name, result, current) {
  const unit = 1.5 / 512; // rem a channel
  const volume = ({ channels, side }) => `height:${(11 * side) / 224}rem;width:${channels * unit}rem`;
  const box = (row) => {
    const parts = row.paths.length > 1 ? row.paths.map((path) => h("i", { class: hue(path.at(-1).kind === "convolution" && path[0].kind !== "convolution" ? path[0] : path.at(-1)), "--part": path.at(-1).output.channels })) : [];
    return h("span", { class: `box ${hue(row)}`, style: volume(row.output) }, parts);
  };
  const main = result.rows.filter((row) => !row.source);
  const picture = h("div", { class: "column" }, h("span", { class: "layer" }, h("span", { class: "box image", style: volume(main[0].input) }), h("span", { class: "name" }, "image")));
  fill("strip", picture, main.map((row) => {
    const head = result.rows.find((other) => other.source === row.id);
    return h("div", { class: "column" },
      h("a", { class: "layer", href: `#${name}/${row.id}`, "aria-current": here(row.id === current), "aria-label": `${title(row)}, ${shapeOf(row.output)}` },
        box(row), h("span", { class: "name" }, brief(row))),
      head ? h("a", { class: "branch head", href: `#${name}/${head.id}`, "aria-current": here(head.id === current), "aria-label": head.name }, "head") : null);
  }));
  const chosen = $("strip").querySelector("[aria-current]");
  if (chosen) $("strip").scrollLeft = chosen.parentNode.offsetLeft - $("strip").offsetLeft - $("strip").clientWidth / 2;
}

function showWalk(name, id, branch) {
  const network = data.networks[name];
  const result = papersOwn[name];
  const row = result.rows.find((one) => one.id === id) ?? result.rows.find((one) => one.id === (name === "vgg16" ? "conv1_1" : "inception3a"));
  const { main, all } = result;
  $("walk-title").textContent = network.title;
  fill("idea", network.idea);
  fill("source-of-table", h("a", { href: network.link }, network.paper), `. The rows are those of ${network.table}; 224 px, RGB, 1,000 classes.`);
  for (const link of document.querySelectorAll("[data-network]")) {
    link.toggleAttribute("aria-current", link.dataset.network === name);
    if (link.dataset.network === name) link.setAttribute("aria-current", "true");
  }
  const total = (term, value, note) => h("div", {}, h("dt", {}, term), h("dd", {}, value, h("small", {}, note)));
  fill("totals",
    total("Parameters", short(main.parameters), all.parameters > main.parameters ? `${comma(all.parameters)} with the heads` : comma(main.parameters)),
    total("MACs for one image", short(main.macs), "one MAC uses one weight once"),
    total("Activations of one image", memory(main.values), "each output once, 32 bits"),
    total("One last cell sees", `${Math.max(...main ? result.rows.filter((r) => !r.output.flat && r.output.side > 1).map((r) => r.output.field) : [])} px`, "a side; the image has 224"));
  strip(name, result, row.id);
  fill("rows", tableOf(result, { link: (r) => `#${name}/${r.id}`, current: row.id, compact: true }));
  fill("detail", detail(name, result, row, branch));
  const made = $("detail").querySelector("pre.code .made");
  if (made) made.parentNode.scrollTop = made.offsetTop - made.parentNode.offsetTop - 40;
  $("detail").scrollTop = 0;
}

function detail(name, result, row, branch) {
  const network = data.networks[name];
  const main = result.main;
  const at = result.rows.indexOf(row);
  const step = (to, text, label) => (to ? h("a", { href: `#${name}/${to.id}`, "aria-label": label }, text) : null);
  const { output } = row;
  const path = branch && row.paths.find((layers) => layers[0].name.startsWith(branch));
  const shown = path ? { ...row, output: path.at(-1).output, parameters: sum(path.map((l) => l.parameters)), macs: sum(path.map((l) => l.macs)) } : row;
  const fact = (term, value, note) => h("div", {}, h("dt", {}, term), h("dd", {}, value, note ? h("small", {}, note) : null));
  const of = row.source ? null : (what) => `${percent(shown[what] / main[what])} of the network`;
  const says = row.says.map(([text, where]) => h("li", {}, text, " ", h("cite", {}, where)));
  const whole = shown.output.flat || shown.output.side === 1;
  return [
    h("header", {}, h("h2", {}, title(row)), h("span", { class: `tag ${hue(row)}` }, KINDS[hue(row)]),
      h("span", { class: "chips" }, step(result.rows[at - 1], "←", "row before"), step(result.rows[at + 1], "→", "next row"))),
    row.paths.length > 1 ? modulePicture(name, row, branch) : null,
    h("dl", { class: "facts" },
      fact("Output", shapeOf(shown.output), path ? "of this branch" : `from ${shapeOf(row.input)}`),
      fact("Parameters", comma(shown.parameters), of?.("parameters")),
      fact("MACs", comma(shown.macs), of?.("macs")),
      fact("A cell sees", `${shown.output.field} px`, whole || shown.output.field >= 224 ? "more than the image has" : `stride ${shown.output.jump} px`)),
    h("h3", {}, path ? "Worked out, for this branch" : "Worked out"), sumsOf(row, path && branch),
    h("h3", {}, "In the paper"),
    row.printed ? h("table", { class: "printed" }, h("thead", {}, h("tr", {}, Object.keys(row.printed).map((c) => h("th", { scope: "col" }, c)))),
      h("tbody", {}, h("tr", {}, Object.values(row.printed).map((c) => h("td", {}, c))))) : h("p", {}, row.source ? null : [h("code", {}, row.name), " in ", network.table, "."]),
    h("ul", { class: "says" }, says),
    h("h3", {}, "In the code: ", h("a", { href: `../${network.file}` }, network.file)),
    codeOf(network, path ? { lines: network.branches[branch].concat(row.code.lines.slice(0, 1)), calls: [] } : row.code),
    h("h3", {}, "Proved by"),
    row.tests.map(([file, words]) => h("p", {}, h("a", { href: `../${file}` }, h("code", {}, `python -m pytest ${file} -k ${words}`)))),
    h("p", { class: "quiet" }, h("a", { href: `#change/${name}` }, "Change the question for this network")),
  ];
}

/** An inception module: input, four branches, concatenation. */
function modulePicture(name, row, branch) {
  const columns = row.paths.map((path) => {
    const key = path[0].name.split(".")[0];
    return h("a", { href: `#${name}/${row.id}/${key}`, "aria-current": here(key === branch), "aria-label": `Branch: ${path.map(describe).join(", then ")}` },
      path.map((layer) => h("span", { class: hue(layer) }, describe(layer).replace(" convolution", ""), h("br"), `${layer.input.channels} → ${layer.output.channels}`)));
  });
  const ends = row.paths.map((path) => path.at(-1).output.channels);
  return h("div", { class: "branches" }, h("p", { class: "none" }, `input, ${shapeOf(row.input)}`), columns,
    h("a", { href: `#${name}/${row.id}`, style: "grid-column:1/-1;padding:0", "aria-label": "The whole module" },
      h("span", { class: "concat" }, `concatenation: ${ends.join(" + ")} = ${row.output.channels} channels`)));
}

function codeOf(network, { lines, calls }) {
  const inside = (spans, n) => spans.some(([from, to]) => from <= n && n <= to);
  let documentation = false;
  return h("pre", { class: "code", tabindex: 0, role: "region", "aria-label": `${network.file}, lines ${lines.map((l) => l.join(" to ")).join(", ")} marked` },
    network.source.trimEnd().split("\n").map((text, i) => {
      const quotes = text.split('"""').length - 1;
      const [, code, comment] = documentation || quotes ? [0, "", text] : text.match(/^([^#]*)(.*)$/);
      if (quotes === 1) documentation = !documentation;
      const kind = inside(lines, i + 1) ? "made" : inside(calls, i + 1) ? "called" : null;
      return h("span", { class: kind }, code, comment && h("i", {}, comment), code || comment ? null : " ");
    }));
}

// ------------------------------------------------------------------- 2. change the question

const ASK = { size: "Image size, px", channels: "Channels of the image", classes: "Classes" };

function settingsFrom(name, text) {
  const settings = { ...PAPER, heads: name === "googlenet", network: name, module: "inception3a" };
  for (const [key, value] of new URLSearchParams(text)) {
    if (key in ASK) settings[key] = Math.max(1, Math.min(4096, Math.round(Number(value)) || 1));
    else if (key === "norm" || key === "heads") settings[key === "norm" ? "batchNorm" : key] = value === "1";
    else if (key === "if" && data.what_ifs.some(([network, id]) => network === name && id === value)) settings.whatIf = value;
    else if (key === "module" && /^inception\d\w$/.test(value)) settings.module = value;
    else if (key === "widths") settings.widths = value.split(",").map((w) => Math.max(1, Math.min(4096, Number(w) | 0)));
    else if (key === "row") settings.row = value;
  }
  if (settings.widths?.length !== 6) settings.widths = tableWidths(settings.module);
  return settings;
}

const tableWidths = (module) => {
  const layers = data.networks.googlenet.rows.find((row) => row.id === module)?.paths.flat() ?? [];
  return arithmetic.WIDTHS.map((key) => layers.find((layer) => layer.name === key)?.out ?? 1);
};

/** The address of settings: what differs from the paper's. */
function addressOf(s) {
  const pairs = Object.keys(ASK).filter((key) => s[key] !== PAPER[key]).map((key) => `${key}=${s[key]}`);
  if (s.batchNorm) pairs.push("norm=1");
  if (s.network === "googlenet" && !s.heads) pairs.push("heads=0");
  if (s.whatIf !== "none") pairs.push(`if=${s.whatIf}`);
  if (s.whatIf === "widths") pairs.push(`module=${s.module}`, `widths=${s.widths}`);
  if (s.row) pairs.push(`row=${s.row}`);
  return `#change/${s.network}${pairs.length ? `/${pairs.join("&")}` : ""}`;
}

function showChange(name = "googlenet", text = "") {
  const s = settingsFrom(name in data.networks ? name : "googlenet", text);
  const network = data.networks[s.network];
  buildForm(s);
  const before = arithmetic.compute(network, { ...PAPER, heads: s.heads });
  const result = arithmetic.compute(network, s);
  if (result.error || result.rows.some((row) => row.impossible)) {
    fill("answer", h("div", { class: "card impossible", role: "alert" }, h("h2", {}, "That cannot be built"), h("p", { class: "note" }, `${result.error ?? "A window is larger than its map"}.`)));
    fill("changed-rows");
    return;
  }
  const change = (term, what, write) => {
    const [was, is] = [before.all[what], result.all[what]];
    const note = was === is ? "as in the paper" : `${is > was ? "+" : "−"}${write(Math.abs(is - was))}: ${(is / was).toFixed(2)} of the paper's`;
    return h("div", {}, h("dt", {}, term), h("dd", {}, write(is), h("small", {}, note)));
  };
  const notes = data.what_ifs.filter(([of, id]) => of === s.network && id === s.whatIf).map((w) => w[3]);
  if (s.batchNorm) notes.push(data.options.batch_norm);
  if (s.network === "googlenet" && !s.heads) notes.push(data.options.no_heads);
  const shapes = result.rows.filter((row) => { const old = before.rows.find((r) => r.id === row.id); return !old || String(old.shape) !== String(row.shape); });
  const gone = before.rows.length - result.rows.length;
  fill("answer",
    h("dl", { class: "totals" }, change(s.network === "googlenet" && s.heads ? "Parameters, heads included" : "Parameters", "parameters", comma),
      change("MACs for one image", "macs", comma), change("Activations of one image", "values", memory)),
    h("p", { class: "note" }, shapes.length ? `${shapes.length} of ${result.rows.length} rows put out another shape.` : "No row puts out another shape.", gone > 0 ? ` ${gone} rows are gone.` : ""),
    notes.map((text) => h("p", { class: "note" }, text)));
  const row = result.rows.find((one) => one.id === s.row);
  fill("changed-rows", tableOf(result, { link: (r) => addressOf({ ...s, row: r.id === s.row ? null : r.id }), current: s.row, before }),
    row ? h("div", { class: "card", style: "margin-top:1.5rem" }, h("h2", {}, title(row)), h("h3", {}, "Worked out with these settings"), sumsOf(row)) : h("p", { class: "quiet note" }, "Choose a row to see its arithmetic. Memory: every output once in 32 bits, as training keeps it; ReLU works in place."));
}

let builtFor = "";
function buildForm(s) {
  const set = (change) => { location.replace(addressOf({ ...s, row: null, ...change })); };
  const key = JSON.stringify([s.network, s.whatIf, s.module]);
  const number = (name, label, limits) => {
    const input = (type) => h("input", { type, name, value: s[name], ...limits, "aria-label": label, oninput: (event) => event.target.value && set({ ...current(), [name]: Number(event.target.value) }) });
    return h("fieldset", {}, h("label", {}, label), h("div", { class: "pair" }, input("range"), input("number")));
  };
  // The settings of now, not of when the form was built.
  const current = () => settingsFrom(s.network, location.hash.split("/")[2]);
  const check = (name, label) => h("label", { class: "check" }, h("input", { type: "checkbox", name, checked: s[name], onchange: (event) => set({ ...current(), [name]: event.target.checked }) }), label);
  if (key !== builtFor) {
    builtFor = key;
    const choices = data.what_ifs.filter(([of]) => of === s.network);
    const choice = (id, label) => h("label", { class: "check" }, h("input", { type: "radio", name: "whatIf", value: id, checked: s.whatIf === id, onchange: () => set({ ...current(), whatIf: id }) }), label);
    fill("settings",
      h("div", { class: "switch", role: "group", "aria-label": "Network", style: "justify-self:start" }, Object.entries(data.networks).map(([id, { title }]) => h("a", { href: `#change/${id}`, "aria-current": here(id === s.network) }, title))),
      number("size", ASK.size, { min: 16, max: 512, step: s.network === "vgg16" ? 4 : 1 }),
      number("channels", ASK.channels, { min: 1, max: 16 }), number("classes", ASK.classes, { min: 1, max: 2000 }),
      h("fieldset", {}, h("legend", {}, "Parts"), check("batchNorm", "Batch-norm after each convolution"), s.network === "googlenet" ? check("heads", "Auxiliary heads") : null),
      h("fieldset", {}, h("legend", {}, "What if"), choice("none", "As in the paper"), choices.map(([, id, label]) => choice(id, label))),
      s.whatIf === "widths" ? h("fieldset", {}, h("legend", {}, "Module and its widths"),
        h("select", { "aria-label": "Module", onchange: (event) => set({ ...current(), module: event.target.value, widths: tableWidths(event.target.value) }) },
          data.networks.googlenet.rows.filter(arithmetic.isModule).map((row) => h("option", { value: row.id, selected: row.id === s.module }, row.name))),
        h("div", { class: "six" }, ["#1×1", "#3×3 reduce", "#3×3", "#5×5 reduce", "#5×5", "pool proj"].map((label, i) =>
          h("label", {}, label, h("input", { type: "number", min: 1, max: 4096, "data-width": i, value: s.widths[i], oninput: (event) => { const now = current(); event.target.value && set({ ...now, widths: now.widths.with(i, Number(event.target.value)) }); } }))))) : null,
      h("div", {}, h("button", { type: "button", onclick: () => { builtFor = ""; location.hash = `#change/${s.network}`; } }, "Back to the paper")));
  }
  for (const input of $("settings").querySelectorAll("input")) { // follow the address, but not while one types
    if (input === document.activeElement && input.type === "number") continue;
    if (input.type === "checkbox") input.checked = s[input.name];
    else if (input.type === "radio") input.checked = s.whatIf === input.value;
    else if (input.dataset.width) input.value = s.widths[input.dataset.width];
    else input.value = s[input.name];
  }
}

// ------------------------------------------------------------------- 3. see what it sees

let cell = [];
let heat = false;
function showSee(which, index, layer) {
  const network = seen[which] ?? seen.clothing;
  which = network === seen.pets ? "pets" : "clothing";
  const photo = network.photos[index] ?? network.photos[0];
  index = network.photos.indexOf(photo);
  const name = layer in photo.layers ? layer : "inception3b" in photo.layers ? "inception3b" : Object.keys(photo.layers)[0];
  const here_ = photo.layers[name];
  const rows = arithmetic.compute(data.networks.googlenet, { ...PAPER, size: network.size, channels: network.channels, heads: false }).rows;
  const row = rows.find((one) => one.id === name);
  const { side, field, jump, start } = row.output;
  cell = [0, 1].map((axis) => Math.max(0, Math.min(side - 1, cell[axis] ?? side >> 1)));
  fill("photos", Object.entries(seen).map(([id, { photos }]) => photos.map((p, i) =>
    h("a", { href: `#see/${id}/${i}/${name}`, "aria-current": here(p === photo) }, h("img", { src: p.photo, alt: "" }), p.name))));
  fill("layers", Object.keys(photo.layers).map((id) =>
    h("a", { href: `#see/${which}/${index}/${id}`, "aria-current": here(id === name) }, brief(rows.find((r) => r.id === id)))));
  const part = (pixels) => `${(100 * pixels) / network.size}%`;
  const centre = cell.map((c) => start + c * jump + 0.5);
  const frame = h("span", { class: "frame", style: `left:${part(centre[1] - field / 2)};top:${part(centre[0] - field / 2)};width:${part(field)};height:${part(field)}` });
  const best = photo.probabilities.map((p, i) => [p, network.classes[i]]).sort((a, b) => b[0] - a[0]).slice(0, 4);
  const again = () => keepFocus(() => showSee(which, index, name));
  const move = (axis) => (event) => { if (event.target.value !== "") { cell = cell.with(axis, Number(event.target.value)); again(); } };
  fill("looking",
    h("div", { class: `photo ${network.size > 64 ? "smooth" : ""}` }, h("img", { src: photo.photo, alt: photo.name }), heat ? h("img", { src: photo.evidence, alt: `Evidence for ${best[0][1]}: the bright places count` }) : frame),
    h("div", { class: "controls" }, ["Row", "Column"].map((label, axis) => h("label", {}, label, h("input", { type: "number", min: 0, max: side - 1, value: cell[axis], "data-cell": label, onchange: move(axis) }))),
      h("button", { type: "button", "aria-pressed": String(heat), onclick: () => { heat = !heat; again(); } }, "Where the evidence lies")),
    h("p", { class: "note quiet" }, `A cell of ${title(row)} sees ${field} × ${field} pixels${field < network.size ? ` of the image's ${network.size} × ${network.size}` : `, more than the image has (${network.size} × ${network.size})`}. Its neighbour sees as much, ${jump} px further on.`),
    h("h3", {}, "The answer"),
    h("div", { class: "answers" }, best.map(([p, label]) => [h("span", {}, label), h("b", { "--share": length(p) }), h("span", { class: "number" }, percent(p))])));
  const pick = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    cell = [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width].map((x) => Math.floor(x * side));
    again();
  };
  const size = `${100 / side}%`;
  fill("maps", h("h2", {}, title(row)), h("p", { class: "quiet", style: "margin-bottom:1rem" }, `${here_.of} maps of ${side} × ${side}; these eight are the strongest on this image. Bright is large. Choose a cell.`),
    h("div", { class: "maps" }, here_.channels.map((channel, i) => h("figure", {},
      h("div", { class: "map", role: "img", "aria-label": `Map of channel ${channel}`, onclick: pick, style: `background-image:url(${here_.maps});background-position:${(100 * i) / 7}% 0` },
        h("i", { style: `left:${(100 * cell[1]) / side}%;top:${(100 * cell[0]) / side}%;width:${size};height:${size}` })),
      h("figcaption", { class: "quiet" }, `channel ${channel}`)))));
}

// ------------------------------------------------------------------- 4. one layer by hand

const EXAMPLE = {
  X: [[1, 0, 0, 0, 0], [0, 1, 1, 1, 0], [1, 0, 0, 0, 1], [2, 0, 0, 1, 1], [1, 0, 0, 1, 1]],
  K: [[1, 0, -1], [2, 1, 0], [0, -1, -2]], b: 1, dP: [[1, 2], [-1, 3]], rate: 0.01,
};
let given = structuredClone(EXAMPLE);
const neat = (n) => minus(Number(n.toFixed(4)));
const bracket = (n) => (n < 0 ? `(${neat(n)})` : neat(n));
const equals = (text, value) => (text === "" || text === neat(value) ? neat(value) : `${text} = ${neat(value)}`);
const products = (terms) => terms.map(([a, c]) => `${bracket(a)}·${bracket(c)}`).join(" + ");

/** All steps: which matrix and cell they fill, what they read, and the sum in words and numbers. */
function stepsOf(r) {
  const steps = [];
  const all = (matrix, name, make) => matrix.forEach((line, i) => line.forEach((value, j) => steps.push({ name, i, j, value, ...make(i, j, value) })));
  const under = (i, j, n) => Array.from({ length: n * n }, (_, k) => [i + Math.floor(k / n), j + (k % n)]);
  all(r.Y, "Y", (i, j, y) => ({ phase: "Convolution", reads: { X: under(i, j, 3), K: under(0, 0, 3) }, text: "Lay the kernel on the image, multiply what lies on top of each other, add up, add b.", sum: `${products(r.window(i, j))} + ${bracket(given.b)} = ${neat(y)}` }));
  all(r.Z, "Z", (i, j, z) => ({ phase: "ReLU", reads: { Y: [[i, j]] }, text: "What is negative becomes 0.", sum: `max(${neat(r.Y[i][j])}, 0) = ${neat(z)}` }));
  all(r.P, "P", (i, j, p) => ({ phase: "Pooling", pooled: true, reads: { Z: under(i, j, 2) }, text: "The largest of four.", sum: `max(${under(i, j, 2).map(([a, c]) => neat(r.Z[a][c])).join(", ")}) = ${neat(p)}` }));
  steps.push({ phase: "Loss", name: "L", value: r.L, reads: { P: under(0, 0, 2), dP: under(0, 0, 2) }, text: "A loss made up so that its gradient with respect to P is known: it is dP.", sum: `${products(given.dP.flatMap((line, i) => line.map((g, j) => [g, r.P[i][j]])))} = ${neat(r.L)}` });
  all(r.dZ, "dZ", (i, j, g) => {
    const from = r.winners.flatMap((line, p) => line.map((w, q) => [w, p, q])).filter(([w]) => w[0] === i && w[1] === j);
    return { phase: "Back through pooling", pooled: true, reads: { dP: from.map(([, p, q]) => [p, q]), Z: [[i, j]] }, text: from.length ? `It was the largest of ${from.length === 1 ? "one window" : `${from.length} windows`} and gets ${from.length === 1 ? "its gradient" : "the sum of their gradients"}. Of equal ones the first counts.` : "It was the largest of no window, and gets nothing.", sum: equals(from.map(([, p, q]) => bracket(given.dP[p][q])).join(" + "), g) };
  });
  all(r.dY, "dY", (i, j, g) => ({ phase: "Back through ReLU", reads: { dZ: [[i, j]], Y: [[i, j]] }, text: r.Y[i][j] > 0 ? "Y is positive here: the gradient goes through." : "Y is not positive here: the gradient stops.", sum: `${r.Y[i][j] > 0 ? 1 : 0}·${bracket(r.dZ[i][j])} = ${neat(g)}` }));
  const placed = () => r.dY.flatMap((line, i) => line.map((g, j) => [g, i, j])).filter(([g]) => g !== 0);
  const live = (terms, value) => equals(products(terms.filter(([g]) => g !== 0)), value);
  all(r.dK, "dK", (u, v, g) => ({ phase: "Gradient of the kernel", reads: { dY: placed().map(([, i, j]) => [i, j]), X: placed().map(([, i, j]) => [i + u, j + v]) }, text: "Over all places: the gradient there times the pixel that this weight met. Zeros are left out.", sum: live(r.kernelTerms(u, v), g) }));
  steps.push({ phase: "Gradient of the bias", name: "db", value: r.db, reads: { dY: under(0, 0, 3) }, text: "The bias met a 1 everywhere: the sum of dY.", sum: equals(placed().map(([g]) => bracket(g)).join(" + "), r.db) });
  all(r.dX, "dX", (p, q, g) => ({ phase: "Gradient of the image", reads: { dY: placed().filter(([, i, j]) => given.K[p - i]?.[q - j] !== undefined).map(([, i, j]) => [i, j]), K: placed().filter(([, i, j]) => given.K[p - i]?.[q - j] !== undefined).map(([, i, j]) => [p - i, q - j]) }, text: "Over all places whose window held this pixel: the gradient there times the weight that lay on it.", sum: live(r.imageTerms(p, q), g) }));
  all(r.newK, "K after", (u, v, w) => ({ phase: "One step of learning", reads: { K: [[u, v]], dK: [[u, v]] }, text: "Against the gradient, as far as the learning rate says.", sum: `${neat(given.K[u][v])} − ${neat(given.rate)}·${bracket(r.dK[u][v])} = ${neat(w)}` }));
  const squares = sum(r.dK.flat().map((g) => g * g)) + r.db * r.db;
  steps.push({ phase: "One step of learning", name: "L after", value: r.newL, reads: {}, text: `With the new K and b = ${neat(given.b)} − ${neat(given.rate)}·${bracket(r.db)} = ${neat(r.newb)}, forward once more. A small step should lower the loss by the rate times the sum of the squared gradients.`, sum: `L: ${neat(r.L)} → ${neat(r.newL)}; expected ${neat(r.L)} − ${neat(given.rate)}·${neat(squares)} = ${neat(r.L - given.rate * squares)}` });
  return steps;
}

function showHand(position) {
  const r = arithmetic.layer(given);
  const steps = stepsOf(r);
  const at = Math.max(0, Math.min(steps.length - 1, Number(position) || 0));
  const now = steps[at];
  const go = (to) => { location.replace(`#hand/${to}`); };
  const phases = [...new Set(steps.map((step) => step.phase))];
  if (!$("stepper").firstChild) {
    fill("stepper",
      h("div", { class: "buttons" }, h("button", { type: "button", id: "back" }, "← Back"), h("button", { type: "button", id: "next" }, "Next →"), h("output", { id: "count" })),
      h("input", { type: "range", min: 0, max: steps.length - 1, id: "step", "aria-label": "Step" }), h("nav", { class: "chips", id: "phases", "aria-label": "Phases" }),
      h("div", { class: "sentence", id: "sentence", "aria-live": "polite" }));
    const position_ = () => Number(location.hash.split("/")[1]) || 0;
    $("back").onclick = () => go(Math.max(0, position_() - 1));
    $("next").onclick = () => go(Math.min(steps.length - 1, position_() + 1));
    $("step").oninput = (event) => go(event.target.value);
  }
  $("step").value = at;
  $("step").max = steps.length - 1;
  $("back").disabled = at === 0;
  $("next").disabled = at === steps.length - 1;
  $("count").textContent = `step ${at + 1} of ${steps.length}`;
  fill("phases", phases.map((phase) => h("a", { href: `#hand/${steps.findIndex((step) => step.phase === phase)}`, "aria-current": here(phase === now.phase) }, phase)));
  const chosen = $("phases").querySelector("[aria-current]");
  $("phases").scrollLeft = chosen.offsetLeft - $("phases").offsetLeft - $("phases").clientWidth / 2 + chosen.offsetWidth / 2;
  const index = now.i === undefined ? "" : `[${now.i}, ${now.j}]`;
  fill("sentence", h("p", {}, h("strong", {}, `${now.name}${index}. `), now.text, h("output", { class: "sum" }, `${now.name}${index} = `.replace("L after = ", ""), now.sum)));

  const change = (take) => (event) => { if (event.target.value !== "") take(Number(event.target.value)); keepFocus(() => showHand(at)); };
  const matrix = (name, values, note, editable) => {
    const marks = new Set((now.reads[name] ?? []).map(String));
    return h("table", { class: `matrix ${editable ? "given" : ""}` }, h("caption", {}, name, " ", h("small", {}, note)),
      h("tbody", {}, values.map((line, i) => h("tr", {}, line.map((value, j) => {
        const current = now.name === name && now.i === i && now.j === j;
        const label = `${name}[${i}, ${j}]`;
        const step = steps.findIndex((one) => one.name === name && one.i === i && one.j === j);
        const mark = current ? "now" : marks.has(`${i},${j}`) ? (now.pooled ? "pooled" : "in") : "";
        const shown = editable ? h("input", { type: "number", step: "any", value, "aria-label": label, "data-cell": label, onchange: change((number) => { given[name][i][j] = number; }) })
          : step <= at ? neat(value) : "·";
        return h("td", { class: mark, onclick: editable || step < 0 ? null : () => go(step) }, shown);
      })))));
  };
  const single = (name, key, note) => h("table", { class: "matrix given" }, h("caption", {}, name, " ", h("small", {}, note)), h("tbody", {}, h("tr", {}, h("td", {}, h("input", { type: "number", step: "any", value: given[key], "aria-label": note, "data-cell": key, onchange: change((number) => { given[key] = number; }) })))));
  const one = (name, number, note) => {
    const k = steps.findIndex((step) => step.name === name);
    return h("table", { class: "matrix" }, h("caption", {}, name, " ", h("small", {}, note)), h("tbody", {}, h("tr", {}, h("td", { class: now.name === name ? "now" : "" }, k <= at ? neat(number) : "·"))));
  };
  const draw = (like) => like.map((line) => line.map(() => Math.floor(Math.random() * 7) - 3));
  const other = () => ({ ...given, X: draw(given.X), K: draw(given.K), dP: draw(given.dP) });
  const take = (label, make) => h("button", { type: "button", onclick: () => { given = make(); keepFocus(() => showHand(at)); } }, label);
  fill("sheet",
    h("div", { class: "gap first" }, h("h2", {}, "Forward"), take("Other numbers", other), take("The example", () => structuredClone(EXAMPLE))),
    matrix("X", given.X, "the image", true), matrix("K", given.K, "the kernel", true), single("b", "b", "the bias"),
    matrix("Y", r.Y, "X with K, plus b"), matrix("Z", r.Z, "after ReLU"), matrix("P", r.P, "after pooling"), one("L", r.L, "the loss"),
    h("h2", { class: "gap" }, "Backward"),
    matrix("dP", given.dP, "gradient of P", true), matrix("dZ", r.dZ, "of Z"), matrix("dY", r.dY, "of Y"), matrix("dK", r.dK, "of the kernel"), one("db", r.db, "of the bias"), matrix("dX", r.dX, "of the image"),
    h("h2", { class: "gap" }, "One step of learning"),
    single("rate", "rate", "the learning rate"), matrix("K after", r.newK, "K − rate · dK"), one("L after", r.newL, "the new loss"));
}

// ------------------------------------------------------------------- 5. how it trained

/** Lines over x: [{values: [[x, y]], class, label}]. */
function chart(title, unit, lines, write) {
  const [width, height, left, bottom] = [Math.min(640, $("curves").clientWidth), 300, 52, 34]; // as wide as there is room
  const points = lines.flatMap((line) => line.values);
  const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
  const nice = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5].find((step) => (Math.max(...ys) - Math.min(...ys)) / step < 6);
  const [low, high] = [Math.floor(Math.min(...ys) / nice) * nice, Math.ceil(Math.max(...ys) / nice) * nice];
  const last = Math.max(...xs);
  const x = (value) => left + ((width - left - 12) * value) / last;
  const y = (value) => 8 + ((height - bottom - 8) * (high - value)) / (high - low);
  const ticks = Array.from({ length: Math.round((high - low) / nice) + 1 }, (_, i) => low + i * nice);
  const every = [1, 2, 5, 10, 20, 50].find((step) => last / step < width / 70);
  return h("figure", {}, h("h3", {}, title),
    h("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title },
      ticks.map((t) => [h("line", { class: "grid", x1: left, x2: width - 12, y1: y(t), y2: y(t) }), h("text", { x: left - 8, y: y(t) + 4, "text-anchor": "end" }, write(t))]),
      Array.from({ length: Math.floor(last / every) }, (_, i) => i + 1).map((i) => h("text", { x: x(i * every), y: height - 12, "text-anchor": "middle" }, i * every)),
      h("text", { x: left - 8, y: height - 12, "text-anchor": "end" }, unit),
      lines.map((line) => h("path", { class: `line ${line.class ?? ""}`, d: line.values.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(1)},${y(b).toFixed(1)}`).join("") }, h("title", {}, line.label)))));
}

let chosenCell = null;
function showTrained(index) {
  const run = data.runs[index] ?? data.runs[0];
  fill("run-list", [...new Set(data.runs.map((r) => r.dataset))].map((dataset) => [h("h3", {}, dataset[0].toUpperCase() + dataset.slice(1)),
    data.runs.filter((r) => r.dataset === dataset).map((r) => h("a", { class: "run", href: `#trained/${data.runs.indexOf(r)}`, "aria-current": here(r === run) },
      h("span", {}, r.name), h("span", { class: "number" }, percent(Math.max(...r.val_accuracy), 2)), h("span", { class: "quiet" }, `${r.val_accuracy.length} epochs, ${Math.round(sum(r.seconds) / 60)} minutes`), h("span", { class: "quiet" }, r.test ? `test ${r.test}` : "")))]));
  const over = (values) => values.map((value, i) => [i + 1, value]);
  const others = data.runs.filter((r) => r.dataset === run.dataset && r !== run);
  fill("curves", h("h2", {}, run.name), h("p", { class: "quiet" }, run.command ? h("code", {}, run.command) : "", " ", h("a", { href: `results/${run.log}` }, run.log)),
    chart("Validation accuracy; grey: the other runs on this data", "epoch", [...others.map((r) => ({ values: over(r.val_accuracy), label: r.name })), { values: over(run.val_accuracy), class: "chosen", label: run.name }], (v) => percent(v, 0)),
    chart("Loss: a full line for validation, dots for training (with augmentation and smoothed labels)", "epoch", [{ values: over(run.train_loss), class: "second", label: "training" }, { values: over(run.val_loss), class: "chosen", label: "validation" }], (v) => v.toFixed(1)));
  showConfusion();
  showAblations();
}

function showConfusion() {
  const { classes, validation, checkpoint } = seen.clothing;
  const { labels, answers, sure } = validation;
  const where = (label, answer) => labels.map((l, i) => i).filter((i) => labels[i] === label && answers[i] === answer);
  chosenCell ??= labels.map((label, i) => [label, answers[i]]).filter(([l, a]) => l !== a)[0] ?? [0, 0];
  const right = labels.filter((label, i) => label === answers[i]).length;
  fill("confusion", h("h2", {}, "What it confuses"), h("p", { class: "note" }, `${checkpoint} on ${labels.length} validation images: ${right} right. Choose a cell to see its images.`),
    h("div", { class: "scroll" }, h("table", { class: "confusion" }, h("thead", {}, h("tr", {}, h("td"), classes.map((c) => h("th", { scope: "col" }, c)))),
      h("tbody", {}, classes.map((c, label) => h("tr", {}, h("th", { scope: "row" }, c), classes.map((_, answer) => {
        const found = where(label, answer).length;
        const share = found / labels.filter((l) => l === label).length;
        const tint = `color-mix(in srgb, var(--${label === answer ? "concat" : "pooling"}-wash) ${Math.round(100 * Math.min(1, label === answer ? share : 6 * share))}%, var(--card))`;
        const chosen = chosenCell[0] === label && chosenCell[1] === answer;
        return h("td", {}, h("button", { type: "button", "--tint": tint, "aria-pressed": String(chosen), "data-cell": `${label},${answer}`, "aria-label": `${c}, taken for ${classes[answer]}: ${found}`, onclick: () => { chosenCell = [label, answer]; keepFocus(showConfusion); } }, found || ""));
      })))))), h("p", { class: "quiet note" }, "Rows: what it is. Columns: the answer."));
  const [label, answer] = chosenCell;
  const rows = Math.ceil(labels.length / 25);
  const thumb = (i) => h("figure", {}, h("i", { role: "img", "aria-label": classes[label], style: `background:url(${validation.sheet}) ${(100 * (i % 25)) / 24}% ${(100 * Math.floor(i / 25)) / (rows - 1)}% / 2500% ${100 * rows}%` }), percent(sure[i], 0));
  const bins = [0.5, 0.6, 0.7, 0.8, 0.9, 1.001].map((to, i, all) => ({ from: i ? all[i - 1] : 0, to }));
  const calibration = bins.map(({ from, to }) => {
    const inside = labels.map((_, i) => i).filter((i) => sure[i] >= from && sure[i] < to);
    const correct = inside.filter((i) => labels[i] === answers[i]).length;
    return h("tr", {}, h("th", { scope: "row" }, `${percent(from, 0)} to ${percent(Math.min(to, 1), 0)}`), h("td", {}, inside.length), h("td", {}, inside.length ? percent(sum(inside.map((i) => sure[i])) / inside.length, 0) : ""), h("td", {}, inside.length ? percent(correct / inside.length, 0) : ""));
  });
  fill("behind", h("h2", {}, label === answer ? `${classes[label]}, recognised` : `${classes[label]}, taken for ${classes[answer]}`), h("p", { class: "quiet note" }, "Below each image: how sure the network was."),
    h("div", { class: "thumbs" }, where(label, answer).slice(0, 40).map(thumb)),
    h("h2", { style: "margin-top:2.5rem" }, "Is it as sure as it should be?"),
    h("table", { style: "margin-top:.75rem" }, h("thead", {}, h("tr", {}, ["Says it is sure", "Images", "On average", "Is right"].map((t) => h("th", { scope: "col" }, t)))), h("tbody", {}, calibration)));
}

function showAblations() {
  const rows = data.ablations.filter((row) => row.what !== "recipe");
  const base = (row) => data.ablations.find((other) => other.runs === row.runs && other.what === "recipe");
  const points = (row) => ["seed 0", "seed 1"].map((seed) => 100 * (row[seed] - base(row)[seed]));
  const reach = Math.ceil(Math.max(...rows.flatMap(points).map(Math.abs)));
  const x = (value) => 425 + (value * 205) / reach;
  const height = 40 + rows.length * 28;
  fill("ablations", h("h2", { style: "margin-top:4rem" }, "What single choices are worth"),
    h("p", { class: "note" }, "One thing of the recipe changed at a time, in short runs; points of validation accuracy against the recipe with the same seed. Two seeds each: the distance between the two dots says how far to trust them."),
    h("div", { class: "scroll" }, h("svg", { viewBox: `0 0 640 ${height}`, role: "img", "aria-label": rows.map((row) => `${row.what} ${row.instead}: ${points(row).map((p) => p.toFixed(1)).join(" and ")} points`).join("; "), style: "min-width:34rem;max-width:52rem;margin-top:1rem" },
      [-reach, 0, reach].map((t) => [h("line", { class: "grid", x1: x(t), x2: x(t), y1: 0, y2: height - 26 }), h("text", { x: x(t), y: height - 8, "text-anchor": "middle" }, t > 0 ? `+${t}` : minus(t))]),
      rows.map((row, i) => [h("text", { class: "strong", x: 0, y: 19 + 28 * i }, `${row.what}: ${row.instead}${row.runs.includes("80") ? " (80 px)" : ""}`),
        h("line", { class: "line chosen", x1: x(points(row)[0]), x2: x(points(row)[1]), y1: 15 + 28 * i, y2: 15 + 28 * i }),
        points(row).map((p) => h("circle", { cx: x(p), cy: 15 + 28 * i, r: 4.5, fill: "currentColor" }))]))));
}

// ------------------------------------------------------------------- addresses

const VIEWS = { walk: showWalk, change: showChange, see: showSee, hand: showHand, trained: showTrained };

/** Drawing anew must not take the focus away: it goes to the element that took the old one's place. */
function keepFocus(draw) {
  const old = document.activeElement;
  const box = old?.closest("main [id]:not(input, button)");
  draw();
  if (!box || old.isConnected) return;
  const others = [...box.querySelectorAll(old.tagName)];
  const label = (element) => element.dataset.cell ?? element.getAttribute("aria-label") ?? element.textContent;
  const alike = others.filter((other) => label(other) === label(old));
  const named = others.find((other) => other.hash && other.hash === location.hash);
  const [one, two] = box.id === "detail" ? [alike[0], named] : [named, alike[0]];
  (one ?? two)?.focus({ preventScroll: true });
}

function show() {
  const parts = location.hash.slice(1).split("/").map(decodeURIComponent);
  const view = parts[0] in VIEWS && parts[0] !== "walk" ? parts[0] : "walk";
  if (parts[0] === "main") return;
  for (const id of Object.keys(VIEWS)) $(id).hidden = id !== view;
  for (const link of document.querySelectorAll("[data-view]")) link.dataset.view === view ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  if (view === "walk") showWalk(parts[0] in data.networks ? parts[0] : "vgg16", parts[1], parts[2]);
  else VIEWS[view](...parts.slice(1));
}

addEventListener("hashchange", () => keepFocus(show));
addEventListener("resize", () => $("trained").hidden || keepFocus(show));
addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea, pre")) return;
  if (!$("walk").hidden) {
    const name = location.hash.startsWith("#googlenet") ? "googlenet" : "vgg16";
    const rows = papersOwn[name].rows;
    const id = $("rows").querySelector("[aria-current]").hash.split("/")[1];
    const to = rows[rows.findIndex((row) => row.id === id) + step];
    if (to) { event.preventDefault(); location.hash = `#${name}/${to.id}`; }
  } else if (!$("hand").hidden) {
    event.preventDefault();
    $(step > 0 ? "next" : "back").click();
  }
});
show();
