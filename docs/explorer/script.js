// The views of the page. An address names all that is chosen, so that every state can be linked:
//   #googlenet/inception3a/branch_5x5    #change/googlenet/size=64&channels=1    #see/clothing/0/conv1
//   #hand/12    #trained/0
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const seen = JSON.parse(document.getElementById("seen").textContent);
const { comma, sum } = arithmetic;
const own = (object, key, otherwise) => (Object.hasOwn(object, key) ? key : otherwise); // of what an address says
const $ = (id) => document.getElementById(id);
const SVG = new Set(["svg", "path", "text", "line", "title"]);

/** An element: h("p.note", {id: "x"}, "text", child). Attributes may be left out; empty children are. */
function h(name, ...rest) {
  const [tag, ...classes] = name.split(".");
  const attributes = rest[0]?.constructor === Object ? rest.shift() : {};
  const element = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.startsWith("--")) element.style.setProperty(key, value);
    else if (key === "class") element.classList.add(...value.split(" ").filter(Boolean));
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...rest.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
/** Draws the inside of an element anew, all but the part in which one is typing a number. */
const fill = (id, ...children) => {
  const [old, fresh] = [[...$(id).children], children.flat(9).filter(Boolean)];
  const kept = old.find((child) => child.querySelector("[type=number]:focus"));
  if (kept) old.forEach((child, i) => child === kept || child.replaceWith(fresh[i]));
  else $(id).replaceChildren(...fresh);
};
const centre = (box, child) => { box.scrollLeft = child.offsetLeft - box.offsetLeft + (child.offsetWidth - box.clientWidth) / 2; };
const here = (condition) => (condition ? "true" : null); // for aria-current
const link = (href, current, ...rest) => {
  const attributes = rest[0]?.constructor === Object ? rest.shift() : {};
  return h("a", { href, "aria-current": here(current), ...attributes }, ...rest);
};
const button = (label, onclick, attributes) => h("button", { type: "button", onclick, ...attributes }, label);
const columns = (...names) =>
  h("thead", h("tr", names.filter((name) => name !== undefined).map((name) => (name ? h("th", { scope: "col" }, name) : h("td")))));
const line = (name, ...cells) => h("tr", h("th", { scope: "row" }, name), cells.map((cell) => h("td", cell)));
const percent = (share, digits = 1) => `${share > 0 && share < 0.0005 ? "under 0.1" : (100 * share).toFixed(digits)}\u00a0%`;
const css = (share) => `${(100 * share).toFixed(2)}%`;
const rounded = (n, digits = 1) => n.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const short = (n) => (n >= 1e9 ? `${rounded(n / 1e9, 2)} billion` : `${rounded(n / 1e6)} million`);
const millions = (n) => (n ? `${rounded(n / 1e6, n < 1e9 ? 1 : 0)} M` : "0");
const memory = (values) => (values < 250 ? `${4 * values} B` : values < 25e3 ? `${rounded(values / 250)} kB` : `${rounded(values / 25e4)} MB`);
const minus = (n) => String(n).replace("-", "−");

const shapeOf = ({ channels, side, flat }) => (flat ? comma(channels) : `${channels} × ${side} × ${side}`);
const title = (row) => row.name.replace(/(\d)x(\d)/g, "$1×$2");
const brief = (row) =>
  title(row).replace(/^inception \((.*)\)$/, "$1").replace("convolution", "conv").replace(/ 3×3\/2/, "");

/** The colour of a row or a layer: what it does. */
function hue({ kind, paths, source }) {
  if (source) return "head";
  if (paths?.length > 1) return "concat";
  if (paths) return hue(paths[0].findLast((layer) => layer.kind !== "normalisation"));
  if (kind === "convolution" || kind === "linear") return kind;
  return kind === "dropout" || kind === "normalisation" ? "none" : "pooling";
}
const KINDS = { concat: "inception module", head: "auxiliary head, in training only", none: "dropout" };
const NAMES = { average: "average pool", normalisation: "local response normalisation" };
const describe = ({ kind, kernel }) => (kernel ? `${kernel}×${kernel} ${kind}` : NAMES[kind] ?? kind);
const PAPER = { size: 224, channels: 3, classes: 1000, batchNorm: false, heads: true, whatIf: "none" };
const papersOwn = {};
for (const [name, network] of Object.entries(data.networks)) papersOwn[name] = arithmetic.compute(network, PAPER);

// ------------------------------------------------------------------- a network's table and arithmetic

/** The rows as a table. With `before`, cells that have changed show both values; else it is brief. */
function tableOf({ rows, main, all }, { address, current, before }) {
  const old = before && new Map(before.rows.map((row) => [row.id, row]));
  const most = { parameters: 0, macs: 0 };
  for (const row of rows) for (const what in most) most[what] = Math.max(most[what], row[what]);
  const macs = before ? comma : millions;
  const cell = (row, write, what) => {
    const was = old?.has(row.id) ? write(old.get(row.id)) : write(row);
    const moved = was !== write(row);
    const bar = what && h("span.bar", { "--share": css(row[what] / most[what]) });
    return h("td", { class: moved ? "moved" : "" }, moved && h("s", was), write(row), bar);
  };
  const lineOf = (row) =>
    h("tr", { class: hue(row), "data-current": here(row.id === current) },
      h("th", { scope: "row" }, link(address(row), row.id === current, title(row))),
      cell(row, (r) => shapeOf(r.output)),
      cell(row, (r) => comma(r.parameters), "parameters"),
      cell(row, (r) => macs(r.macs), "macs"),
      before && cell(row, (r) => memory(r.values)));
  const total = (name, { parameters, macs: ops, values }) =>
    line(name, "", comma(parameters), macs(ops), ...(before ? [memory(values)] : []));
  return h("table", columns("Row", "Output", "Parameters", "MACs", before && "Memory"), h("tbody", rows.map(lineOf)),
    h("tfoot", total("all rows", main), all.parameters > main.parameters && total("with the heads", all)));
}

/** The arithmetic of a row, layer by layer, or of one of its branches. */
function sumsOf(row, branch) {
  const layers = row.paths.flat().filter((layer) => !branch || layer.name.startsWith(branch));
  const list = layers.map((layer) => [
    (branch || layers.length > 1) && h("dt.of", `${describe(layer)}, ${layer.input.channels} → ${layer.output.channels} channels`),
    layer.sums.map(([what, text]) => [h("dt", what), h("dd", text)]),
  ]);
  const ends = row.paths.map((path) => path.at(-1).output.channels);
  const terms = (what) => layers.map((layer) => layer[what]).filter(Boolean);
  const together = (what) => h("dd", `${terms(what).map(comma).join(" + ")} = ${comma(sum(terms(what)))}`);
  return h("dl.sums", list, terms("parameters").length > 1 && [
    h("dt.of", "together"),
    ends.length > 1 && !branch && [h("dt", "channels"), h("dd", `${ends.join(" + ")} = ${row.output.channels}`)],
    h("dt", "parameters"), together("parameters"), h("dt", "MACs"), together("macs"),
  ]);
}

// ------------------------------------------------------------------- 1. walk through a network

function showWalk(name, id = name === "vgg16" ? "conv1_1" : "inception3a", branch) {
  const [network, result] = [data.networks[name], papersOwn[name]];
  const { rows, main, all } = result;
  const row = rows.find((one) => one.id === id) ?? rows[0];
  const maps = rows.filter(({ output }) => !output.flat && output.side > 1);
  $("walk-title").textContent = network.title;
  fill("idea", network.idea);
  fill("source-of-table", h("a", { href: network.link }, network.paper),
    `. The rows are those of ${network.table}; 224 px, RGB, 1,000 classes.`);
  fill("network", Object.entries(data.networks).map(([key, one]) => link(`#${key}`, key === name, one.title)));
  const total = (term, value, note) => h("div", h("dt", term), h("dd", value, h("small", note)));
  fill("totals",
    total("Parameters", short(main.parameters),
      all.parameters > main.parameters ? `${comma(all.parameters)} with the heads` : comma(main.parameters)),
    total("MACs of one image", short(main.macs), "multiply-accumulates"),
    total("Activations of one image", memory(main.values), "each output once, 32 bits"),
    total("A cell of the last map sees", `${maps.at(-1).output.field} px`, "a side; the image has 224"));
  $("of-googlenet").hidden = name === "vgg16";
  strip(name, rows, row);
  fill("rows", tableOf(result, { address: (one) => `#${name}/${one.id}`, current: row.id }));
  fill("detail", detail(name, row, branch));
  $("detail").scrollTop = 0;
  $("detail").querySelectorAll(".at")[branch ? 1 : 0]?.click();
}

/** Every row as a box: its height is the side of the map, its width the number of channels. */
function strip(name, rows, current) {
  const size = ({ channels, side }) => `height:${(11 * side) / 224}rem;width:${(1.5 * channels) / 512}rem`;
  const pooled = (path) => path.some((layer) => layer.kind === "max pool");
  const parts = (path) => h("i", { class: pooled(path) ? "pooling" : "convolution", "--part": path.at(-1).output.channels });
  const column = (row) => {
    const head = rows.find((other) => other.source === row.id);
    const label = { class: "layer", "aria-label": `${title(row)}, ${shapeOf(row.output)}` };
    const box = h("span.box", { class: hue(row), style: size(row.output) }, row.paths.length > 1 && row.paths.map(parts));
    return h("div.column",
      link(`#${name}/${row.id}`, row === current, label, box, h("span.name", brief(row))),
      head && link(`#${name}/${head.id}`, head === current, { class: "branch head", "aria-label": head.name }, "head"));
  };
  const image = h("span.box.image", { style: size(rows[0].input) });
  const main = rows.filter((row) => !row.source);
  fill("strip", h("div.column", h("span.layer", image, h("span.name", "image"))), main.map(column));
  centre($("strip"), $("strip").querySelector("[aria-current]"));
}

function detail(name, row, branch) {
  const [network, { rows, main }] = [data.networks[name], papersOwn[name]];
  const at = rows.indexOf(row);
  const step = (to, arrow, label) => to && link(`#${name}/${to.id}`, false, { "aria-label": label }, arrow);
  const path = branch && row.paths.find((layers) => layers[0].name.startsWith(branch));
  const total = (what) => (path ? sum(path.map((layer) => layer[what])) : row[what]);
  const share = (what) => !row.source && `${percent(total(what) / main[what])} of the network`;
  const { output } = path ? path.at(-1) : row;
  const fact = (term, value, note) => h("div", h("dt", term), h("dd", value, note && h("small", note)));
  const printed = row.printed && h("table.printed", columns(...Object.keys(row.printed)),
    h("tbody", h("tr", Object.values(row.printed).map((text) => h("td", text)))));
  const code = path ? { lines: [row.code.lines[0], ...network.branches[branch]], calls: [] } : row.code;
  return [
    h("header", h("h2", title(row)), h("span.tag", { class: hue(row) }, KINDS[hue(row)] ?? hue(row)),
      h("span.chips", step(rows[at - 1], "←", "row before"), step(rows[at + 1], "→", "next row"))),
    row.paths.length > 1 && modulePicture(name, row, branch),
    h("dl.facts",
      fact("Output", shapeOf(output), path ? "of this branch" : `from ${shapeOf(row.input)}`),
      fact("Parameters", comma(total("parameters")), share("parameters")),
      fact("MACs", comma(total("macs")), share("macs")),
      fact("A cell sees", `${output.field} px`, output.field < 224 ? `stride ${output.jump} px` : "more than the image has")),
    h("h3", "Worked out", path ? ", for this branch" : row.paths.length > 1 && "; choose a branch for its share"),
    sumsOf(row, path && branch),
    h("h3", "In the paper"), printed || (!row.source && h("p", h("code", row.name), ` in ${network.table}.`)),
    h("ul.says", row.says.map(([text, where]) => h("li", text.replaceAll(" %", "\u00a0%"), " ", h("cite", where)))),
    h("h3", "In the code: ", h("code", row.module), " of ", h("a", { href: `../${network.file}` }, network.file), ", lines ", marked(code)), codeOf(network, code),
    h("h3", "Proved by"),
    row.tests.map(([file, words]) => h("p", h("a", { href: `../${file}` }, h("code", `python -m pytest ${file} -k ${words}`)))),
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
  const ends = row.paths.map((path) => path.at(-1).output.channels);
  const whole = h("span.concat", `concatenation: ${ends.join(" + ")} = ${row.output.channels} channels`);
  return h("div.branches", h("p.none", `input, ${shapeOf(row.input)}`), row.paths.map(column),
    link(`#${name}/${row.id}`, false, { class: "whole", "aria-label": "The whole module" }, whole));
}

/** The numbers of the marked lines; each scrolls the code to its line. */
const marked = ({ lines }) => lines.map(([from]) => button(from, () => {
  const code = $("detail").querySelector("pre");
  code.scrollTop = code.children[from - 1].offsetTop - code.offsetTop - 40;
}, { class: "at" }));

/** A source file with marked lines; comments are quiet. */
function codeOf({ file, source }, { lines, calls }) {
  const inside = (spans, n) => spans.some(([from, to]) => from <= n && n <= to);
  const label = `${file}, lines ${lines.map(([from, to]) => `${from} to ${to}`).join(", ")} marked`;
  return h("pre.code", { tabindex: 0, role: "region", "aria-label": label },
    source.trimEnd().split("\n").map((text, i) => {
      const [, code, quiet] = text.match(/^((?:[^#"]|"[^"]*")*)(.*)$/); // no comment begins inside a text
      const kind = inside(lines, i + 1) ? "made" : inside(calls, i + 1) ? "called" : "";
      return h("span", { class: kind, "--indent": text.search(/\S|$/) + 4 }, code, quiet && h("i", quiet), text ? null : " ");
    }));
}

// ------------------------------------------------------------------- 2. change the question

const ASK = { size: "Image size, px", channels: "Channels of the image", classes: "Classes" };
const whole = (text, most = 4096) => Math.max(1, Math.min(most, Math.round(Number(text)) || 1));

const tableWidths = (module) => {
  const row = data.networks.googlenet.rows.find((one) => one.id === module && arithmetic.isModule(one));
  return arithmetic.WIDTHS.map((name) => row?.paths.flat().find((layer) => layer.name === name).out);
};

function settingsFrom(network, text = "") {
  const s = { ...PAPER, network, heads: network === "googlenet", module: "inception3a" };
  const known = (id) => data.what_ifs.some((one) => one[0] === network && one[1] === id);
  for (const [key, value] of new URLSearchParams(text)) {
    if (own(ASK, key)) s[key] = whole(value);
    else if (key === "norm") s.batchNorm = value === "1";
    else if (key === "heads") s.heads &&= value === "1";
    else if (key === "if" && known(value)) s.whatIf = value;
    else if (key === "module" && tableWidths(value)[0]) s.module = value;
    else if (key === "widths") s.widths = value.split(",").map((width) => whole(width));
    else if (key === "row") s.row = value;
  }
  if (s.widths?.length !== 6) s.widths = tableWidths(s.module);
  return s;
}

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

function showChange(name, text) {
  const s = settingsFrom(own(data.networks, name, "googlenet"), text);
  const network = data.networks[s.network];
  buildForm(s);
  const before = arithmetic.compute(network, { ...PAPER, heads: s.heads });
  const result = arithmetic.compute(network, s);
  if (result.error) {
    const fits = (size, heads) => size > 0 && !arithmetic.compute(network, { ...s, size, heads }).error;
    const nearest = (step, heads) => Array.from({ length: 65 }, (_, i) => s.size + step * i).find((size) => fits(size, heads));
    const offers = [[-1, s.heads], [1, s.heads], [1, false]].slice(0, s.heads ? 3 : 2)
      .map(([step, heads]) => ({ size: nearest(step, heads), heads })).filter(({ size }) => size);
    fill("answer", h("div.card.impossible", { role: "alert" }, h("h2", "That cannot be built"),
      h("p.note", `${result.error[0].toUpperCase()}${result.error.slice(1)}.`),
      h("p.note.chips", offers.map((offer) =>
        link(addressOf({ ...s, ...offer }), false, `Take ${offer.size} px${offer.heads === s.heads ? "" : " without the heads"}`)))));
    return ["changed-rows", "worked"].forEach((id) => fill(id));
  }
  const change = (term, what, write) => {
    const [was, is] = [before.all[what], result.all[what]];
    const moved = `${(is / was).toFixed(2)} × the paper's, ${is > was ? "+" : "−"}${write(Math.abs(is - was))}`;
    return h("div", h("dt", term), h("dd", write(is), h("small", is === was ? "as in the paper" : moved)));
  };
  const notes = data.what_ifs.filter(([of, id]) => of === s.network && id === s.whatIf).map((one) => one[3]);
  if (s.batchNorm) notes.push(data.options.batch_norm);
  if (s.network === "googlenet" && !s.heads) notes.push(data.options.no_heads);
  const shapes = new Map(before.rows.map((row) => [row.id, String(row.shape)]));
  const others = result.rows.filter((row) => shapes.get(row.id) !== String(row.shape)).length;
  const gone = before.rows.length - result.rows.length;
  fill("answer",
    h("dl.totals", change("Parameters", "parameters", comma), change("MACs of one image", "macs", comma),
      change("Activations of one image", "values", memory)),
    s.heads && h("p.quiet.note", "All three with the heads."),
    h("p.note", others ? `The output of ${others} of ${result.rows.length} rows has another shape.` : "Every output has the shape that it has in the paper.",
      gone > 0 && ` ${gone} rows are gone.`),
    notes.map((note) => h("p.note", note)));
  const row = result.rows.find((one) => one.id === s.row);
  const address = (one) => addressOf({ ...s, row: one.id === s.row ? null : one.id });
  fill("changed-rows", tableOf(result, { address, current: s.row, before }));
  fill("worked", row ? h("div.card.worked", h("h2", title(row)), h("h3", "Worked out with these settings"), sumsOf(row))
    : h("p.quiet.note", "Choose a row to see its arithmetic. Memory: every output once in 32 bits, as training keeps it; ",
      "ReLU works in place."));
}

let builtFor = "";
/** The form is built once for each of its forms; then it follows the address. */
function buildForm(s) {
  const now = () => settingsFrom(s.network, location.hash.split("/")[2]); // not of when the form was built
  const set = (change) => location.replace(addressOf({ ...now(), row: null, ...change }));
  const number = (name, limits) => {
    const oninput = ({ target }) => target.value && set({ [name]: whole(target.value) });
    const onchange = ({ target }) => { target.value = now()[name]; }; // what was taken of what was typed
    const input = (type) => h("input", { type, name, ...limits, "aria-label": ASK[name], oninput, onchange });
    return h("fieldset", h("label", ASK[name]), h("div.pair", input("range"), input("number")));
  };
  const tick = (attributes, label, change) =>
    h("label.check", h("input", { ...attributes, onchange: ({ target }) => set(change(target.checked)) }), label);
  const box = (name, label) => tick({ type: "checkbox", name }, label, (checked) => ({ [name]: checked }));
  const choice = ([, id, label]) => tick({ type: "radio", name: "whatIf", value: id }, label, () => ({ whatIf: id }));
  const width = (label, i) => {
    const oninput = ({ target }) => target.value && set({ widths: now().widths.with(i, whole(target.value)) });
    return h("label", label, h("input", { type: "number", min: 1, max: 4096, "data-width": i, oninput }));
  };
  const key = [s.network, s.whatIf === "widths" && s.module].join();
  if (key !== builtFor) {
    builtFor = key;
    const modules = data.networks.googlenet.rows.filter(arithmetic.isModule);
    const choose = ({ target }) => set({ module: target.value, widths: tableWidths(target.value) });
    fill("settings",
      h("div.switch", { role: "group", "aria-label": "Network" },
        Object.entries(data.networks).map(([id, one]) => link(`#change/${id}`, id === s.network, one.title))),
      number("size", { min: 16, max: 512, step: s.network === "vgg16" ? 4 : 1 }),
      number("channels", { min: 1, max: 16 }), number("classes", { min: 1, max: 2000 }),
      h("fieldset", h("legend", "Parts"), box("batchNorm", "Batch-norm after each convolution"),
        s.network === "googlenet" && box("heads", "Auxiliary heads")),
      h("fieldset", h("legend", "What if"), choice(["", "none", "As in the paper"]),
        data.what_ifs.filter(([of]) => of === s.network).map(choice)),
      s.whatIf === "widths" && h("fieldset", h("legend", "Module and its widths"),
        h("select", { "aria-label": "Module", onchange: choose },
          modules.map((row) => h("option", { value: row.id, selected: row.id === s.module }, row.name))),
        h("div.six", data.columns.map(width))),
      h("div", button("Back to the paper", () => { location.hash = `#change/${s.network}`; })));
  }
  for (const input of $("settings").querySelectorAll("input")) {
    if (input === document.activeElement && input.type === "number") continue; // while one types
    if (input.type === "checkbox") input.checked = s[input.name];
    else if (input.type === "radio") input.checked = s.whatIf === input.value;
    else input.value = input.dataset.width ? s.widths[input.dataset.width] : s[input.name];
  }
}

// ------------------------------------------------------------------- 3. see what it sees

let spot = [0.5, 0.5]; // how far down and right in the maps the chosen cell lies
let evidence = false; // on the photo, in place of the frame
function showSee(which = "clothing", index = 0, layer = "conv2") {
  const network = seen[own(seen, which, "clothing")];
  const photo = network.photos[own(network.photos, Number(index), 0)];
  const name = own(photo.layers, layer, "conv2");
  const { channels, of, maps } = photo.layers[name];
  const { size } = network;
  const { rows } = arithmetic.compute(data.networks.googlenet, { ...PAPER, size, channels: network.channels, heads: false });
  const row = rows.find((one) => one.id === name);
  const { side, field, jump, start } = row.output;
  const cell = spot.map((share) => Math.max(0, Math.min(side - 1, Math.floor(share * side))));
  const choose = (at, shown = false) => { [spot, evidence] = [at, shown]; keepFocus(() => showSee(which, index, layer)); };
  fill("photos", Object.entries(seen).map(([id, { photos }]) => photos.map((one, i) =>
    link(`#see/${id}/${i}/${name}`, one === photo, h("img", { src: one.photo, alt: "" }), h("span", one.name)))));
  fill("layers", Object.keys(photo.layers).map((id) =>
    link(`#see/${which}/${index}/${id}`, id === name, brief(rows.find((one) => one.id === id)))));

  const place = (top, left, side_) => `left:${css(left)};top:${css(top)};width:${css(side_)};height:${css(side_)}`;
  const [top, left] = cell.map((c) => (start + c * jump + 0.5 - field / 2) / size);
  const sides = [top, 1 - left - field / size, 1 - top - field / size, left]; // of the frame, within the photo
  const best = photo.probabilities.map((p, i) => [p, network.classes[i]]).sort((a, b) => b[0] - a[0]).slice(0, 4);
  const over = evidence ? h("img", { src: photo.evidence, alt: `Bright where the evidence for ${best[0][1]} lies` })
    : h("span.frame", { style: `inset:${sides.map((share) => css(Math.max(0, share))).join(" ")}` });
  const number = (label, axis) => {
    const oninput = ({ target }) => choose(spot.with(axis, (Math.round(Number(target.value)) + 0.5) / side));
    const limits = { min: 0, max: side - 1, value: cell[axis] };
    return h("label", label, h("input", { type: "number", ...limits, "data-cell": label, oninput }));
  };
  const toggle = button(`What speaks for ${best[0][1]}`, () => choose(spot, !evidence), { "aria-pressed": String(evidence) });
  const pick = ({ currentTarget, clientX, clientY }) => {
    const box = currentTarget.getBoundingClientRect();
    choose([(clientY - box.top) / box.height, (clientX - box.left) / box.width]);
  };
  fill("looking",
    h("div.photo", { class: size > 64 ? "smooth" : "", onclick: pick }, h("img", { src: photo.photo, alt: photo.name }), over),
    h("div.controls", ["Row", "Column"].map(number)), h("p.note", toggle),
    h("p.note.quiet", evidence ? "Bright: where the maps raise the odds of the answer (Grad-CAM). Choose a cell for its frame."
      : `The frame: what the cell in row ${cell[0]}, column ${cell[1]} sees.`),
    h("h3", "The answer"), h("div.answers", best.map(([p, label]) => [h("span", label), h("b", { "--share": css(p) }), h("span", percent(p))])));
  const map = (channel, i) => {
    const style = `background-image:url(${maps});background-position:${(100 * i) / (channels.length - 1)}% 0`;
    const mark = h("i", { style: place(cell[0] / side, cell[1] / side, 1 / side) });
    return h("figure", h("div.map", { role: "img", "aria-label": `Map of channel ${channel}`, onclick: pick, style }, mark),
      h("figcaption.quiet", `channel ${channel}`));
  };
  fill("maps", h("h2", title(row)),
    h("p.note", `A cell sees ${field} × ${field} px, and the next as much, ${jump} px on; the image has ${size} × ${size}.`),
    h("p.quiet.note", `${of} maps of ${side} × ${side} in ${network.checkpoint}; these are the strongest on this image. Bright is large.`),
    h("div.maps", channels.map(map)));
}

// ------------------------------------------------------------------- 4. one layer by hand

let given = structuredClone(data.example);
const neat = (n) => minus(Number(n.toFixed(4)));
const bracket = (n) => (n < 0 ? `(${neat(n)})` : neat(n));
const equals = (text, value) => (text === "" || text === neat(value) ? neat(value) : `${text} = ${neat(value)}`);
const products = (terms) => terms.map(([a, c]) => `${bracket(a)}·${bracket(c)}`).join(" + ");
const plus = (terms) => terms.map(bracket).join(" + ");

/** All steps: the cell that each fills, the cells it reads, and its sum in words and numbers. */
function stepsOf(r) {
  const { K, b, dP, rate } = given;
  const steps = [];
  const one = (phase, name, reads, text, sum_) => steps.push({ phase, name, reads, text, sum: sum_ });
  const each = (phase, name, matrix, make) => matrix.forEach((numbers, i) => numbers.forEach((value, j) => {
    const [reads, text, sum_] = make(i, j, value);
    steps.push({ phase, name, i, j, reads, text, sum: equals(sum_, value) });
  }));
  const under = (i, j, n) => Array.from({ length: n * n }, (_, k) => [i + Math.floor(k / n), j + (k % n)]);
  const live = (terms) => products(terms.filter(([gradient]) => gradient !== 0));
  const alive = under(0, 0, r.dY.length).filter(([i, j]) => r.dY[i][j] !== 0);

  each("Convolution", "Y", r.Y, (i, j) => [{ X: under(i, j, 3), K: under(0, 0, 3) },
    "Lay the kernel on the image, multiply what lies on top of each other, add up, add b.",
    `${products(r.window(i, j))} + ${bracket(b)}`]);
  each("ReLU", "Z", r.Z, (i, j) => [{ Y: [[i, j]] }, "What is negative becomes 0.", `max(${neat(r.Y[i][j])}, 0)`]);
  each("Pooling", "P", r.P, (i, j) => [{ Z: under(i, j, 2) }, "The largest of four.",
    `max(${under(i, j, 2).map(([u, v]) => neat(r.Z[u][v])).join(", ")})`]);
  one("Loss", "L", { P: under(0, 0, 2), dP: under(0, 0, 2) },
    "A loss made up so that its gradient with respect to P is known: it is dP.",
    equals(products(under(0, 0, 2).map(([i, j]) => [dP[i][j], r.P[i][j]])), r.L));
  each("Back through pooling", "dZ", r.dZ, (i, j) => {
    const won = under(0, 0, 2).filter(([p, q]) => String(r.winners[p][q]) === String([i, j]));
    const windows = ["no window, and gets nothing", "one window, and gets its gradient"][won.length];
    return [{ dP: won, Z: [[i, j]] },
      `It was the largest of ${windows ?? `${won.length} windows, and gets the sum of their gradients`}. Of equals the first counts.`,
      plus(won.map(([p, q]) => dP[p][q]))];
  });
  each("Back through ReLU", "dY", r.dY, (i, j) => [{ dZ: [[i, j]], Y: [[i, j]] },
    r.Y[i][j] > 0 ? "Y is positive here: the gradient goes through." : "Y is not positive here: the gradient stops.",
    `${r.Y[i][j] > 0 ? 1 : 0}·${bracket(r.dZ[i][j])}`]);
  each("Gradient of the kernel", "dK", r.dK, (u, v) => [{ dY: alive, X: alive.map(([i, j]) => [i + u, j + v]) },
    "Over all places: the gradient there times the pixel that this weight met. Gradients of 0 are left out.",
    live(r.kernelTerms(u, v))]);
  one("Gradient of the bias", "db", { dY: alive }, "The bias met a 1 everywhere: the sum of dY.",
    equals(plus(alive.map(([i, j]) => r.dY[i][j])), r.db));
  each("Gradient of the image", "dX", r.dX, (p, q) => {
    const met = alive.filter(([i, j]) => K[p - i]?.[q - j] !== undefined);
    return [{ dY: met, K: met.map(([i, j]) => [p - i, q - j]) },
      "Over all places whose window held this pixel: the gradient there times the weight that lay on it.",
      live(r.imageTerms(p, q))];
  });
  each("One step of learning", "K after", r.newK, (u, v) => [{ K: [[u, v]], dK: [[u, v]] },
    "Against the gradient, as far as the learning rate says.",
    `${neat(K[u][v])} − ${neat(rate)}·${bracket(r.dK[u][v])}`]);
  const squares = sum([...r.dK.flat(), r.db].map((gradient) => gradient ** 2));
  one("One step of learning", "L after", {},
    `With the new K and b = ${neat(b)} − ${neat(rate)}·${bracket(r.db)} = ${neat(r.newb)}, forward once more. A small step ` +
    "should lower the loss by the rate times the sum of the squared gradients.",
    `${neat(r.newL)}; expected ${neat(r.L)} − ${neat(rate)}·${neat(squares)} = ${neat(r.L - rate * squares)}`);
  return steps;
}

let steppedTo = null;
function showHand(position) {
  const r = arithmetic.layer(given);
  const steps = stepsOf(r);
  const at = Math.max(0, Math.min(steps.length - 1, Number(position) || 0));
  const now = steps[at];
  const go = (to) => location.replace(`#hand/${to}`);
  const phases = [...new Set(steps.map((step) => step.phase))];
  const place = () => Number(location.hash.split("/")[1]) || 0; // now: keys may come faster than drawings
  fill("buttons", button("← Back", () => go(place() - 1), { id: "back", disabled: at === 0 }),
    button("Next →", () => go(place() + 1), { id: "next", disabled: at === steps.length - 1 }),
    h("output", `step ${at + 1} of ${steps.length}`));
  Object.assign($("step"), { max: steps.length - 1, value: at, oninput: ({ target }) => go(target.value) });
  fill("phases", phases.map((phase) => link(`#hand/${steps.findIndex((step) => step.phase === phase)}`, phase === now.phase, phase)));
  centre($("phases"), $("phases").querySelector("[aria-current]"));
  const index = now.i === undefined ? "" : `[${now.i}, ${now.j}]`;
  fill("sentence", h("p", h("strong", `${now.name}${index}. `), now.text, h("output.sum", `${now.name}${index} = ${now.sum}`)));

  /** A matrix with its name. `take` makes its cells inputs, and is given what one enters. */
  const matrix = (name, values, note, take) => {
    const marks = new Set((now.reads[name] ?? []).map(String));
    const wash = now.phase.includes("ooling") ? "pooled" : "in";
    const one = values.length * values[0].length === 1;
    const cellOf = (value, i, j) => {
      const step = steps.findIndex((one_) => one_.name === name && (one || (one_.i === i && one_.j === j)));
      const label = `${name}[${i}, ${j}]`;
      const oninput = ({ target }) => {
        if (target.value !== "") take(i, j, (values[i][j] = Number(target.value)));
        showHand(place());
      };
      const onchange = ({ target }) => { target.value ||= values[i][j]; }; // of a field left empty
      const events = { oninput, onchange, onclick: ({ target }) => target.select() };
      const input = take && h("input", { type: "number", step: "any", value, "aria-label": label, "data-cell": label, ...events });
      return h("td", { class: step === at ? "now" : marks.has(`${i},${j}`) ? wash : "", onclick: take ? null : () => go(step) },
        input || (step <= at ? neat(value) : "·"));
    };
    return h("table.matrix", { class: take ? "given" : "" }, h("caption", name, " ", h("small", note)),
      h("tbody", values.map((numbers, i) => h("tr", numbers.map((value, j) => cellOf(value, i, j))))));
  };
  const free = (name, note) => matrix(name, given[name], note, (i, j, value) => { given[name][i][j] = value; });
  const single = (name, note) => matrix(name, [[given[name]]], note, (i, j, value) => { given[name] = value; });
  const draw = (like) => like.map((numbers) => numbers.map(() => Math.floor(Math.random() * 7) - 3));
  const replace = (label, make) => button(label, () => { given = make(); keepFocus(() => showHand(at)); });
  fill("sheet",
    h("div.gap.first", h("h2", "Forward"), replace("The example", () => structuredClone(data.example)),
      replace("Other numbers", () => ({ ...given, X: draw(given.X), K: draw(given.K), dP: draw(given.dP) }))),
    free("X", "the image"), free("K", "the kernel"), single("b", "the bias"), matrix("Y", r.Y, "X with K, plus b"),
    matrix("Z", r.Z, "after ReLU"), matrix("P", r.P, "after pooling"), matrix("L", [[r.L]], "the loss"),
    h("h2.gap", "Backward"), free("dP", "gradient of P"), matrix("dZ", r.dZ, "of Z"), matrix("dY", r.dY, "of Y"),
    matrix("dK", r.dK, "of the kernel"), matrix("db", [[r.db]], "of the bias"), matrix("dX", r.dX, "of the image"),
    h("h2.gap", "One step of learning"), single("rate", "the learning rate"), matrix("K after", r.newK, "K − rate · dK"),
    matrix("L after", [[r.newL]], "the new loss"));
  if (steppedTo !== at && steppedTo !== null) $("sheet").querySelector(".now").scrollIntoView({ block: "nearest" });
  steppedTo = at;
}

// ------------------------------------------------------------------- 5. how it trained

/** Values over epochs; `lines` are [values, class, label]. */
function chart(name, lines, write) {
  const text = parseFloat(getComputedStyle($("curves")).fontSize) / 16; // as large as the reader wants it
  const [width, height, left, bottom] = [Math.min(640, $("curves").clientWidth) / text, 250, 52, 34];
  const values = lines.flatMap(([numbers]) => numbers);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5].find((one) => (most - least) / one < 6);
  const [low, high] = [Math.floor(least / step) * step, Math.ceil(most / step) * step];
  const last = Math.max(...lines.map(([numbers]) => numbers.length));
  const x = (epoch) => left + ((width - left - 12) * epoch) / last;
  const y = (value) => 8 + ((height - bottom - 8) * (high - value)) / (high - low);
  const levels = Array.from({ length: Math.round((high - low) / step) + 1 }, (_, i) => low + i * step);
  const every = [1, 2, 5, 10, 20, 50].find((one) => last / one < width / 70);
  const epochs = Array.from({ length: Math.floor(last / every) }, (_, i) => (i + 1) * every);
  const path = (numbers) => `M${numbers.map((value, i) => `${x(i + 1).toFixed(1)},${y(value).toFixed(1)}`).join("L")}`;
  return h("figure", h("h3", name), h("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name },
    levels.map((level) => [h("line.grid", { x1: left, x2: width - 12, y1: y(level), y2: y(level) }),
      h("text", { x: left - 8, y: y(level) + 4, "text-anchor": "end" }, write(level))]),
    epochs.map((epoch) => h("text", { x: x(epoch), y: height - 12, "text-anchor": "middle" }, epoch)),
    h("text", { x: left - 8, y: height - 12, "text-anchor": "end" }, "epoch"),
    lines.map(([numbers, kind, label]) => h("path.line", { class: kind, d: path(numbers) }, h("title", label)))));
}

function showTrained(index) {
  const run = data.runs[own(data.runs, Number(index), 0)];
  const entry = (one) => link(`#trained/${data.runs.indexOf(one)}`, one === run, { class: "run" },
    h("span", one.name), h("span", percent(Math.max(...one.val_accuracy), 2)),
    h("span.quiet", `${one.val_accuracy.length} epochs, ${Math.round(sum(one.seconds) / 60)} minutes`),
    h("span.quiet", one.test && `test ${one.test}`));
  const alike = (dataset) => data.runs.filter((one) => one.dataset === dataset);
  fill("run-list", [...new Set(data.runs.map((one) => one.dataset))].map((dataset) =>
    [h("h3.run", h("span", dataset), h("span", "best validation accuracy")), alike(dataset).map(entry)]));
  const others = alike(run.dataset).filter((one) => one !== run).map((one) => [one.val_accuracy, "", one.name]);
  fill("curves", h("h2", run.name),
    h("p.quiet", run.command.startsWith("python") && h("code", run.command), " ", h("a", { href: `results/${run.log}` }, run.log)),
    chart("Validation accuracy; thin: the other runs on this data",
      [...others, [run.val_accuracy, "chosen", run.name]], (value) => percent(value, 0)),
    chart("Loss: a full line for validation, dots for training (with augmentation and smoothed labels)",
      [[run.train_loss, "second", "training"], [run.val_loss, "chosen", "validation"]], (value) => value.toFixed(1)));
  showConfusion();
  showAblations();
}

let confused = null; // the chosen cell: class and answer
function showConfusion() {
  const { classes, checkpoint, judged: { labels, answers, sure, sheet } } = seen.clothing;
  const [images, numbers] = [labels, classes].map((list) => list.map((_, i) => i));
  const right = (i) => labels[i] === answers[i];
  const mistakes = images.filter((i) => !right(i));
  confused ??= [labels, answers].map((list) => list[mistakes[0] ?? 0]);
  const within = (k) => mistakes.filter((i) => labels[i] === k || answers[i] === k).length;
  const worst = numbers.reduce((most, k) => (within(k) > within(most) ? k : most));
  const nameOf = (label, answer) => `${classes[label]}, ${label === answer ? "recognised" : `taken for ${classes[answer]}`}`;
  const where = (label, answer) => images.filter((i) => labels[i] === label && answers[i] === answer);
  const cellOf = (label, answer) => {
    const found = where(label, answer).length;
    const share = found / images.filter((i) => labels[i] === label).length;
    const [colour, strength] = label === answer ? ["rule", share] : ["mark", found && Math.min(1, 0.5 + 6 * share)];
    return button(found || "", () => { confused = [label, answer]; keepFocus(showConfusion); }, {
      "--tint": `color-mix(in srgb, var(--${colour}) ${css(strength)}, var(--card))`,
      "aria-label": `${nameOf(label, answer)}: ${found}`,
      "aria-pressed": String(String(confused) === String([label, answer])),
    });
  };
  fill("confusion", h("h2", "What it confuses"),
    h("p.note", `${checkpoint} on the sample’s ${comma(images.length)} test images, which it has never seen: ${images.length - mistakes.length} right. `,
      mistakes.length > 0 && `${classes[worst]} is in ${within(worst)} of the ${mistakes.length} mistakes. `,
      "Rows: what it is. Columns: the answer. Choose a cell to see its images."),
    h("div.scroll", h("table.confusion", columns("", ...classes),
      h("tbody", numbers.map((label) => line(classes[label], ...numbers.map((answer) => cellOf(label, answer))))))));

  const [label, answer] = confused;
  const rows = Math.ceil(images.length / 25); // of the picture that holds all images, 25 a row
  const thumb = (i) => {
    const position = `${(100 * (i % 25)) / 24}% ${(100 * Math.floor(i / 25)) / (rows - 1)}%`;
    const style = `background:url(${sheet}) ${position} / 2500% ${100 * rows}%`;
    return h("figure", h("i", { role: "img", "aria-label": classes[label], style }), percent(sure[i], 0));
  };
  const calibration = [0, 0.5, 0.6, 0.7, 0.8, 0.9].map((from, i, all) => {
    const to = all[i + 1] ?? 1;
    const inside = images.filter((k) => sure[k] >= from && (sure[k] < to || to === 1));
    const mean = (values) => (inside.length ? percent(sum(values) / inside.length, 0) : "");
    return line(`${Math.round(100 * from)}–${percent(to, 0)}`, inside.length, mean(inside.map((k) => sure[k])), mean(inside.map(right)));
  });
  fill("behind", h("h2", nameOf(label, answer)),
    h("p.quiet.note", "Below each image: how sure the network was."), h("div.thumbs", where(label, answer).slice(0, 40).map(thumb)),
    h("h2.later", "Is it as sure as it should be?"),
    h("div.scroll", h("table", columns("Says it is sure", "Images", "On average", "Is right"), h("tbody", calibration))));
}

function showAblations() {
  const recipes = data.ablations.filter(({ choice }) => choice === "recipe");
  const tried = data.ablations.filter((row) => !recipes.includes(row));
  const far = 5, most = Math.max(1, ...tried.map((row) => row.difference + row.error)); // points; null counts as 0
  const x = (value) => css((Math.max(value, -far) + far) / (far + most));
  const rowOf = ({ choice, instead, recipe, difference: d, error, seeds, diverged }) => {
    const points = d === null ? "diverged" : `${d > 0 ? "+" : ""}${minus(d.toFixed(2))}${error === null ? "" : ` ± ${error.toFixed(2)}`}`;
    const places = { "--at": x(d ?? -far), "--from": x(d - error), "--to": x(d + error) };
    return line(`${choice}: ${instead}`, recipe, h("i.track", { class: d === null || d < -far ? "far" : "", ...places }), points,
      `${seeds - diverged}${diverged ? `, ${diverged} diverged` : ""}`);
  };
  const group = (recipe) => h("tbody",
    h("tr", h("th", { colspan: 5, scope: "rowgroup" }, h("strong", recipe.group),
      `; the recipe ${recipe.accuracy === null ? "diverged" : `reaches ${percent(recipe.accuracy, 2)}`}`)),
    tried.filter((row) => row.group === recipe.group).map(rowOf));
  fill("ablations", h("h2.later", "What single choices are worth"),
    h("p.note", "Short runs in which one thing differs from the recipe. Points: the validation accuracy that it gains or loses against ",
      "the recipe’s run with the same seed, on average over such pairs of runs. ",
      tried.some(({ error }) => error !== null) && "± and the line are the standard error, where there are two pairs or more. ",
      tried.some(({ error, difference }) => error === null && difference !== null) && "One pair alone cannot tell a small difference from chance."),
    h("div.scroll", h("table.tried", { "--zero": x(0) }, columns("Tried", "In the recipe", "← worse, better →", "Points", "Pairs"), recipes.map(group))));
}

// ------------------------------------------------------------------- addresses, focus, keys

/** Drawing anew must not take the focus away: it goes to what stands where the old element stood. */
function keepFocus(draw) {
  const old = document.activeElement;
  const box = old?.closest("main [id]:not(input, button)");
  draw();
  if (!box || old.isConnected) return;
  const others = [...box.querySelectorAll(old.tagName)];
  const label = (one) => one.dataset.cell ?? one.getAttribute("aria-label") ?? `${one.textContent}${one.name}${one.value}`;
  const alike = others.find((one) => label(one) === label(old));
  const chosen = others.find((one) => one.hash && one.hash === location.hash);
  (box.id === "detail" ? alike ?? chosen : chosen ?? alike)?.focus({ preventScroll: true });
  const shows = { rows: "detail", "run-list": "curves" }[box.id];
  if (shows && !old.ariaCurrent && matchMedia("(max-width: 61.99em)").matches) $(shows).scrollIntoView();
}

const VIEWS = { walk: showWalk, change: showChange, see: showSee, hand: showHand, trained: showTrained };
function show() {
  const [first, ...rest] = location.hash.slice(1).split("/");
  if (first === "main") return; // the link that skips to the content
  const view = own(VIEWS, first, "walk");
  if ($(view).hidden) scrollTo(0, 0);
  for (const id of Object.keys(VIEWS)) $(id).hidden = id !== view;
  for (const one of document.querySelectorAll("[data-view]")) one.ariaCurrent = one.dataset.view === view ? "page" : null;
  if (view === "walk") showWalk(own(data.networks, first, "vgg16"), ...rest);
  else VIEWS[view](...rest);
}

addEventListener("hashchange", () => keepFocus(show));
addEventListener("resize", () => $("trained").hidden || keepFocus(show)); // the charts are as wide as the page
addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const typing = event.target.closest("input, select, pre") || event.altKey || event.ctrlKey || event.metaKey;
  if (!step || typing) return;
  if (!$("hand").hidden) $(step > 0 ? "next" : "back").click();
  if ($("walk").hidden) return;
  const links = [...$("rows").querySelectorAll("a")];
  const to = links[links.findIndex((one) => one.ariaCurrent) + step];
  if (to) location.hash = to.hash;
  event.preventDefault();
});
show();
