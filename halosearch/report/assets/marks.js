// Trials are painted on a canvas above each Plotly chart: ten thousand SVG marks would take a second to restyle, and WebGL is not
// everywhere. Plotly keeps axes, legend, zoom and box selection.

const FAINT = 0.09;
const DOTS_FROM = 800; // trials from which the small panels show dots
const DASHES_UP_TO = 500;
const STYLES = {
  front: { colour: "#D55E00", symbol: "diamond", size: 11, width: 2 },
  complete: { colour: "#0072B2", symbol: "circle", size: 8, width: 1, filled: true },
  random: { colour: "#0072B2", symbol: "circle", size: 8, width: 1 },
  pruned: { colour: "#767676", symbol: "triangle", size: 8, width: 1 },
  other: { colour: "#767676", symbol: "cross", size: 7, width: 1 },
  rival: { colour: "#009E73", symbol: "star", size: 13, width: 1 },
  predicted: { colour: "#0072B2", symbol: "square", size: 7, width: 1 }, // as in figures/marks.py
  predictedSearched: { colour: "#0072B2", symbol: "square", size: 7, width: 1, filled: true },
};
const styleOf = (kind) => STYLES[kind] || STYLES.other;

function sprite(kind, size, scale) {
  const { colour, symbol, filled } = styleOf(kind);
  const side = Math.ceil((size + 4) * scale);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.translate(side / scale / 2, side / scale / 2);
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = 1.6;
  outline(pen, symbol, size / 2);
  if (filled || symbol === "diamond" || symbol === "star") pen.fill(); else pen.stroke();
  return canvas;
}

function outline(pen, symbol, r) {
  pen.beginPath();
  if (symbol === "circle") pen.arc(0, 0, r, 0, 2 * Math.PI);
  else if (symbol === "star") star(pen, r);
  else if (symbol === "square") pen.rect(-r, -r, 2 * r, 2 * r);
  else if (symbol === "diamond") { pen.moveTo(0, -r); pen.lineTo(r, 0); pen.lineTo(0, r); pen.lineTo(-r, 0); pen.closePath(); }
  else if (symbol === "triangle") { pen.moveTo(-r, -r * 0.7); pen.lineTo(r, -r * 0.7); pen.lineTo(0, r); pen.closePath(); }
  else { pen.moveTo(-r, -r); pen.lineTo(r, r); pen.moveTo(-r, r); pen.lineTo(r, -r); }
}

function star(pen, r) {
  for (let k = 0; k < 10; k++) {
    const far = k % 2 ? 0.45 * r : r, turn = (k * Math.PI) / 5;
    if (k) pen.lineTo(far * Math.sin(turn), -far * Math.cos(turn)); else pen.moveTo(0, -r);
  }
  pen.closePath();
}

// Pixels of a Plotly axis as a linear function of the (logarithm of the) value.
function scaleOf(axis) {
  const zero = axis.l2p(0), one = axis.l2p(1);
  return { log: axis.type === "log", slope: one - zero, offset: axis._offset + zero, from: axis._offset, to: axis._offset + axis._length };
}
const pixel = (scale, value) => scale.offset + scale.slope * (scale.log ? Math.log10(value) : value);

class Overlay {
  constructor(holder, plot, layers, trials, curves) {
    Object.assign(this, { holder, plot, layers, trials, curves, hits: [] });
    this.base = this.canvas();
    this.top = this.canvas();
  }

  canvas() {
    const canvas = document.createElement("canvas");
    canvas.className = "marks";
    canvas.setAttribute("aria-hidden", "true");
    this.holder.append(canvas);
    return canvas;
  }

  pen(canvas) {
    const ratio = window.devicePixelRatio || 1;
    const { width, height } = this.plot._fullLayout;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    return pen;
  }

  axes(layer) {
    const full = this.plot._fullLayout;
    const name = (short) => short.replace(/^([xy])/, "$1axis");
    return [scaleOf(full[name(layer.xaxis || "x")]), scaleOf(full[name(layer.yaxis || "y")])];
  }

  // After Plotly has drawn: again only if its axes have moved.
  follow(selection) {
    if (!this.plot._fullLayout || !this.holder.isConnected) return; // the page has been drawn anew
    const { width, height } = this.plot._fullLayout;
    const key = JSON.stringify([width, height, this.layers.map((layer) => this.axes(layer))]);
    if (key !== this.axesKey) this.paint(selection);
    this.axesKey = key;
  }

  paint(selection) {
    const pen = this.pen(this.base);
    this.hits = [];
    const panels = new Map();
    for (const layer of this.layers) panels.set(`${layer.meta.kind} ${layer.xaxis || "x"}`, layer);
    for (const layer of panels.values()) {
      const [x, y] = this.axes(layer);
      pen.save();
      pen.beginPath();
      pen.rect(x.from, y.from, x.to - x.from, y.to - y.from);
      if (layer.meta.kind !== "parallel") pen.clip();
      if (layer.meta.kind === "points") this.points(pen, layer, x, y, selection);
      else this.lines(pen, layer, x, y, selection);
      pen.restore();
    }
    this.paintTop(selection, this.hovered);
  }

  points(pen, layer, x, y, selection) {
    const { trials } = this;
    const name = layer.meta.x || selection.axis;
    const main = !layer.meta.x;
    const across = main ? trials.across(name, x.log) : trials.scaled(name, x.log), score = main ? trials.heights : trials.columns.score;
    if (!across || !score) return;
    const px = new Float32Array(trials.n), py = new Float32Array(trials.n);
    for (let i = 0; i < trials.n; i++) {
      px[i] = x.offset + x.slope * across[i];
      py[i] = y.offset + y.slope * score[i];
    }
    const stamp = main || trials.n <= DOTS_FROM ? this.stamps(pen, main) : this.dots(pen);
    // Marks of a kind that fall on the same pixel look like one, so one is painted.
    const inside = (i) => px[i] >= x.from && px[i] <= x.to && py[i] >= y.from && py[i] <= y.to;
    const width = Math.ceil(x.to) + 1, cells = width * (Math.ceil(y.to) + 1);
    for (const wanted of [0, 1]) {
      pen.globalAlpha = wanted ? 1 : FAINT;
      for (let code = 0; code < FRONT_CODE; code++) {
        const taken = new Uint8Array(cells);
        for (let i = 0; i < trials.n; i++) {
          if (selection.mask[i] !== wanted || selection.codes[i] !== code || !inside(i)) continue;
          if (main && wanted && KINDS[code] === RIVAL) continue; // Plotly draws these, with their names and bars
          const cell = Math.round(py[i]) * width + Math.round(px[i]);
          if (taken[cell]) continue;
          taken[cell] = 1;
          stamp(main && trials.isPredicted(name, i) ? trials.guess(i) : KINDS[code], px[i], py[i]);
        }
      }
    }
    const big = this.stamps(pen, main);
    for (const i of selection.frontRows) {
      if (!inside(i)) continue;
      if (!main) big("front", px[i], py[i]); // Plotly draws the main chart's own
      else if (trials.isPredicted(name, i)) big(trials.guess(i), px[i], py[i]);
    }
    pen.globalAlpha = 1;
    this.hits.push({ px, py });
  }

  stamps(pen, main) {
    const ratio = window.devicePixelRatio || 1, sprites = {};
    return (kind, x, y) => {
      const picture = sprites[kind] || (sprites[kind] = sprite(kind, styleOf(kind).size - (main ? 0 : 2), ratio));
      const side = picture.width / ratio;
      pen.drawImage(picture, x - side / 2, y - side / 2, side, side);
    };
  }

  dots(pen) {
    return (kind, x, y) => {
      pen.fillStyle = styleOf(kind).colour;
      pen.fillRect(x - 1.5, y - 1.5, 3, 3);
    };
  }

  lines(pen, layer, x, y, selection) {
    const parallel = layer.meta.kind === "parallel";
    const trace = parallel ? this.parallelTrace(layer.meta.axes, x, y) : this.curveTrace(x, y);
    const groups = { faint: [], pruned: [], other: [], random: [], complete: [], front: [] };
    for (let i = 0; i < this.trials.n; i++) {
      const kind = selection.kind(i);
      if (!selection.mask[i]) groups.faint.push(i);
      else (groups[kind] || groups.other).push(i);
    }
    for (const [kind, rows] of Object.entries(groups)) {
      if (parallel && (kind === "pruned" || kind === "other")) continue;
      const { colour, width } = styleOf(kind);
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.setLineDash(kind === "pruned" && rows.length <= DASHES_UP_TO ? [2, 2] : []);
      pen.globalAlpha = kind === "faint" ? FAINT : kind === "front" ? 1 : Math.max(0.12, Math.min(0.75, 60 / rows.length));
      if (kind === "faint" && rows.length > 1500) continue; // a grey carpet says nothing
      // With many lines a few share a stroke: each stroke costs more than its lines.
      const together = Math.max(1, Math.floor(rows.length / 300));
      for (let start = 0; start < rows.length; start += together) {
        pen.beginPath();
        for (const i of rows.slice(start, start + together)) trace(pen, i);
        pen.stroke();
      }
    }
    pen.setLineDash([]);
    pen.globalAlpha = 1;
  }

  parallelTrace(axes, x, y) {
    const places = axes.map((_, place) => pixel(x, place));
    const scales = axes.map((axis) => [this.trials.columns[axis.name], placeOn(axis)]);
    return (pen, i) => {
      if (scales.some(([values]) => Number.isNaN(values[i]))) return;
      scales.forEach(([values, place], k) => {
        const height = pixel(y, place(values[i]));
        if (k) pen.lineTo(places[k], height); else pen.moveTo(places[k], height);
      });
    };
  }

  curveTrace(x, y) {
    return (pen, i) => {
      const points = this.curves.get(this.trials.number[i]);
      if (!points) return;
      for (let k = 0; k < points.length; k += 2) {
        const px = pixel(x, points[k]), py = pixel(y, points[k + 1]);
        if (k) pen.lineTo(px, py); else pen.moveTo(px, py);
      }
    };
  }

  // The trial under the pointer and those that are pinned, above all others.
  paintTop(selection, hovered) {
    this.hovered = hovered;
    const pen = this.pen(this.top);
    const rows = [...selection.pins].map((number) => this.trials.place.get(number));
    if (hovered !== undefined && hovered !== null) rows.push(hovered);
    if (!rows.length) return;
    pen.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
    pen.lineWidth = 2;
    for (const { px, py } of this.hits) {
      for (const i of rows) {
        if (Number.isNaN(px[i]) || Number.isNaN(py[i])) continue;
        pen.beginPath();
        pen.arc(px[i], py[i], 9, 0, 2 * Math.PI);
        pen.stroke();
      }
    }
    const layer = this.layers.find((one) => one.meta.kind !== "points");
    if (!layer) return;
    const [x, y] = this.axes(layer);
    const trace = layer.meta.kind === "parallel" ? this.parallelTrace(layer.meta.axes, x, y) : this.curveTrace(x, y);
    pen.beginPath();
    for (const i of rows) trace(pen, i);
    pen.stroke();
  }

  // The selected trial nearest to a point of the chart, within 14 pixels; null for none.
  nearest(x, y, selection) {
    let found = null, closest = 14 * 14;
    for (const { px, py } of this.hits) {
      for (let i = 0; i < px.length; i++) {
        const far = (px[i] - x) ** 2 + (py[i] - y) ** 2;
        if (far < closest && selection.mask[i]) { closest = far; found = i; }
      }
    }
    return found;
  }
}

// Where a value stands on a parallel axis, 0 to 1, and back.
function placeOn({ low, high, log }) {
  const [from, to] = log ? [Math.log(low), Math.log(high)] : [low, high];
  return (value) => ((log ? Math.log(value) : value) - from) / (to - from);
}
function valueOn({ low, high, log }) {
  const [from, to] = log ? [Math.log(low), Math.log(high)] : [low, high];
  return (place) => {
    if (place <= 0) return low; // the ends themselves, not what rounding makes of them
    if (place >= 1) return high;
    return log ? Math.exp(from + place * (to - from)) : from + place * (to - from);
  };
}
