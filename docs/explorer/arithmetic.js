// The arithmetic of the page. Networks: shapes, parameters, multiply-accumulates (MACs), memory and
// receptive fields of rows that models/*.py hand over; a row is one path of layers, or four paths
// side by side (an inception module). And one convolution worked by hand, there and back.
const arithmetic = (() => {
  "use strict";
  const comma = (n) => n.toLocaleString("en-US");
  const dots = (...factors) => factors.join("·");
  const sum = (values) => values.reduce((a, b) => a + b, 0);

  /** How often a window fits, and the sum that says so (papers.md, "How large an output is"). */
  function fit({ kernel, stride, padding, same }, n) {
    if (!same) {
      const out = Math.floor((n + 2 * padding - kernel) / stride) + 1;
      return { out, text: `⌊(${n} + 2·${padding} − ${kernel}) / ${stride}⌋ + 1 = ${out}` };
    }
    // Figure 3's "(S)": pad an even map at its far edges, an odd one all around.
    const out = Math.floor((n + 1) / stride);
    const edge = n % 2 ? "1 on every side" : "1 at the right and lower edge";
    return { out, text: `⌈${n} / ${stride}⌉ = ${out}, padded by ${edge}` };
  }

  /** One layer. `at` is what comes in: channels, side of the map, flat or not, and for one cell the
      pixels it sees (field), those between neighbours (jump) and the first one's centre (start). */
  function apply(layer, at, { batchNorm, classes }) {
    const { kind, stride } = layer;
    const { channels, side, flat } = at;
    const done = { ...layer, input: at, parameters: 0, macs: 0, values: 0, sums: [] };
    const say = (what, text) => done.sums.push([what, text]);
    const kernel = kind === "average" ? side : layer.kernel; // the whole map
    const see = (k, padding, step) => ({
      field: at.field + (k - 1) * at.jump,
      start: at.start + ((k - 1) / 2 - padding) * at.jump,
      jump: at.jump * step,
    });
    let out = at;
    if (kind === "linear") {
      const inputs = channels * side * side;
      const width = layer.out === "classes" ? classes : layer.out;
      const factors = side > 1 ? dots(side, side, channels, width) : dots(channels, width);
      out = { ...at, ...see(side, 0, 1), channels: width, side: 1, flat: true };
      done.macs = inputs * width;
      done.parameters = done.macs + width;
      say("parameters", `${factors} + ${width} = ${comma(done.parameters)}`);
      say("MACs", `${factors} = ${comma(done.macs)}`);
    } else if (kind === "convolution" || kind.endsWith("pool")) {
      const { out: places, text } = fit(layer, side);
      const padding = layer.same ? side % 2 : layer.padding;
      const width = layer.out ?? channels;
      out = { ...see(kernel, padding, stride), channels: width, side: places, flat };
      if (kind === "convolution") {
        const weights = kernel * kernel * channels * width;
        const factors = dots(kernel, kernel, channels, width);
        done.parameters = weights + (batchNorm ? 2 : 1) * width; // a scale and a shift, or a bias
        done.macs = weights * places * places;
        const more = batchNorm ? `2·${width}` : width;
        say("parameters", `${factors} + ${more} = ${comma(done.parameters)}`);
        say("MACs", `${factors} · ${places}·${places} = ${comma(done.macs)}`);
      }
      say("side of the map", text);
    } else if (kind === "average") {
      out = { ...at, ...see(side, 0, 1), side: 1 };
      say("side of the map", `the mean over ${side}·${side} cells = 1`);
    } else if (kind === "dropout") {
      out = { ...at, flat: true };
    }
    const outputs = out.channels * out.side * out.side;
    // The outputs that training keeps: ReLU works in place, batch-norm after it does not.
    done.values = kind === "dropout" ? 0 : outputs * (kind === "convolution" && batchNorm ? 2 : 1);
    if (out.field !== at.field) {
      const seen = kind === "linear" ? side : kernel;
      say("receptive field", `${at.field} + (${seen} − 1)·${at.jump} = ${out.field}`);
    }
    return { ...done, output: out };
  }

  /** A row: its paths from the same input, stacked along the channels where there are several. */
  function applyRow(row, at, settings) {
    const paths = row.paths.map((layers) => {
      let here = at;
      // Batch-norm takes the place of local response normalisation.
      const kept = layers.filter(({ kind }) => kind !== "normalisation" || !settings.batchNorm);
      return kept.map((layer) => {
        const done = apply(layer, here, settings);
        here = done.output;
        return done;
      });
    });
    const added = (what) => sum(paths.flat().map((layer) => layer[what]));
    const ends = paths.map((path) => path.at(-1).output);
    const widest = ends.reduce((a, b) => (b.field > a.field ? b : a));
    const output = { ...widest, channels: sum(ends.map((end) => end.channels)) };
    const stacked = paths.length > 1 ? output.channels * output.side * output.side : 0;
    return {
      ...row, name: row.name.replace("{classes}", settings.classes), input: at, output, paths,
      shape: output.flat ? [output.channels] : [output.channels, output.side, output.side],
      parameters: added("parameters"), macs: added("macs"), values: added("values") + stacked,
    };
  }

  const WIDTHS = ["branch_1x1", "branch_3x3.reduce", "branch_3x3.conv", "branch_5x5.reduce",
    "branch_5x5.conv", "branch_pool.proj"]; // in the order of Table 1
  const isModule = (row) => row.paths.length > 1;

  /** The rows with every layer passed through `change`, which returns it, another, or null. */
  const mapLayers = (rows, change) =>
    rows.map((row) => ({
      ...row,
      paths: row.paths.map((path) => path.map((layer) => change(layer, row)).filter(Boolean)),
    }));

  const whatIfs = {
    none: (rows) => rows,
    "3x3": (rows) =>
      mapLayers(rows, (layer) =>
        layer.name === "branch_5x5.conv" ? { ...layer, kernel: 3, padding: 1 } : layer),
    direct: (rows) =>
      mapLayers(rows, (layer, row) =>
        isModule(row) && layer.name.endsWith("reduce") ? null : layer),
    114: (rows) =>
      mapLayers(rows, (layer, row) =>
        row.id === "inception4d" && layer.name === "branch_3x3.reduce"
          ? { ...layer, out: 114 } : layer),
    widths: (rows, { module, widths }) =>
      mapLayers(rows, (layer, row) =>
        row.id === module
          ? { ...layer, out: widths[WIDTHS.indexOf(layer.name)] ?? layer.out } : layer),
    // VGG16: the second of two neighbouring convolutions goes, the first becomes a 5x5.
    "5x5": (rows) => {
      const changed = [];
      for (let i = 0; i < rows.length; i++) {
        const [one, two] = [rows[i], rows[i + 1]].map((row) => row && row.paths[0][0]);
        const pair = one.kind === "convolution" && two && two.kind === "convolution";
        const wide = { ...two, kernel: 5, padding: 2 };
        changed.push(pair ? { ...rows[i], name: `conv5-${two.out}`, paths: [[wide]] } : rows[i]);
        if (pair) i++;
      }
      return changed;
    },
  };

  /** All rows of a network under settings: {size, channels, classes, batchNorm, heads, whatIf}. */
  function compute(network, settings) {
    const { smallest, step, messages, heads_from: headsFrom } = network;
    const { size } = settings;
    const refuse = (text) => ({ error: text.replaceAll("{size}", size), rows: [] });
    if (size < smallest || size % step) return refuse(messages.size);
    if (headsFrom && settings.heads && size < headsFrom) return refuse(messages.heads);
    let at = { channels: settings.channels, side: size, flat: false, field: 1, jump: 1, start: 0 };
    const sources = {};
    const rows = [];
    for (const row of whatIfs[settings.whatIf ?? "none"](network.rows, settings)) {
      if (row.source && !settings.heads) continue;
      const done = applyRow(row, row.source ? sources[row.source] : at, settings);
      if (!row.source) at = sources[row.id] = done.output;
      rows.push(done);
    }
    const added = (some, what) => sum(some.map((row) => row[what]));
    const total = (some) => ({
      parameters: added(some, "parameters"),
      macs: added(some, "macs"),
      values: added(some, "values"),
    });
    return { rows, main: total(rows.filter((row) => !row.source)), all: total(rows) };
  }

  // ------------------------------------------------------------------- one layer by hand

  const grid = (rows, columns, cell) =>
    Array.from({ length: rows }, (_, i) => Array.from({ length: columns }, (_, j) => cell(i, j)));
  const cells = (matrix) => matrix.flatMap((row, i) => row.map((value, j) => ({ i, j, value })));

  /** X convolved with K plus b, ReLU, 2x2 max-pool with stride 1, L = sum of dP times P; then all
      gradients, and one step of gradient descent. */
  function layer({ X, K, b, dP, rate }, last = false) {
    const k = K.length;
    const n = X.length - k + 1; // no padding
    const window = (i, j) => cells(K).map(({ i: u, j: v, value }) => [value, X[i + u][j + v]]);
    const Y = grid(n, n, (i, j) => sum(window(i, j).map(([w, x]) => w * x)) + b);
    const Z = Y.map((row) => row.map((y) => Math.max(y, 0)));
    const best = (i, j) => // the first of equals, as PyTorch
      [[i, j], [i, j + 1], [i + 1, j], [i + 1, j + 1]]
        .reduce((a, c) => (Z[c[0]][c[1]] > Z[a[0]][a[1]] ? c : a));
    const winners = grid(n - 1, n - 1, best);
    const P = winners.map((row) => row.map(([i, j]) => Z[i][j]));
    const L = sum(cells(P).map(({ i, j, value }) => dP[i][j] * value));
    if (last) return L;

    const won = (i, j) => cells(winners).filter(({ value: [u, v] }) => u === i && v === j);
    const dZ = grid(n, n, (i, j) => sum(won(i, j).map(({ i: p, j: q }) => dP[p][q])));
    const dY = grid(n, n, (i, j) => (Y[i][j] > 0 ? dZ[i][j] : 0));
    const kernelTerms = (u, v) => cells(dY).map(({ i, j, value }) => [value, X[i + u][j + v]]);
    const imageTerms = (p, q) =>
      cells(dY).filter(({ i, j }) => K[p - i]?.[q - j] !== undefined)
        .map(({ i, j, value }) => [value, K[p - i][q - j]]);
    const total = (terms) => sum(terms.map(([a, c]) => a * c));
    const dK = grid(k, k, (u, v) => total(kernelTerms(u, v)));
    const dX = grid(X.length, X.length, (p, q) => total(imageTerms(p, q)));
    const db = sum(dY.flat());
    const newK = grid(k, k, (u, v) => K[u][v] - rate * dK[u][v]);
    const newb = b - rate * db;
    const newL = layer({ X, K: newK, b: newb, dP, rate }, true);
    return {
      Y, Z, P, L, winners, dZ, dY, dK, dX, db, "K after": newK, newb, "L after": newL,
      window, kernelTerms, imageTerms,
    };
  }

  const minus = (n) => String(n).replace("-", "−");
  const neat = (n) => minus(Number(n.toFixed(4)));
  const bracket = (n) => (n < 0 ? `(${neat(n)})` : neat(n));
  const products = (terms) => terms.map(([a, c]) => `${bracket(a)}·${bracket(c)}`).join(" + ");
  const plus = (terms) => terms.map(bracket).join(" + ");
  const equals = (text, value) => {
    const known = text === "" || text === neat(value);
    return known ? neat(value) : `${text} = ${neat(value)}`;
  };

  /** All steps of a layer: the cell that each fills, the cells it reads, and its sum in words and
      numbers. */
  function steps({ K, b, dP, rate }, r) {
    const found = [];
    const one = (phase, name, reads, text, sum_) =>
      found.push({ phase, name, reads, text, sum: sum_ });
    const each = (phase, name, matrix, make) =>
      cells(matrix).forEach(({ i, j, value }) => {
        const [reads, text, sum_] = make(i, j, value);
        found.push({ phase, name, i, j, reads, text, sum: equals(sum_, value) });
      });
    const under = (i, j, n) => cells(grid(n, n, () => 0)).map(({ i: u, j: v }) => [i + u, j + v]);
    const four = under(0, 0, 2);
    const live = (terms) => products(terms.filter(([gradient]) => gradient !== 0));
    const alive = under(0, 0, r.dY.length).filter(([i, j]) => r.dY[i][j] !== 0);

    each("Convolution", "Y", r.Y, (i, j) => [
      { X: under(i, j, 3), K: under(0, 0, 3) },
      "Lay the kernel on the image, multiply each weight by the pixel under it, sum up and add b.",
      `${products(r.window(i, j))} + ${bracket(b)}`,
    ]);
    each("ReLU", "Z", r.Z, (i, j) => [
      { Y: [[i, j]] }, "Negative values become 0.", `max(${neat(r.Y[i][j])}, 0)`,
    ]);
    each("Pooling", "P", r.P, (i, j) => [
      { Z: under(i, j, 2) }, "The largest of four.",
      `max(${under(i, j, 2).map(([u, v]) => neat(r.Z[u][v])).join(", ")})`,
    ]);
    one("Loss", "L", { P: four, dP: four },
      "A loss made up so that its gradient with respect to P is known: it is dP.",
      equals(products(four.map(([i, j]) => [dP[i][j], r.P[i][j]])), r.L));
    each("Back through pooling", "dZ", r.dZ, (i, j) => {
      const won = four.filter(([p, q]) => String(r.winners[p][q]) === String([i, j]));
      const texts = ["No window chose this cell as its largest, so it gets no gradient.",
        "One window chose this cell as its largest, so it gets that window's gradient."];
      const text = texts[won.length]
        ?? `${won.length} windows chose this cell, so it gets the sum of their gradients.`;
      return [{ dP: won, Z: [[i, j]] }, `${text} In a tie, a window chooses the first cell.`,
        plus(won.map(([p, q]) => dP[p][q]))];
    });
    each("Back through ReLU", "dY", r.dY, (i, j) => [
      { dZ: [[i, j]], Y: [[i, j]] },
      r.Y[i][j] > 0 ? "Y is positive here: the gradient goes through."
        : "Y is not positive here: the gradient stops.",
      `${r.Y[i][j] > 0 ? 1 : 0}·${bracket(r.dZ[i][j])}`,
    ]);
    each("Gradient of the kernel", "dK", r.dK, (u, v) => [
      { dY: alive, X: alive.map(([i, j]) => [i + u, j + v]) },
      "Summed over all places: the gradient there times the pixel that this weight met. Gradients "
        + "of 0 are left out.",
      live(r.kernelTerms(u, v)),
    ]);
    one("Gradient of the bias", "db", { dY: alive },
      "The bias is added once at every place, so its gradient is the sum of dY.",
      equals(plus(alive.map(([i, j]) => r.dY[i][j])), r.db));
    each("Gradient of the image", "dX", r.dX, (p, q) => {
      const met = alive.filter(([i, j]) => K[p - i]?.[q - j] !== undefined);
      return [
        { dY: met, K: met.map(([i, j]) => [p - i, q - j]) },
        "Summed over all places whose window held this pixel: the gradient there times the weight "
          + "that lay on it.",
        live(r.imageTerms(p, q)),
      ];
    });
    each("One step of learning", "K after", r["K after"], (u, v) => [
      { K: [[u, v]], dK: [[u, v]] }, "The weight minus the learning rate times its gradient.",
      `${neat(K[u][v])} − ${neat(rate)}·${bracket(r.dK[u][v])}`,
    ]);
    const squares = sum([...r.dK.flat(), r.db].map((gradient) => gradient ** 2));
    const newb = `b = ${neat(b)} − ${neat(rate)}·${bracket(r.db)} = ${neat(r.newb)}`;
    const expected = `${neat(r.L)} − ${neat(rate)}·${neat(squares)}`;
    one("One step of learning", "L after", {},
      `Forward once more, with the new K and ${newb}. A small step should lower the loss by the `
        + "learning rate times the sum of the squared gradients.",
      `${neat(r["L after"])}; expected ${expected} = ${neat(r.L - rate * squares)}`);
    return found;
  }

  return { compute, layer, steps, comma, sum, neat, WIDTHS, isModule };
})();
