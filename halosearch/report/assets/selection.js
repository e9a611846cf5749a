// What a trial is drawn as; trials of the selection's front get the last code.
const KINDS = ["other", "pruned", "rival", "random", "complete", "front"], FRONT_CODE = 5;

// One selection for all views: ranges of columns, states and a search, joined by "and"; kept in the address after the #.

class Selection {
  constructor(trials, settings) {
    this.trials = trials;
    this.axis = settings.axis;
    this.defaultAxis = settings.axis;
    this.ranges = new Map();
    this.states = null;
    this.query = "";
    this.sort = { name: "score", down: true };
    this.pins = new Set();
    this.mask = new Uint8Array(trials.n);
    this.front = new Set();
    this.refresh();
  }

  refresh() {
    const { trials } = this;
    const terms = this.query.toLowerCase().split(/\s+/).filter(Boolean);
    const ranges = [...this.ranges].map(([name, [low, high]]) => [trials.across(name, false), low, high]);
    for (let i = 0; i < trials.n; i++) {
      this.mask[i] = Number(
        (this.states === null || this.states.has(trials.state[i])) &&
        ranges.every(([values, low, high]) => values[i] >= low && values[i] <= high) &&
        terms.every((term) => trials.words[i].includes(term)));
    }
    this.count = this.mask.reduce((sum, kept, i) => sum + (kept && trials.state[i] !== RIVAL), 0);
    this.frontRows = frontOf(trials, this.mask, this.axis);
    this.front = new Set(this.frontRows);
    this.codes = trials.codes.slice();
    for (const i of this.frontRows) this.codes[i] = FRONT_CODE;
  }

  kind(i) { return KINDS[this.codes[i]]; }

  setRange(name, low, high) {
    const column = this.trials.shown.find((one) => one.name === name);
    if (!column || !column.distinct.length) return;
    const whole = low <= column.distinct[0] && high >= column.distinct[column.distinct.length - 1];
    const complete = this.trials.columns[name].every((value) => !Number.isNaN(value));
    if (whole && complete) this.ranges.delete(name); else this.ranges.set(name, [low, high]);
  }

  get filtered() { return this.ranges.size > 0 || this.states !== null || this.query !== ""; }

  clear() { this.ranges.clear(); this.states = null; this.query = ""; }

  // What decides which trials the table shows, and in which order.
  tableKey() {
    return JSON.stringify([[...this.ranges], this.states && [...this.states], this.query, this.sort]);
  }

  toFragment() {
    const parts = [];
    if (this.axis !== this.defaultAxis) parts.push(["x", this.axis]);
    for (const [name, [low, high]] of this.ranges) parts.push([`r.${name}`, `${low}..${high}`]);
    if (this.states !== null) parts.push(["state", [...this.states].sort().join(",")]);
    if (this.query) parts.push(["q", this.query]);
    if (this.sort.name !== "score" || !this.sort.down) parts.push(["sort", `${this.sort.name}.${this.sort.down ? "down" : "up"}`]);
    if (this.pins.size) parts.push(["pin", [...this.pins].sort((a, b) => a - b).join(",")]);
    return parts.map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join("&");
  }

  // What does not fit this study is passed over: an address may come from another one.
  fromFragment(text) {
    this.clear();
    this.axis = this.defaultAxis;
    this.sort = { name: "score", down: true };
    this.pins = new Set();
    for (const part of text.replace(/^#/, "").split("&")) {
      const equals = part.indexOf("=");
      if (equals < 0) continue;
      let value;
      try { value = decodeURIComponent(part.slice(equals + 1)); } catch { continue; }
      this.take(part.slice(0, equals), value);
    }
    this.refresh();
  }

  take(key, value) {
    const { trials } = this;
    if (key === "x" && trials.shown.some((one) => one.name === value && one.kind === "cost")) this.axis = value;
    else if (key === "q") this.query = value;
    else if (key === "state") this.states = new Set(value.split(",").filter((state) => trials.state.includes(state)));
    else if (key === "pin") value.split(",").map(Number).filter((n) => trials.place.has(n)).forEach((n) => this.pins.add(n));
    else if (key === "sort") {
      const [name, way] = value.split(".");
      if (trials.text[name]) this.sort = { name, down: way !== "up" };
    } else if (key.startsWith("r.") && trials.shown.some((one) => one.name === key.slice(2))) {
      const bounds = value.split("..");
      if (bounds.length === 2 && bounds.every((bound) => bound.trim() !== "" && Number.isFinite(Number(bound)))) {
        this.ranges.set(key.slice(2), bounds.map(Number));
      }
    }
  }
}

// Complete trials of the selection that no other beats in score (up) and the cost (down), cheapest first; equals are all kept.
function frontOf(trials, mask, axis) {
  const cost = trials.across(axis, false), score = trials.columns.score;
  if (!cost || !score) return [];
  const rows = [];
  for (let i = 0; i < trials.n; i++) {
    if (mask[i] && trials.state[i] === "complete" && trials.placed(axis, cost[i]) && !Number.isNaN(score[i])) rows.push(i);
  }
  rows.sort((a, b) => cost[a] - cost[b] || score[b] - score[a] || a - b);
  const front = [];
  let best = -Infinity, bestCost = NaN;
  for (const i of rows) {
    if (score[i] > best || (score[i] === best && cost[i] === bestCost)) {
      front.push(i);
      best = score[i];
      bestCost = cost[i];
    }
  }
  return front;
}
