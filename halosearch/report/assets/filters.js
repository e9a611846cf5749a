// Sliders, states, search and the chips that say what is filtered.

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value); else element[name] = value;
  }
  element.append(...children);
  return element;
}

class Filters {
  constructor(trials, selection, changed) {
    Object.assign(this, { trials, selection, changed, sliders: [] });
    this.axisPicker();
    for (const column of trials.shown) {
      if (column.distinct.length < 2) continue;
      const home = document.getElementById(column.kind === "dial" ? "dial-filters" : "cost-filters");
      home.append(this.slider(column));
    }
    this.statePicker();
    this.search = document.getElementById("search");
    this.search.addEventListener("input", () => { selection.query = this.search.value.trim(); changed(); });
  }

  axisPicker() {
    const picker = document.getElementById("axis");
    for (const column of this.trials.shown) {
      if (column.kind === "cost" && column.distinct.length) picker.append(make("option", { value: column.name, textContent: column.title }));
    }
    picker.addEventListener("change", () => { this.selection.axis = picker.value; this.changed({ axis: true }); });
    this.picker = picker;
  }

  // Both ends step through the values that occur, so a bound is always a value of the table.
  slider(column) {
    const last = column.distinct.length - 1;
    const ends = ["lowest", "highest"].map((which) => make("input", {
      type: "range", min: 0, max: last, step: 1, value: which === "lowest" ? 0 : last, "aria-label": `${which} ${column.title}`,
    }));
    const said = make("output");
    const [low, high] = ends;
    const heard = (moved) => {
      if (Number(low.value) > Number(high.value)) (moved === low ? high : low).value = moved.value;
      const [from, to] = [Number(low.value), Number(high.value)];
      if (from === 0 && to === last) this.selection.ranges.delete(column.name);
      else this.selection.setRange(column.name, column.distinct[from], column.distinct[to]);
      this.changed();
    };
    ends.forEach((end) => end.addEventListener("input", () => heard(end)));
    this.sliders.push({ column, low, high, said });
    return make("div", { className: "slider", role: "group", "aria-label": column.title },
      make("span", { className: "name", textContent: column.title }), make("span", { className: "ends" }, ...ends), said);
  }

  statePicker() {
    const home = document.getElementById("state-filters");
    this.boxes = [...new Set(this.trials.state)].sort().map((state) => {
      const box = make("input", { type: "checkbox", checked: true, value: state });
      box.addEventListener("change", () => {
        const kept = this.boxes.filter((one) => one.checked).map((one) => one.value);
        this.selection.states = kept.length === this.boxes.length ? null : new Set(kept);
        this.changed();
      });
      home.append(make("label", {}, box, ` ${state} (${this.trials.state.filter((one) => one === state).length})`));
      return box;
    });
  }

  // Everything as the selection says, wherever it was changed.
  update() {
    const { selection, trials } = this;
    this.picker.value = selection.axis;
    if (document.activeElement !== this.search) this.search.value = selection.query;
    for (const { column, low, high, said } of this.sliders) {
      const { distinct } = column;
      const [from, to] = selection.ranges.get(column.name) || [distinct[0], distinct[distinct.length - 1]];
      const first = distinct.findIndex((value) => value >= from);
      let last = distinct.length - 1;
      while (last > 0 && distinct[last] > to) last--;
      low.value = first < 0 ? distinct.length - 1 : first;
      high.value = last;
      low.setAttribute("aria-valuetext", trials.say(column.name, from));
      high.setAttribute("aria-valuetext", trials.say(column.name, to));
      said.textContent = `${trials.say(column.name, from)} – ${trials.say(column.name, to)}`;
    }
    for (const box of this.boxes) box.checked = selection.states === null || selection.states.has(box.value);
    this.chips();
  }

  chips() {
    const { selection, trials } = this;
    const chips = [...selection.ranges].map(([name, [low, high]]) => {
      const column = trials.shown.find((one) => one.name === name);
      return [`${column.title}: ${trials.say(name, low)} – ${trials.say(name, high)}`, () => selection.ranges.delete(name)];
    });
    if (selection.states !== null) chips.push([`state: ${[...selection.states].sort().join(", ") || "none"}`, () => { selection.states = null; }]);
    if (selection.query) chips.push([`search: ${selection.query}`, () => { selection.query = ""; this.search.value = ""; }]);
    if (selection.pins.size) chips.push([`pinned: ${[...selection.pins].sort((a, b) => a - b).join(", ")}`, () => selection.pins.clear()]);
    if (chips.length > 1) chips.push(["clear all", () => { selection.clear(); selection.pins.clear(); this.search.value = ""; }]);
    document.getElementById("chips").replaceChildren(...chips.map(([text, undo]) => {
      const button = make("button", { type: "button", className: "chip", textContent: `${text} ✕`, "aria-label": `remove filter ${text}` });
      button.addEventListener("click", () => { undo(); this.changed(); document.getElementById("search").focus({ preventScroll: true }); });
      return button;
    }));
    const axis = trials.shown.find((one) => one.name === selection.axis);
    const cost = axis && trials.across(axis.name, false);
    const missing = axis ? trials.state.reduce((sum, _, i) => sum + (selection.mask[i] && !trials.placed(axis.name, cost[i]) ? 1 : 0), 0) : 0;
    document.getElementById("status").textContent =
      `${selection.count.toLocaleString("en")} of ${trials.searched.toLocaleString("en")} trials; ${selection.front.size} of them on the front of score against ` +
      `${axis ? axis.title : "cost"}${missing ? `; ${missing.toLocaleString("en")} without a value there` : ""}`;
  }
}
