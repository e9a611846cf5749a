// The table of the selection: sorted by any column, fifty rows at a time.

const ROWS = 50;

class Table {
  constructor(trials, selection, columns, changed, hovered) {
    Object.assign(this, { trials, selection, changed, hovered, from: 0 });
    this.columns = columns.filter(({ name }) => trials.text[name]);
    this.table = document.getElementById("trials");
    this.body = make("tbody");
    this.heads = this.columns.map(({ name, title, kind }) => {
      const button = make("button", { type: "button", textContent: title });
      button.addEventListener("click", () => {
        const { sort } = selection;
        selection.sort = { name, down: sort.name === name ? !sort.down : name !== "trial" };
        this.from = 0;
        changed();
      });
      return make("th", { scope: "col", className: kind }, button);
    });
    this.table.replaceChildren(make("caption", { className: "hidden", textContent: "trials of the selection" }), make("thead", {}, make("tr", {}, ...this.heads)), this.body);
    this.back = document.getElementById("back");
    this.on = document.getElementById("on");
    this.back.addEventListener("click", () => this.turn(-ROWS));
    this.on.addEventListener("click", () => this.turn(ROWS));
  }

  turn(by) { this.from = Math.max(0, this.from + by); this.draw(); }

  order() {
    const { trials, selection } = this;
    const { name, down } = selection.sort;
    const text = trials.text[name] || [];
    const rows = [];
    for (let i = 0; i < trials.n; i++) if (selection.mask[i]) rows.push(i);
    const values = trials.sortable(name);
    const missing = (i) => text[i] === "" || text[i] === undefined;
    const sign = down ? -1 : 1;
    return rows.sort((a, b) => {
      if (missing(a) !== missing(b)) return missing(a) ? 1 : -1; // unknown last, whichever way
      const order = missing(a) ? 0 : values[a] < values[b] ? -1 : values[a] > values[b] ? 1 : 0;
      return sign * order || a - b;
    });
  }

  update() {
    const key = this.selection.tableKey();
    if (key !== this.key) this.from = 0;
    this.key = key;
    this.draw();
  }

  draw() {
    const { selection, trials } = this;
    const rows = this.order();
    this.from = Math.min(this.from, Math.max(0, Math.floor((rows.length - 1) / ROWS) * ROWS));
    const shown = rows.slice(this.from, this.from + ROWS);
    this.body.replaceChildren(...shown.map((i) => this.row(i)));
    if (this.focused) {
      const again = [...this.body.querySelectorAll("button")].find((one) => one.textContent === this.focused);
      if (again) again.focus({ preventScroll: true });
      this.focused = null;
    }
    this.heads.forEach((head, k) => {
      const mine = this.columns[k].name === selection.sort.name;
      head.setAttribute("aria-sort", mine ? (selection.sort.down ? "descending" : "ascending") : "none");
    });
    document.getElementById("rows").textContent = rows.length
      ? `${(this.from + 1).toLocaleString("en")}–${(this.from + shown.length).toLocaleString("en")} of ${rows.length.toLocaleString("en")}`
      : "no trial fits";
    this.back.disabled = this.from === 0;
    this.on.disabled = this.from + ROWS >= rows.length;
  }

  row(i) {
    const { selection, trials } = this;
    const number = trials.number[i], pinned = selection.pins.has(number);
    const row = make("tr", { className: `${selection.kind(i) === "front" ? "front" : ""} ${pinned ? "pinned" : ""}`.trim() });
    for (const { name, kind } of this.columns) {
      const cell = make("td", { className: kind });
      if (name === "trial") {
        const pin = make("button", { type: "button", textContent: String(number), "aria-pressed": String(pinned), "aria-label": `pin trial ${number}` });
        pin.addEventListener("click", () => {
          this.focused = String(number); // the rows are about to be made anew
          this.changed({ pin: number });
        });
        pin.addEventListener("focus", () => this.hovered(i));
        pin.addEventListener("blur", () => this.hovered(null));
        cell.append(pin);
      } else {
        const text = trials.text[name][i];
        cell.textContent = text === "" ? (kind === "n" ? "–" : "") : kind === "n" ? shortNumber(Number(text)) : text;
      }
      row.append(cell);
    }
    row.addEventListener("mouseenter", () => this.hovered(i));
    row.addEventListener("mouseleave", () => this.hovered(null));
    return row;
  }
}
