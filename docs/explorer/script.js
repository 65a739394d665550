// The views of the page. An address names all that is chosen, so that every state can be linked:
//   #googlenet/inception3a/branch_5x5    #change/googlenet/size=64&channels=1
//   #see/clothing/0/conv1    #hand/12    #trained/0
"use strict";
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const seen = JSON.parse($("seen").textContent);
const { comma, compute, sum } = arithmetic;
const PAPER = { size: 224, channels: 3, classes: 1000, batchNorm: false, heads: true };
const papersOwn = {};
for (const name in data.networks) papersOwn[name] = compute(data.networks[name], PAPER);

// ------------------------------------------------------------------- elements

const SVG = ["svg", "path", "text", "line", "title"];
const empty = (value) => value === null || value === undefined || value === false;

/** An element: h("p.note", {id: "x"}, "text", child), without empty attributes and children. */
function h(name, ...rest) {
  const [tag, ...classes] = name.split(".");
  const attributes = {};
  while (rest[0]?.constructor === Object) Object.assign(attributes, rest.shift());
  attributes.class = [...classes, attributes.class].filter(Boolean).join(" ") || null;
  const space = SVG.includes(tag) ? "2000/svg" : "1999/xhtml";
  const element = document.createElementNS(`http://www.w3.org/${space}`, tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (empty(value)) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.startsWith("--")) element.style.setProperty(key, value);
    else element.setAttribute(key, value);
  }
  element.append(...rest.flat(9).filter((child) => !empty(child)));
  return element;
}

/** Draws the inside of an element anew, all but the part in which one is entering a number. */
function fill(id, ...children) {
  const old = [...$(id).children];
  const fresh = children.flat(9).filter((child) => !empty(child));
  const kept = old.find((child) => child.querySelector("[type=number]:focus, [type=range]:focus"));
  if (kept) old.forEach((child, i) => child === kept || child.replaceWith(fresh[i]));
  else $(id).replaceChildren(...fresh);
}

const link = (href, current, ...rest) => h("a", { href, "aria-current": current }, ...rest);
const button = (label, onclick, attributes = {}) =>
  h("button", { type: "button", onclick }, attributes, label);
const entry = (term, value, note) => h("div", h("dt", term), h("dd", value, h("small", note)));
const line = (name, ...cells) =>
  h("tr", h("th", { scope: "row" }, name), cells.map((cell) => h("td", cell)));
const columns = (...names) =>
  h("thead", h("tr", names.map((name) => (name ? h("th", { scope: "col" }, name) : h("td")))));
const networkLinks = (current, address) =>
  Object.entries(data.networks).map(([id, { title }]) => link(address(id), id === current, title));

/** Scrolls a box sideways until its chosen child is in the middle. */
function centre(box) {
  const child = box.querySelector("[aria-current]");
  box.scrollLeft = child.offsetLeft - box.offsetLeft + (child.offsetWidth - box.clientWidth) / 2;
}

// ------------------------------------------------------------------- numbers and names

const rounded = (n, digits = 1) =>
  n.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const percent = (share, digits = 1) =>
  `${share > 0 && share < 0.0005 ? "under 0.1" : (100 * share).toFixed(digits)}\u00a0%`;
const css = (share) => `${(100 * share).toFixed(2)}%`;
const short = (n) => (n >= 1e9 ? `${rounded(n / 1e9, 2)} billion` : `${rounded(n / 1e6)} million`);
const millions = (n) => (n ? `${rounded(n / 1e6, n < 1e9 ? 1 : 0)} M` : "0");
const capital = (text) => text[0].toUpperCase() + text.slice(1);
function memory(values) {
  if (values < 250) return `${4 * values} B`; // 32 bits each
  return values < 25e3 ? `${rounded(values / 250)} kB` : `${rounded(values / 25e4)} MB`;
}

/** A key of an address, if there is such a thing. */
const own = (object, key, otherwise) => (Object.hasOwn(object, key) ? key : otherwise);
const clamp = (n, least, most) => Math.max(least, Math.min(most, n));
const shapeOf = ({ channels, side, flat }) =>
  flat ? comma(channels) : `${channels} × ${side} × ${side}`;
const title = (row) => row.name.replace(/(\d)x(\d)/g, "$1×$2");
const brief = (row) =>
  title(row).replace(/inception \((.*)\)/, "$1").replace(/olution|(?<=pool) 3×3\/2/, "");

/** The colour of a row or a layer: what it does. */
function hue({ kind, paths, source }) {
  if (source) return "head";
  if (paths?.length > 1) return "concat";
  if (paths) return hue(paths[0].findLast((layer) => layer.kind !== "normalisation"));
  if (kind === "convolution" || kind === "linear") return kind;
  return kind === "dropout" || kind === "normalisation" ? "none" : "pooling";
}
const KINDS = { concat: "inception module", head: "auxiliary head, for training", none: "dropout" };
const NAMES = { average: "average pool", normalisation: "local response normalisation" };
const describe = ({ kind, kernel }) => kernel ? `${kernel}×${kernel} ${kind}` : NAMES[kind] ?? kind;

// ------------------------------------------------------------------- a network's table and sums

/** The rows as a table. With `before`, a cell that has changed shows both values. */
function tableOf({ rows, main, all }, { address, current, before }) {
  const old = new Map(before?.rows.map((row) => [row.id, row]));
  const most = (what) => Math.max(...rows.map((row) => row[what]));
  const longest = { parameters: most("parameters"), macs: most("macs") };
  const macs = before ? comma : millions;
  const choose = ({ currentTarget }) => { // a click beside the name of a row is one on the name
    const name = currentTarget.parentElement.querySelector("a");
    name.focus();
    name.click();
  };
  const cell = (row, write, what) => {
    const [was, is] = [old.get(row.id) ?? row, row].map(write);
    const bar = what && h("div.bar", { "--share": css(row[what] / longest[what]) });
    const moved = was !== is;
    return h("td", { class: moved && "moved", onclick: choose }, moved && h("s", was), is, bar);
  };
  const lineOf = (row) =>
    h("tr", { class: hue(row), "data-current": row.id === current },
      h("th", { scope: "row" }, link(address(row), row.id === current, title(row))),
      cell(row, (one) => shapeOf(one.output)),
      cell(row, (one) => comma(one.parameters), "parameters"),
      cell(row, (one) => macs(one.macs), "macs"),
      before && cell(row, (one) => memory(one.values)));
  const total = (name, of) =>
    line(name, "", comma(of.parameters), macs(of.macs), ...(before ? [memory(of.values)] : []));
  const heads = all.parameters > main.parameters && total("with the heads", all);
  return h("table", columns("Row", "Output", "Parameters", "MACs", ...(before ? ["Memory"] : [])),
    h("tbody", rows.map(lineOf)), h("tfoot", total("all rows", main), heads));
}

/** The arithmetic of a row, layer by layer, or of one of its branches. */
function sumsOf(row, branch) {
  const layers = row.paths.flat().filter((layer) => !branch || layer.name.startsWith(branch));
  const pair = ([what, text]) => [h("dt", what), h("dd", text)];
  const heading = (layer) => (branch || layers.length > 1) &&
    h("dt.of", `${describe(layer)}, ${layer.input.channels} → ${layer.output.channels} channels `,
      h("small", data.columns[arithmetic.WIDTHS.indexOf(layer.name)]));
  const together = (name, what) => {
    const terms = layers.map((layer) => layer[what]).filter(Boolean);
    return pair([name, `${terms.map(comma).join(" + ")} = ${comma(sum(terms))}`]);
  };
  const several = layers.filter((layer) => layer.parameters).length > 1 && [
    h("dt.of", "together"), row.paths.length > 1 && !branch && pair(["channels", stacked(row)]),
    together("parameters", "parameters"), together("MACs", "macs"),
  ];
  return h("dl.sums", layers.map((layer) => [heading(layer), layer.sums.map(pair)]), several);
}
const stacked = ({ paths, output }) =>
  `${paths.map((path) => path.at(-1).output.channels).join(" + ")} = ${output.channels}`;

// ------------------------------------------------------------------- 1. walk through a network

function showWalk(name, id = name === "vgg16" ? "conv1_1" : "inception3a", branch) {
  const network = data.networks[name];
  const { rows, main, all } = papersOwn[name];
  const row = rows.find((one) => one.id === id) ?? rows[0];
  const last = rows.findLast(({ output }) => !output.flat && output.side > 1).output;
  fill("walk-title", network.title);
  fill("idea", network.idea);
  fill("source-of-table", h("a", { href: network.link }, network.paper),
    `. The rows are those of ${network.table}; 224 px, RGB, 1,000 classes.`);
  fill("network", networkLinks(name, (key) => `#${key}`));
  fill("totals",
    entry("Parameters", short(main.parameters),
      `${comma(all.parameters)}${all.parameters > main.parameters ? " with the heads" : ""}`),
    entry("MACs of one image", short(main.macs), "multiply-accumulates"),
    entry("Activations of one image", memory(main.values), "each output once, 32 bits"),
    entry("A cell of the last map sees", `${last.field} px`, "a side; the image has 224"));
  for (const key of document.querySelectorAll(".googlenet")) key.hidden = name === "vgg16";
  fill("strip", strip(name, rows, row));
  centre($("strip"));
  const address = (one) => `#${name}/${one.id}`;
  fill("rows", tableOf(papersOwn[name], { address, current: row.id }));
  for (const one of $("walk").querySelectorAll("#strip a, #rows a")) {
    one.tabIndex = one.ariaCurrent ? 0 : -1; // the arrow keys lead to the others
  }
  fill("detail", detail(name, row, branch));
  $("detail").scrollTop = 0;
  $("detail").querySelectorAll(".at")[branch ? 1 : 0]?.click();
}

/** Every row as a box: its height is the side of the map, its width the number of channels. */
function strip(name, rows, current) {
  const style = ({ channels, side }) =>
    `height: ${(11 * side) / 224}rem; width: ${(1.5 * channels) / 512}rem`;
  const part = (path) => {
    const kind = path.some((layer) => layer.kind === "max pool") ? "pooling" : "convolution";
    return h("i", { class: kind, "--part": path.at(-1).output.channels });
  };
  const column = (row) => {
    const head = rows.find((other) => other.source === row.id);
    const label = { class: "layer", "aria-label": `${title(row)}, ${shapeOf(row.output)}` };
    const box = h("span.box", { class: hue(row), style: style(row.output) },
      row.paths.length > 1 && row.paths.map(part));
    const branch = { class: "branch head", "aria-label": head?.name };
    return h("div.column",
      link(`#${name}/${row.id}`, row === current, label, box, h("span.name", brief(row))),
      head && link(`#${name}/${head.id}`, head === current, branch, "head"));
  };
  const image = h("span.box.image", { style: style(rows[0].input) });
  const layers = rows.filter((row) => !row.source).map(column);
  return [h("div.column", h("span.layer", image, h("span.name", "image"))), layers];
}

function detail(name, row, branch) {
  const network = data.networks[name];
  const { rows, main } = papersOwn[name];
  const at = rows.indexOf(row);
  const step = (to, arrow, label) =>
    to && link(`#${name}/${to.id}`, false, { "aria-label": label }, arrow);
  const path = branch && row.paths.find((layers) => layers[0].name.startsWith(branch));
  const { output } = path ? path.at(-1) : row;
  const counted = (term, what) => {
    const n = path ? sum(path.map((layer) => layer[what])) : row[what];
    return entry(term, comma(n), row.source ? "" : `${percent(n / main[what])} of the network`);
  };
  const values = Object.values(row.printed ?? {}).map((text) => h("td", text));
  const printed = values.length > 0 &&
    h("table.printed", columns(...Object.keys(row.printed)), h("tbody", h("tr", values)));
  const lines = [row.code.lines[0], ...(network.branches[branch] ?? [])];
  const code = path ? { lines, calls: [] } : row.code;
  const tag = h("span.tag", { class: hue(row) }, KINDS[hue(row)] ?? hue(row));
  return [
    h("header", h("h2", title(row)), tag,
      h("span.chips", step(rows[at - 1], "←", "row before"), step(rows[at + 1], "→", "next row"))),
    row.paths.length > 1 && modulePicture(name, row, branch),
    h("dl.facts",
      entry("Output", shapeOf(output), path ? "of this branch" : `from ${shapeOf(row.input)}`),
      counted("Parameters", "parameters"), counted("MACs", "macs"),
      entry("A cell sees", `${output.field} px`,
        output.field < 224 ? `stride ${output.jump} px` : "more than the image has")),
    h("h3", "Worked out",
      path ? ", for this branch" : row.paths.length > 1 && "; choose a branch to see its share"),
    sumsOf(row, path && branch),
    h("h3", "In the paper"),
    printed || (!row.source && h("p", h("code", row.name), ` in ${network.table}.`)),
    h("ul.says", row.says.map(([text, where]) =>
      h("li", text.replaceAll(" %", "\u00a0%"), " ", h("cite", where)))),
    h("h3", "In the code: ", h("code", row.module), " of ",
      h("a", { href: `../${network.file}` }, network.file), ", lines ", code.lines.map(lineButton)),
    codeOf(network, code),
    h("h3", "Tested by"),
    row.tests.map(([file, words]) =>
      h("p", h("a", { href: `../${file}` }, h("code", `python -m pytest ${file} -k ${words}`)))),
  ];
}

/** An inception module: input, four branches, concatenation. */
function modulePicture(name, row, branch) {
  const box = (layer) =>
    h("span", { class: hue(layer) }, describe(layer).replace(" convolution", ""), h("br"),
      `${layer.input.channels} → ${layer.output.channels}`);
  const column = (path) => {
    const [key] = path[0].name.split(".");
    const label = { "aria-label": `Branch: ${path.map(describe).join(", then ")}` };
    return link(`#${name}/${row.id}/${key}`, key === branch, label, path.map(box));
  };
  const whole = { class: "whole", "aria-label": "The whole module" };
  const concat = h("span.concat", `concatenation: ${stacked(row)} channels`);
  return h("div.branches", h("p.none", `input, ${shapeOf(row.input)}`), row.paths.map(column),
    link(`#${name}/${row.id}`, false, whole, concat));
}

/** The number of a marked line, which scrolls the code to it. */
const lineButton = ([from]) =>
  button(from, () => {
    const code = $("detail").querySelector("pre");
    code.scrollTop = code.children[from - 1].offsetTop - code.offsetTop - 40;
  }, { class: "at" });

/** A source file with marked lines; comments are quiet. */
function codeOf({ file, source }, { lines, calls }) {
  const inside = (spans, n) => spans.some(([from, to]) => from <= n && n <= to);
  const label = `${file}, lines ${lines.map(([from, to]) => `${from} to ${to}`).join(", ")} marked`;
  return h("pre.code", { tabindex: 0, role: "region", "aria-label": label },
    source.trimEnd().split("\n").map((text, i) => {
      const [, code, quiet] = text.match(/^((?:[^#"]|"[^"]*")*)(.*)$/); // no comment inside a text
      const kind = inside(lines, i + 1) ? "made" : inside(calls, i + 1) && "called";
      const indent = text.search(/\S|$/) + 4;
      return h("span", { class: kind, "--indent": indent }, code, quiet && h("i", quiet),
        text ? null : " ");
    }));
}

// ------------------------------------------------------------------- 2. change a network

const ASK = { size: "Image size, px", channels: "Channels of the image", classes: "Classes" };
const whole = (text) => clamp(Math.round(Number(text)) || 1, 1, 4096);

function tableWidths(module) {
  const row = data.networks.googlenet.rows.find((one) => one.id === module);
  const layers = row && arithmetic.isModule(row) ? row.paths.flat() : [];
  return arithmetic.WIDTHS.map((name) => layers.find((layer) => layer.name === name)?.out);
}

function settingsFrom(network, text) {
  const asked = Object.fromEntries(new URLSearchParams(text));
  const known = data.what_ifs.some(([of, id]) => of === network && id === asked.if);
  const s = { network, size: 224, channels: 3, classes: 1000 };
  for (const key of Object.keys(ASK)) if (asked[key] !== undefined) s[key] = whole(asked[key]);
  s.batchNorm = asked.norm === "1";
  s.heads = network === "googlenet" && asked.heads !== "0";
  s.whatIf = known ? asked.if : "none";
  s.module = tableWidths(asked.module)[0] ? asked.module : "inception3a";
  s.widths = asked.widths?.split(",").map(whole);
  if (s.widths?.length !== 6) s.widths = tableWidths(s.module);
  s.row = asked.row;
  return s;
}

/** The address of settings: what differs from the paper's. */
function addressOf(s) {
  const parts = Object.keys(ASK).map((key) => s[key] !== PAPER[key] && `${key}=${s[key]}`);
  parts.push(s.batchNorm && "norm=1", s.network === "googlenet" && !s.heads && "heads=0");
  parts.push(s.whatIf !== "none" && `if=${s.whatIf}`);
  parts.push(s.whatIf === "widths" && `module=${s.module}&widths=${s.widths}`);
  parts.push(s.row && `row=${s.row}`);
  return ["#change", s.network, parts.filter(Boolean).join("&")].filter(Boolean).join("/");
}

function showChange(name, text = "") {
  const s = settingsFrom(own(data.networks, name, "googlenet"), text);
  const network = data.networks[s.network];
  const result = compute(network, s);
  const before = papersOwn[s.network];
  fill("settings", settingsForm(s));
  fill("answer", result.error ? refusal(s, result.error) : answer(s, before, result));
  const row = result.rows.find((one) => one.id === s.row);
  const address = (one) => addressOf({ ...s, row: one === row ? null : one.id });
  fill("changed-rows", !result.error && tableOf(result, { address, current: row?.id, before }));
  const more = row ? "" : " Choose a row to see its arithmetic.";
  fill("worked", !result.error && h("p.quiet.note", data.options.memory, more),
    row && h("div.card.worked", h("h2", title(row)), h("h3", "Worked out"), sumsOf(row)));
}

/** Why such a network cannot be built, and the nearest sizes that can. */
function refusal(s, error) {
  const { smallest, step, heads_from: headsFrom } = data.networks[s.network];
  const least = s.heads ? headsFrom : smallest;
  const [below, above] = [Math.floor(s.size / step) * step, Math.ceil(s.size / step) * step];
  const take = (size, heads = s.heads, more = "") =>
    link(addressOf({ ...s, size, heads }), false, `Take ${size} px${more}`);
  return h("div.card.impossible", { role: "alert" },
    h("h2", "That cannot be built"), h("p.note", `${capital(error)}.`),
    h("p.note.chips", below >= least && take(below), take(Math.max(least, above)),
      s.heads && take(Math.max(smallest, s.size), false, " without the heads")));
}

function answer(s, before, result) {
  const change = (term, what, write) => {
    const [was, is] = [before.all[what], result.all[what]];
    const more = `${is > was ? "+" : "−"}${write(Math.abs(is - was))}`;
    const note = is === was ? "as in the paper" : `${rounded(is / was, 2)} × the paper's, ${more}`;
    return entry(term, write(is), note);
  };
  const notes = data.what_ifs.filter(([of, id]) => of === s.network && id === s.whatIf);
  const shapes = new Map(before.rows.map((row) => [row.id, String(row.shape)]));
  const others = result.rows.filter((row) => shapes.get(row.id) !== String(row.shape)).length;
  const gone = before.rows.length - result.rows.length;
  return [
    h("dl.totals", change("Parameters", "parameters", comma),
      change("MACs of one image", "macs", comma),
      change("Activations of one image", "values", memory)),
    s.heads && h("p.quiet.note", "All three include the heads."),
    h("p.note",
      others ? `The output of ${others} of ${result.rows.length} rows has another shape.`
        : "Every output has the same shape as in the paper.",
      gone > 0 && ` ${gone} rows are gone.`),
    notes.map(([, , , note]) => h("p.note", note)),
    s.batchNorm && h("p.note", data.options.batch_norm),
    s.network === "googlenet" && !s.heads && h("p.note", data.options.no_heads),
  ];
}

function settingsForm(s) {
  const now = () => settingsFrom(s.network, location.hash.split("/")[2]); // a kept part is older
  const set = (change) => location.replace(addressOf({ ...now(), row: null, ...change }));
  const number = (name, limits) => {
    const oninput = ({ target }) => {
      if (!target.value) return;
      set({ [name]: whole(target.value) });
      (target.previousSibling ?? target.nextSibling).value = target.value;
    };
    const onchange = ({ target }) => { target.value = now()[name]; }; // what was taken of it
    const shared = { name, ...limits, value: s[name], "aria-label": ASK[name], oninput, onchange };
    const input = (type) => h("input", { type, ...shared });
    return h("fieldset", h("label", ASK[name]), h("div.pair", input("range"), input("number")));
  };
  const tick = (label, change, attributes) =>
    h("label.check", h("input", { onchange: () => set(change), ...attributes }), label);
  const box = (name, label) =>
    tick(label, { [name]: !s[name] }, { type: "checkbox", name, checked: s[name] });
  const choice = ([, id, label]) => tick(label, { whatIf: id },
    { type: "radio", name: "whatIf", value: id, checked: s.whatIf === id });
  const width = (label, i) => {
    const oninput = ({ target }) =>
      target.value && set({ widths: now().widths.with(i, whole(target.value)) });
    const onchange = ({ target }) => { target.value = now().widths[i]; };
    return h("label", label,
      h("input", { type: "number", min: 1, max: 4096, value: s.widths[i], oninput, onchange }));
  };
  const module = ({ target }) => set({ module: target.value, widths: tableWidths(target.value) });
  const option = (row) => h("option", { value: row.id, selected: row.id === s.module }, row.name);
  return [
    h("div.switch", { role: "group", "aria-label": "Network" },
      networkLinks(s.network, (network) =>
        addressOf({ ...s, network, heads: true, whatIf: "none", row: null }))),
    number("size", { min: 16, max: 512, step: s.network === "vgg16" ? 4 : 1 }),
    number("channels", { min: 1, max: 16 }), number("classes", { min: 1, max: 2000 }),
    h("fieldset", h("legend", "Parts"),
      box("batchNorm", "Batch-norm after each convolution"),
      s.network === "googlenet" && box("heads", "Auxiliary heads")),
    h("fieldset", h("legend", "What if"), choice(["", "none", "As in the paper"]),
      data.what_ifs.filter(([of]) => of === s.network).map(choice)),
    s.whatIf === "widths" && h("fieldset", h("legend", "Module and its widths"),
      h("select", { "aria-label": "Module", onchange: module },
        data.networks.googlenet.rows.filter(arithmetic.isModule).map(option)),
      h("div.six", data.columns.map(width))),
    h("div", button("Back to the paper", () => { location.hash = `#change/${s.network}`; })),
  ];
}

// ------------------------------------------------------------------- 3. see what it sees

let spot = [0.5, 0.5]; // how far down and right in the maps the chosen cell lies
let evidence = false; // on the photo, in place of the frame

function showSee(which = "clothing", index = 0, layer = "conv2") {
  const { photos, checkpoint, classes, channels, size } = seen[own(seen, which, "clothing")];
  const photo = photos[own(photos, Number(index), 0)];
  const name = own(photo.layers, layer, "conv2");
  const { rows } = compute(data.networks.googlenet, { ...PAPER, size, channels, heads: false });
  const rowOf = (id) => rows.find((one) => one.id === id);
  const { side, field, jump, start } = rowOf(name).output;
  const cell = spot.map((share) => clamp(Math.floor(share * side), 0, side - 1));
  const choose = (at, shown = false) => {
    [spot, evidence] = [at, shown];
    keepFocus(() => showSee(which, index, layer));
  };
  const pick = ({ currentTarget, clientX, clientY }) => {
    const box = currentTarget.getBoundingClientRect();
    choose([(clientY - box.top) / box.height, (clientX - box.left) / box.width]);
  };
  fill("photos", Object.entries(seen).map(([id, network]) => h("div", network.photos.map((one, i) =>
    link(`#see/${id}/${i}/${name}`, one === photo,
      h("img", { src: one.photo, alt: "" }), h("span", capital(one.name)))))));
  fill("layers", Object.keys(photo.layers).map((id) =>
    link(`#see/${which}/${index}/${id}`, id === name, brief(rowOf(id)))));

  const answers = photo.probabilities.map((p, i) => [p, classes[i]]);
  const best = answers.sort((a, b) => b[0] - a[0]).slice(0, 4);
  const [top, left] = cell.map((c) => (start + c * jump + 0.5 - field / 2) / size);
  const sides = [top, 1 - left - field / size, 1 - top - field / size, left];
  const inset = sides.map((share) => css(Math.max(0, share))).join(" "); // within the photo
  const over = evidence
    ? h("img", { src: photo.evidence, alt: `Bright where the evidence for ${best[0][1]} lies` })
    : h("span.frame", { style: `inset: ${inset}` });
  const number = (label, axis) => {
    const now = { min: 0, max: side - 1, value: cell[axis], "data-cell": label };
    const oninput = ({ target }) => choose(spot.with(axis, (Number(target.value) + 0.5) / side));
    return h("label", label, h("input", { type: "number", ...now, oninput }));
  };
  const toggle = () => choose(spot, !evidence);
  fill("looking",
    h("div.photo", { class: size > 64 && "smooth", onclick: pick },
      h("img", { src: photo.photo, alt: photo.name }), over),
    h("div.six.note", ["Row", "Column"].map(number)),
    h("p.note", button(`What speaks for ${best[0][1]}`, toggle, { "aria-pressed": `${evidence}` })),
    h("p.note.quiet", evidence
      ? "Bright: where the maps raise the odds of the answer (HiResCAM). Choose a cell for a frame."
      : `The frame: what the cell in row ${cell[0]}, column ${cell[1]} sees.`),
    h("h3", "The answer"), h("div.answers", best.map(([p, label]) =>
      [h("span", label), h("b", { "--share": css(p) }), h("span", percent(p))])));

  const shown = photo.layers[name];
  const [down, right, edge] = [...cell, 1].map((cells) => css(cells / side));
  const place = `left: ${right}; top: ${down}; width: ${edge}; height: ${edge}`;
  const map = (channel, i) => {
    const position = `${(100 * i) / (shown.channels.length - 1)}% 0`;
    const style = `background: url(${shown.maps}) ${position} / 800% 100%`;
    const label = { role: "img", "aria-label": `Map of channel ${channel}` };
    return h("figure", h("div.map", { ...label, style, onclick: pick }, h("i", { style: place })),
      h("figcaption", `channel ${channel}`));
  };
  fill("maps", h("h2", title(rowOf(name))),
    h("p.note", `A cell sees ${field} × ${field} px. The next cell’s window lies `,
      `${jump} px further on. The image has ${size} × ${size} px.`),
    h("p.quiet.note", `${checkpoint} has ${shown.of} maps of ${side} × ${side} here. `,
      "These are the strongest on this image, without near copies; bright means large."),
    h("div.maps", shown.channels.map(map)));
}

// ------------------------------------------------------------------- 4. one layer by hand

let given = structuredClone(data.example);
let steppedTo = null;

function showHand(position) {
  const r = arithmetic.layer(given);
  const steps = arithmetic.steps(given, r);
  const at = clamp(Number(position) || 0, 0, steps.length - 1);
  const now = steps[at];
  const go = (to) => location.replace(`#hand/${to}`);
  const place = () => Number(location.hash.split("/")[1]) || 0; // keys may outrun the drawing
  const phases = [...new Set(steps.map((step) => step.phase))];
  const first = (phase) => steps.findIndex((step) => step.phase === phase);
  const index = now.i === undefined ? "" : `[${now.i}, ${now.j}]`;
  fill("buttons",
    button("← Back", () => go(place() - 1), { id: "back", disabled: at === 0 }),
    button("Next →", () => go(place() + 1), { id: "next", disabled: at === steps.length - 1 }),
    h("output", `step ${at + 1} of ${steps.length}`));
  Object.assign($("step"), { max: steps.length - 1, value: at, oninput() { go(this.value); } });
  fill("phases", phases.map((phase) => link(`#hand/${first(phase)}`, phase === now.phase, phase)));
  centre($("phases"));
  fill("sentence", h("p", h("strong", `${now.name}${index}. `), now.text,
    h("output.sum", `${now.name}${index} = ${now.sum}`)));

  const wash = now.phase.includes("ooling") ? "pooled" : "in";
  const matrix = (name) => {
    const known = given[name] ?? r[name];
    const values = Array.isArray(known) ? known : [[known]];
    const reads = new Set((now.reads[name] ?? []).map(String));
    const input = (value, i, j) => {
      const label = `${name}[${i}, ${j}]`;
      const oninput = ({ target }) => {
        if (target.value !== "") values[i][j] = Number(target.value);
        given[name] = values === known ? values : values[0][0];
        showHand(place());
      };
      const onchange = ({ target }) => { target.value ||= values[i][j]; }; // left empty
      const onclick = ({ target }) => target.select();
      const labels = { "aria-label": label, "data-cell": label };
      return h("input", { type: "number", step: "any", value, oninput, onchange, onclick }, labels);
    };
    const cell = (value, i, j) => {
      const step = steps.findIndex((one) =>
        one.name === name && (one.i ?? i) === i && (one.j ?? j) === j);
      const kind = step === at ? "now" : reads.has(`${i},${j}`) && wash;
      if (name in given) return h("td", { class: kind }, input(value, i, j));
      const shown = step <= at ? arithmetic.neat(value) : "·";
      return h("td", { class: kind, onclick: () => go(step) }, shown);
    };
    return h("table.matrix", { class: name in given && "given" },
      h("caption", name, " ", h("small", data.captions[name])),
      h("tbody", values.map((row, i) => h("tr", row.map((value, j) => cell(value, i, j))))));
  };
  const replace = (label, make) =>
    button(label, () => { given = make(); keepFocus(() => showHand(at)); });
  const example = () => structuredClone(data.example);
  const draw = (like) => like.map((row) => row.map(() => Math.floor(Math.random() * 7) - 3));
  const others = () => ({ ...given, X: draw(given.X), K: draw(given.K), dP: draw(given.dP) });
  fill("sheet",
    h("h2.gap", "Forward", replace("The example", example), replace("Other numbers", others)),
    ["X", "K", "b", "Y", "Z", "P", "L"].map(matrix),
    h("h2.gap", "Backward"), ["dP", "dZ", "dY", "dK", "db", "dX"].map(matrix),
    h("h2.gap", "One step of learning"), ["rate", "K after", "L after"].map(matrix));
  const moved = steppedTo !== null && steppedTo !== at;
  if (moved) $("sheet").querySelector(".now").scrollIntoView({ block: "nearest" });
  steppedTo = at;
}

// ------------------------------------------------------------------- 5. how it trained

/** Values over epochs; `lines` are [values, class, label]. */
function chart(name, lines, write) {
  const zoom = parseFloat(getComputedStyle($("curves")).fontSize) / 16; // as one wants the text
  const [width, height, left, right, bottom] = [$("curves").clientWidth / zoom, 250, 52, 12, 34];
  const values = lines.flatMap(([numbers]) => numbers);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5].find((n) => (most - least) / n < 6);
  const [low, high] = [Math.floor(least / step) * step, Math.ceil(most / step) * step];
  const last = Math.max(...lines.map(([numbers]) => numbers.length));
  const every = [1, 2, 5, 10, 20, 50].find((one) => last / one < width / 70);
  const x = (epoch) => left + ((width - left - right) * epoch) / last;
  const y = (value) => 8 + ((height - bottom - 8) * (high - value)) / (high - low);
  const count = Math.round((high - low) / step) + 1;
  const levels = Array.from({ length: count }, (_, i) => low + i * step);
  const epochs = Array.from({ length: Math.floor(last / every) }, (_, i) => (i + 1) * every);
  const text = (right_, down, anchor, content) =>
    h("text", { x: right_, y: down, "text-anchor": anchor }, content);
  const point = (value, i) => `${x(i + 1).toFixed(1)},${y(value).toFixed(1)}`;
  return h("figure", h("h3", name),
    h("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name },
      levels.map((value) => [
        h("line.grid", { x1: left, x2: width - right, y1: y(value), y2: y(value) }),
        text(left - 8, y(value) + 4, "end", write(value))]),
      epochs.map((epoch) => text(x(epoch), height - 12, "middle", epoch)),
      text(left - 8, height - 12, "end", "epoch"),
      lines.map(([numbers, kind, label]) =>
        h(`path.line.${kind}`, { d: `M${numbers.map(point).join("L")}` }, h("title", label)))));
}

function showTrained(index) {
  const run = data.runs[own(data.runs, Number(index), 0)];
  const alike = (dataset) => data.runs.filter((one) => one.dataset === dataset);
  const item = (one) =>
    link(`#trained/${data.runs.indexOf(one)}`, one === run, { class: "run" },
      h("span", one.name), h("span", percent(Math.max(...one.val_accuracy), 2)),
      h("span.quiet", `${one.seconds.length} epochs, ${Math.round(sum(one.seconds) / 60)} minutes`),
      h("span.quiet", one.test && `test ${one.test}`));
  const heading = (dataset) =>
    h("h3.run", h("span", capital(dataset)), h("span", "Best validation accuracy"));
  const datasets = [...new Set(data.runs.map((one) => one.dataset))];
  fill("run-list", datasets.map((dataset) => [heading(dataset), alike(dataset).map(item)]));
  const others = alike(run.dataset).filter((one) => one !== run);
  fill("curves", h("h2", run.name),
    run.command.startsWith("python") && h("p.quiet", h("code", run.command)),
    h("p.quiet", "Log: ", h("a", { href: `results/${run.log}` }, run.log), ". More on the runs ",
      "and machines A and B: ", h("a", { href: "results.md" }, "results.md")),
    chart("Validation accuracy; thin: the other runs on this data",
      [...others, run].map((one) => [one.val_accuracy, one === run ? "chosen" : "other", one.name]),
      (value) => percent(value, 0)),
    chart("Validation loss; dotted: training loss, with augmentation and smoothed labels",
      [[run.train_loss, "second", "training"], [run.val_loss, "chosen", "validation"]],
      (value) => value.toFixed(1)));
  showConfusion();
  showAblations();
}

let confused = null; // the chosen cell: class and answer
function showConfusion() {
  const { classes, checkpoint, judged: { labels, answers, sure, sheet } } = seen.clothing;
  const [images, numbers] = [labels, classes].map((list) => [...list.keys()]);
  const mistakes = images.filter((i) => labels[i] !== answers[i]);
  confused ??= [labels, answers].map((list) => list[mistakes[0] ?? 0]);
  const within = (k) => mistakes.filter((i) => labels[i] === k || answers[i] === k).length;
  const worst = numbers.reduce((most, k) => (within(k) > within(most) ? k : most));
  const where = (label, answer) =>
    images.filter((i) => labels[i] === label && answers[i] === answer);
  const nameOf = (label, answer) =>
    `${classes[label]}, ${label === answer ? "recognised" : `taken for ${classes[answer]}`}`;
  const cell = (label, answer) => {
    const found = where(label, answer).length;
    const share = found / images.filter((i) => labels[i] === label).length;
    const strength = label === answer ? share : found && Math.min(1, 0.5 + 6 * share);
    const colour = `var(--${label === answer ? "rule" : "mark"}) ${css(strength)}`;
    const choose = () => { confused = [label, answer]; keepFocus(showConfusion); };
    return button(found || "", choose, {
      "--tint": `color-mix(in srgb, ${colour}, var(--card))`,
      "aria-label": `${nameOf(label, answer)}: ${found}`,
      disabled: !found,
      "aria-pressed": `${String(confused) === `${label},${answer}`}`,
    });
  };
  const row = (label) => line(classes[label], ...numbers.map((answer) => cell(label, answer)));
  fill("confusion", h("h2", "What it confuses"),
    h("p.note", `${checkpoint} on the sample’s ${comma(images.length)} test images, `,
      `which it has never seen: ${images.length - mistakes.length} right. `,
      mistakes.length > 0 &&
        `${classes[worst]} is in ${within(worst)} of the ${mistakes.length} mistakes. `,
      "Rows: the true class. Columns: the answer. Choose a cell to see its images."),
    h("div.scroll", h("table.confusion", columns("", ...classes), h("tbody", numbers.map(row)))));

  const rows = Math.ceil(images.length / 25); // of the picture that holds all images, 25 a row
  const thumb = (i) => {
    const position = `${(100 * (i % 25)) / 24}% ${(100 * Math.floor(i / 25)) / (rows - 1)}%`;
    const style = `background: url(${sheet}) ${position} / 2500% ${100 * rows}%`;
    return h("figure", h("i", { role: "img", "aria-label": classes[labels[i]], style }),
      percent(sure[i], 0));
  };
  const calibration = [0, 0.5, 0.6, 0.7, 0.8, 0.9].map((from, i, all) => {
    const to = all[i + 1] ?? 1;
    const inside = images.filter((k) => sure[k] >= from && (sure[k] < to || to === 1));
    const mean = (of) => (inside.length ? percent(sum(inside.map(of)) / inside.length, 0) : "");
    return line(`${Math.round(100 * from)}–${percent(to, 0)}`, inside.length,
      mean((k) => sure[k]), mean((k) => labels[k] === answers[k]));
  });
  fill("behind", h("h2", nameOf(...confused)),
    h("p.quiet.note", "Below each image: how sure the network was."),
    h("div.thumbs", where(...confused).slice(0, 40).map(thumb)),
    h("h2.later", "Is it as sure as it should be?"),
    h("div.scroll", h("table",
      columns("Confidence", "Images", "Mean confidence", "Right"), h("tbody", calibration))));
}

function showAblations() {
  const recipes = data.ablations.filter(({ choice }) => choice === "recipe");
  const tried = data.ablations.filter(({ choice }) => choice !== "recipe");
  const far = 5; // points lost; what lies beyond is marked at the edge. In sums, null counts as 0.
  const most = Math.max(1, ...tried.map((row) => row.difference + row.error));
  const x = (value) => css((Math.max(value, -far) + far) / (far + most));
  const rowOf = ({ choice, instead, recipe, difference: d, error, points, seeds, diverged }) => {
    const places = { "--at": x(d ?? -far), "--from": x(d - error), "--to": x(d + error) };
    return line(`${choice}: ${instead}`, recipe,
      h("i.track", { class: (d === null || d < -far) && "far" }, places),
      points, `${seeds - diverged}${diverged ? `, ${diverged} diverged` : ""}`);
  };
  const group = ({ group: name, accuracy }) => h("tbody",
    h("tr", h("th", { colspan: 5, scope: "rowgroup" }, h("strong", capital(name)), "; the recipe ",
      accuracy === null ? "diverged" : `reaches ${percent(accuracy, 2)}`)),
    tried.filter((row) => row.group === name).map(rowOf));
  const single = ({ error, difference }) => error === null && difference !== null;
  fill("ablations", h("h2.later", "What single choices are worth"),
    h("p.note", "Short runs on part of FashionMNIST, or on photos where it says so. Each differs ",
      "from the recipe in one choice and what that needs. Points: the mean gain in validation ",
      "accuracy over the recipe with the same seed. ",
      tried.some(({ error }) => error !== null) &&
        "± and the line show the standard error, where there are two pairs or more. ",
      tried.some(single) && "One pair alone cannot tell a small difference from chance."),
    h("div.scroll", h("table.tried", { "--zero": x(0) },
      columns("Tried", "In the recipe", "← worse, better →", "Points", "Pairs"),
      recipes.map(group))));
}

// ------------------------------------------------------------------- addresses, focus, keys

/** Drawing anew must not take the focus away: it goes to what now stands in the old place. */
function keepFocus(draw) {
  const old = document.activeElement;
  const box = old?.closest("main [id]:not(input, button)");
  draw();
  if (!box || old.isConnected) return;
  const label = (one) =>
    one.dataset.cell ?? one.ariaLabel ?? `${one.textContent}${one.name}${one.value}`;
  const others = [...box.querySelectorAll(old.tagName)];
  const alike = others.find((one) => label(one) === label(old));
  const chosen = others.find((one) => one.hash && one.hash === location.hash);
  const next = box.id === "detail" ? alike ?? chosen : chosen ?? alike;
  next?.focus({ preventScroll: box.id !== "rows" });
  const shows = { rows: "detail", "run-list": "curves" }[box.id];
  const narrow = !matchMedia("(min-width: 62em)").matches;
  if (shows && !old.ariaCurrent && narrow) $(shows).scrollIntoView();
}

const VIEWS =
  { walk: showWalk, change: showChange, see: showSee, hand: showHand, trained: showTrained };
function show() {
  const [first, ...rest] = location.hash.slice(1).split("/");
  if (first === "main") return; // the link that skips to the content
  const view = own(VIEWS, first, "walk");
  if ($(view).hidden) scrollTo(0, 0);
  for (const id of Object.keys(VIEWS)) $(id).hidden = id !== view;
  for (const one of document.querySelectorAll("[data-view]")) {
    one.ariaCurrent = one.dataset.view === view ? "page" : null;
  }
  if (view === "walk") showWalk(own(data.networks, first, "vgg16"), ...rest);
  else VIEWS[view](...rest);
}

addEventListener("hashchange", () => keepFocus(show));
addEventListener("resize", () => $("trained").hidden || keepFocus(show)); // its charts fit the page
addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
    ?? (event.target.closest("#rows") && { ArrowUp: -1, ArrowDown: 1 }[event.key]);
  const typing = event.target.closest("input, select, pre");
  if (!step || typing || event.altKey || event.ctrlKey || event.metaKey) return;
  if (!$("hand").hidden) $(step > 0 ? "next" : "back").click();
  if ($("walk").hidden) return;
  const links = [...$("rows").querySelectorAll("a")];
  const to = links[links.findIndex((one) => one.ariaCurrent) + step];
  if (to) location.hash = to.hash;
  event.preventDefault();
});
show();
