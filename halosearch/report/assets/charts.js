// Round numbers of an axis from low to high: few, and at least three where there are as many.
function logTicks(low, high) {
  for (const steps of [[1], [1, 3], [1, 2, 5], [1, 2, 3, 5, 7], [1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9]]) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const step of steps) {
        const value = Number((step * 10 ** power).toPrecision(3));
        if (value >= low && value <= high) found.push(value);
      }
    }
    if (found.length >= 4 || steps.length > 6) return found;
  }
  return [];
}

const secondsWords = (value) => (value < 1 ? `${trimmed(1000 * value)} ms` : `${trimmed(value)} s`);
const axisTitle = (column) => (column.log ? `${column.title} (log scale)` : column.title);

// Plotly charts with the trials painted above them, brushing, tips.

class Charts {
  constructor(trials, selection, data, changed) {
    Object.assign(this, { trials, selection, data, changed, plots: new Map(), overlays: [] });
    this.curves = new Map(data.curves);
    this.tip = document.getElementById("tip");
  }

  async draw(id) {
    const figure = this.data.figures[id];
    const holder = document.getElementById(id);
    if (!figure || !holder) return;
    const plot = document.createElement("div");
    holder.append(plot);
    figure.layout.font.color = this.ink();
    const layers = figure.data.filter((trace) => trace.meta);
    if (id === "front" || id === "slices") this.fitPanels(figure, layers);
    if (id === "front") this.fitTicks(figure.layout);
    if (id === "front") figure.data.forEach((trace) => { if (trace.name === "front") trace.hoverinfo = "skip"; });
    const brushed = id === "front" || id === "slices";
    figure.layout.dragmode = brushed ? "select" : "zoom";
    const config = { ...this.data.config, staticPlot: id === "parallel" };
    await Plotly.newPlot(plot, figure.data, figure.layout, config);
    this.plots.set(id, plot);
    if (!layers.length) return;
    const overlay = new Overlay(holder, plot, layers, this.trials, this.curves);
    this.overlays.push(overlay);
    if (id === "front") this.updateFront();
    overlay.paint(this.selection);
    plot.on("plotly_afterplot", () => overlay.follow(this.selection));
    if (brushed) this.brush(id, plot, layers);
    if (id === "parallel") this.brushParallel(holder, plot, layers[0].meta.axes);
    this.point(holder, overlay);
  }

  get drawn() { return new Set(this.plots.keys()); }

  // Plotly labels a logarithmic axis of less than a decade with one number or none.
  fitTicks(layout) {
    const axis = layout.xaxis;
    const ticks = axis.type === "log" ? logTicks(10 ** axis.range[0], 10 ** axis.range[1]) : null;
    const words = this.selection.axis.endsWith("step_time_s") ? secondsWords : shortNumber;
    layout.xaxis = { ...axis, tickmode: ticks ? "array" : "auto", tickvals: ticks || undefined, ticktext: ticks ? ticks.map(words) : undefined };
  }

  ink() { return getComputedStyle(document.documentElement).getPropertyValue("--soft").trim(); }

  // Plotly does not see the painted trials, so it is told how far they reach.
  fitPanels(figure, layers) {
    for (const layer of layers) {
      const axis = figure.layout[(layer.xaxis || "x").replace("x", "xaxis")];
      axis.range = this.reach(layer.meta.x || this.selection.axis, axis.type === "log");
      const up = figure.layout[(layer.yaxis || "y").replace("y", "yaxis")];
      up.range = this.reach("score", false);
    }
  }

  reach(name, log) {
    const values = this.trials.across(name, false), score = this.trials.columns.score;
    let low = Infinity, high = -Infinity;
    const up = name === "score" ? this.trials.heights : values;
    for (let i = 0; i < this.trials.n; i++) {
      if (up !== values) { low = Math.min(low, Number.isNaN(up[i]) ? low : up[i]); high = Math.max(high, Number.isNaN(up[i]) ? high : up[i]); }
      if (Number.isNaN(values[i]) || Number.isNaN(score[i]) || (log && values[i] <= 0)) continue;
      low = Math.min(low, values[i]);
      high = Math.max(high, values[i]);
    }
    const more = [];
    if (name === "score") more.push(...this.data.band.flatMap(([, under, , over]) => [under, over]));
    if (name === "step_time_s") {
      for (const end of ["step_time_low_s", "step_time_high_s"]) more.push(...(this.trials.text[end] || []).filter(Boolean).map(Number));
    }
    if (name === "score") for (const final of this.data.finals) more.push(final.low ?? final.score, final.high ?? final.score);
    const reference = this.data.reference && this.data.reference[name];
    if (reference !== null && reference !== undefined && (name === "score" || name === this.selection.axis)) more.push(reference);
    for (const value of more) {
      if (log && value <= 0) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    if (low === Infinity) return log ? [-1, 1] : [0, 1];
    const [from, to] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
    const margin = 0.06 * (to - from) || 0.05 * Math.abs(to) || 1;
    return [from - margin, to + margin];
  }

  // The front of the selection on the chosen axis; band and bars belong to the measured step time alone.
  updateFront() {
    const plot = this.plots.get("front");
    if (!plot) return;
    const { trials, selection } = this;
    const rows = selection.frontRows, axis = selection.axis;
    const at = (name) => { const values = trials.across(name, false); return rows.map((i) => values[i]); };
    const x = at(axis), timed = axis === "step_time_s";
    const number = (name) => rows.map((i, k) => (trials.isPredicted(axis, i) ? x[k] : Number(trials.text[name][i])));
    const bars = timed
      ? { type: "data", symmetric: false, visible: true, color: "#D55E00", thickness: 1,
          array: number("step_time_high_s").map((high, k) => high - x[k]), arrayminus: number("step_time_low_s").map((low, k) => x[k] - low) }
      : { visible: false };
    const names = plot.data.map((trace) => trace.name);
    const place = names.indexOf("front");
    const band = names.map((name, k) => (name.startsWith("best without noise") ? k : -1)).filter((k) => k >= 0);
    const shown = timed && !selection.filtered;
    const key = JSON.stringify([axis, rows, shown]);
    if (key === this.frontKey) return;
    this.frontKey = key;
    const half = this.data.halfNoise;
    const noise = half === null ? { visible: false } : { type: "data", visible: true, color: "#D55E00", thickness: 1, width: 0, array: rows.map(() => half) };
    const update = { x: [x], y: [at("score")], error_x: [bars], error_y: [noise] };
    if (shown !== this.bandShown) for (const k of band) plot.data[k].visible = shown;
    this.bandShown = shown;
    Plotly.restyle(plot, update, [place]);
  }

  // Rivals on the chosen axis; their bars are of the score, and of the step where that is measured.
  rivals() {
    const { trials } = this, axis = this.selection.axis;
    const rows = trials.number.map((_, i) => i).filter((i) => trials.state[i] === RIVAL && !Number.isNaN(trials.heights[i]));
    const cell = (name) => rows.map((i) => Number(trials.text[name][i]));
    const x = rows.map((i) => (trials.placed(axis, trials.columns[axis][i]) ? trials.columns[axis][i] : null)); // in the order of their names
    const bars = axis === MEASURED
      ? { type: "data", symmetric: false, color: "#009E73", thickness: 1,
          array: cell("step_time_high_s").map((high, k) => high - x[k]), arrayminus: cell("step_time_low_s").map((low, k) => x[k] - low) }
      : { visible: false };
    return { x, error_x: bars };
  }

  setAxis() {
    const plot = this.plots.get("front"), axis = this.selection.axis;
    if (!plot) return;
    const column = this.trials.shown.find((one) => one.name === axis);
    const reference = this.data.reference;
    const marks = this.data.marks[axis] || {};
    plot.data.forEach((trace) => {
      if (trace.name.startsWith("published one")) {
        trace.x = reference && reference[axis] !== null && reference[axis] !== undefined ? [reference[axis]] : [];
        trace.showlegend = trace.x.length > 0;
      }
      if (trace.name.startsWith("rival")) Object.assign(trace, this.rivals());
      if (trace.name.startsWith("finalists")) trace.x = trace.customdata.map((number) => this.trials.across(axis, false)[this.trials.place.get(number)]);
      if (trace.meta && trace.meta.state.startsWith("predicted")) trace.visible = axis === MEASURED;
      if (trace.name.endsWith("(cost only)")) {
        const found = marks[trace.name] || [];
        Object.assign(trace, { x: found.map(([, value]) => value), y: found.map(() => 0.04), text: found.map(([name]) => name), visible: found.length > 0, showlegend: found.length > 0 });
      }
    });
    const layout = plot.layout;
    layout.xaxis = { ...layout.xaxis, title: { text: axisTitle(column) }, type: column.log ? "log" : "linear", range: this.reach(axis, column.log), autorange: false };
    this.fitTicks(layout);
    layout.datarevision = (layout.datarevision || 0) + 1;
    Plotly.react(plot, plot.data, layout, this.data.config);
    this.frontKey = null;
    this.updateFront();
  }

  // What is folded away is painted when it is opened.
  get seen() { return this.overlays.filter((overlay) => overlay.holder.offsetParent !== null); }

  update() {
    this.updateFront();
    for (const overlay of this.seen) overlay.paint(this.selection);
  }

  highlight(i) {
    for (const overlay of this.seen) overlay.paintTop(this.selection, i);
  }

  retheme() {
    for (const plot of this.plots.values()) Plotly.relayout(plot, { "font.color": this.ink() });
  }

  brush(id, plot, layers) {
    const names = new Map(layers.map((layer) => [layer.xaxis || "x", layer.meta.x]));
    const ups = new Set(layers.map((layer) => layer.yaxis || "y"));
    plot.on("plotly_selected", (event) => {
      if (!event || !event.range) return;
      for (const [axis, range] of Object.entries(event.range)) {
        if (!names.has(axis) && !ups.has(axis)) continue; // the axis of the published marks
        const name = ups.has(axis) ? "score" : names.get(axis) || this.selection.axis;
        const [low, high] = [...range].sort((a, b) => a - b);
        if (this.trials.has(name)) this.selection.setRange(name, low, high);
      }
      Plotly.relayout(plot, { selections: [] });
      this.changed();
    });
    plot.on("plotly_doubleclick", () => {
      const ranges = {};
      for (const layer of layers) {
        const x = (layer.xaxis || "x").replace("x", "xaxis"), y = (layer.yaxis || "y").replace("y", "yaxis");
        ranges[`${x}.range`] = this.reach(layer.meta.x || this.selection.axis, plot.layout[x].type === "log");
        ranges[`${y}.range`] = this.reach("score", false);
      }
      Plotly.relayout(plot, ranges);
    });
    if (id === "front") plot.on("plotly_relayout", (what) => this.ticksAfter(plot, what));
  }

  // After a zoom there are other round numbers.
  ticksAfter(plot, what) {
    if (!Object.keys(what).some((name) => name.startsWith("xaxis.range") || name === "xaxis.autorange")) return;
    const { tickvals, ticktext, tickmode } = (() => { const layout = { xaxis: plot.layout.xaxis }; this.fitTicks(layout); return layout.xaxis; })();
    Plotly.relayout(plot, { "xaxis.tickvals": tickvals, "xaxis.ticktext": ticktext, "xaxis.tickmode": tickmode });
  }

  // Drag along an axis to keep what lies between; click it to let all pass again.
  brushParallel(holder, plot, axes) {
    let begun = null;
    const where = (event) => {
      const box = holder.getBoundingClientRect();
      const full = plot._fullLayout;
      const x = scaleOf(full.xaxis), y = scaleOf(full.yaxis);
      const place = (event.clientX - box.left - x.offset) / x.slope;
      return { axis: axes[Math.round(place)], off: Math.abs(place - Math.round(place)), height: (event.clientY - box.top - y.offset) / y.slope };
    };
    holder.addEventListener("pointerdown", (event) => {
      const at = where(event);
      if (!at.axis || at.off > 0.3) return;
      begun = at;
      holder.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    holder.addEventListener("pointerup", (event) => {
      if (!begun) return;
      const { axis, height } = begun, end = where(event).height;
      begun = null;
      const [low, high] = [height, end].sort((a, b) => a - b).map((place) => Math.max(0, Math.min(1, place)));
      if (Math.abs(height - end) < 0.02) this.selection.ranges.delete(axis.name);
      else this.selection.setRange(axis.name, valueOn(axis)(low), valueOn(axis)(high));
      this.changed();
    });
    holder.addEventListener("pointercancel", () => { begun = null; });
  }

  // Tips for painted trials; a click pins one.
  point(holder, overlay) {
    if (!overlay.layers.some((layer) => layer.meta.kind === "points")) return;
    const under = (event) => {
      const box = holder.getBoundingClientRect();
      return overlay.nearest(event.clientX - box.left, event.clientY - box.top, this.selection);
    };
    let waiting = null;
    holder.addEventListener("mousemove", (event) => {
      if (!waiting) requestAnimationFrame(() => { this.show(under(waiting), waiting); waiting = null; });
      waiting = event;
    });
    holder.addEventListener("mouseleave", () => this.show(null));
    let down = null;
    holder.addEventListener("pointerdown", (event) => { down = [event.clientX, event.clientY]; }, true);
    holder.addEventListener("click", (event) => {
      const still = down && Math.hypot(event.clientX - down[0], event.clientY - down[1]) < 4;
      const i = still ? under(event) : null;
      if (i !== null) this.changed({ pin: this.trials.number[i] });
    }, true);
  }

  show(i, event) {
    const { tip, trials } = this;
    if (i !== this.shownTip) { this.highlight(i); this.shownTip = i; }
    tip.hidden = i === null;
    if (i === null) return;
    tip.replaceChildren(...this.tipLines(i).map((line) => Object.assign(document.createElement("div"), { textContent: line })));
    const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(4, left) + window.scrollX}px`;
    tip.style.top = `${event.clientY + 14 + window.scrollY}px`;
  }

  tipLines(i) {
    const { trials } = this;
    const lines = [trials.state[i] === RIVAL ? "rival of another family" : `trial ${trials.number[i]}, ${trials.state[i]}`, trials.text.candidate[i]];
    for (const name of ["score", this.trials.isPredicted("step_time_s", i) ? "predicted_step_time_s" : "step_time_s", "held_out_score", "params", "macs", "memory_bytes", "p_front"]) {
      const cell = (trials.text[name] || [])[i];
      if (cell) lines.push(`${name.replaceAll("_", " ")}: ${shortNumber(Number(cell))}`);
    }
    if (trials.text.reason[i]) lines.push(trials.text.reason[i]);
    return lines;
  }
}
