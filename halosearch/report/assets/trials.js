// The table of trials as columns. Its text is the CSV that can be downloaded, so what is shown and what is saved cannot differ.

const RIVAL = "rival"; // a network of another family: a row of the table, but no trial
const MEASURED = "step_time_s", PREDICTED = "predicted_step_time_s";

function splitLine(line) {
  const cells = [];
  let place = 0;
  while (place <= line.length) {
    if (line[place] === '"') {
      let cell = "", end = place + 1;
      for (;;) {
        const quote = line.indexOf('"', end);
        cell += line.slice(end, quote);
        if (line[quote + 1] !== '"') { place = quote + 2; break; }
        cell += '"';
        end = quote + 2;
      }
      cells.push(cell);
    } else {
      let comma = line.indexOf(",", place);
      if (comma < 0) comma = line.length;
      cells.push(line.slice(place, comma));
      place = comma + 1;
    }
  }
  return cells;
}

// A quoted cell may hold line feeds, so lines end only where the quotes before are even.
function splitRows(text) {
  const rows = [];
  let start = 0, quotes = 0;
  for (let place = 0; place < text.length; place++) {
    const code = text.charCodeAt(place);
    if (code === 34) quotes++;
    else if (code === 10 && quotes % 2 === 0) { rows.push(text.slice(start, place)); start = place + 1; }
  }
  return rows;
}

class Trials {
  constructor(csv, columns) {
    const [header, ...lines] = splitRows(csv);
    this.csv = csv;
    this.header = header === undefined ? [] : splitLine(header);
    this.lines = lines;
    this.headerLine = header === undefined ? "" : header;
    const cells = lines.map(splitLine);
    this.n = lines.length;
    this.text = Object.create(null); // names come from addresses too: nothing inherited may answer
    this.header.forEach((name, place) => { this.text[name] = cells.map((row) => row[place]); });
    this.state = this.text.state || [];
    this.searched = this.state.filter((state) => state !== RIVAL).length;
    this.number = (this.text.trial || []).map(Number);
    const even = this.text.drawn_evenly || [];
    const kind = (state, i) => (state === "complete" && even[i] === "True" ? "random" : state);
    this.codes = Uint8Array.from(this.state, (state, i) => Math.max(0, KINDS.indexOf(kind(state, i))));
    this.logs = new Map();
    this.logarithmic = new Set(columns.filter((column) => column.log).map((column) => column.name));
    this.choices = Object.create(null);
    this.sorts = new Map();
    this.columns = Object.create(null);
    this.shown = [];
    for (const column of columns) this.addColumn(column);
    this.words = cells.map((_, i) =>
      ["trial", "state", "candidate", "reason"].map((name) => (this.text[name] || [])[i] || "").join(" ").toLowerCase());
    this.place = new Map(this.number.map((number, i) => [number, i]));
  }

  addColumn(column) {
    const text = this.text[column.name];
    if (!text) return;
    const values = new Float64Array(this.n);
    const known = text.filter((cell) => cell !== "");
    if (known.some((cell) => Number.isNaN(Number(cell)))) {
      const choices = [...new Set(known)].sort();
      const places = new Map(choices.map((choice, place) => [choice, place]));
      text.forEach((cell, i) => { values[i] = cell === "" ? NaN : places.get(cell); });
      this.choices[column.name] = choices;
    } else {
      text.forEach((cell, i) => { values[i] = cell === "" ? NaN : Number(cell); });
    }
    this.columns[column.name] = values;
    const distinct = [...new Set(values)].filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
    this.shown.push({ ...column, distinct });
  }

  // A column to sort by: numbers where all that is known is a number, else its text.
  sortable(name) {
    if (!this.sorts.has(name)) {
      const text = this.text[name] || [];
      const numeric = text.every((cell) => cell === "" || !Number.isNaN(Number(cell)));
      this.sorts.set(name, numeric ? Float64Array.from(text, (cell) => (cell === "" ? NaN : Number(cell))) : text);
    }
    return this.sorts.get(name);
  }

  // Whether a value has a place on a cost's axis; a logarithmic one has none for nought.
  placed(name, value) {
    return !Number.isNaN(value) && !(this.logarithmic.has(name) && value <= 0);
  }

  // A column as its axis runs.
  scaled(name, log) {
    const values = this.columns[name];
    if (!log || !values) return values;
    if (!this.logs.has(name)) this.logs.set(name, values.map(Math.log10));
    return this.logs.get(name);
  }

  // A column as the main chart's axis runs: a step that was not measured stands where it is predicted.
  across(name, log) {
    const values = this.scaled(name, log), predicted = name === MEASURED && this.scaled(PREDICTED, log);
    return predicted ? values.map((value, i) => (Number.isNaN(value) ? predicted[i] : value)) : values;
  }

  // Whether a trial stands on the main chart's axis at a predicted step.
  isPredicted(name, i) { return name === MEASURED && Number.isNaN(this.columns[name][i]); }

  // Where a trial stands in the main chart: rivals at their held-out score, as the finalists are, where they have one.
  get heights() {
    const held = this.text.held_out_score;
    if (!this.risen) this.risen = this.columns.score.map((score, i) => (this.state[i] === RIVAL && held && held[i] !== "" ? Number(held[i]) : score));
    return this.risen;
  }

  // What a trial at a predicted step is drawn as.
  guess(i) { return KINDS[this.codes[i]] === "random" ? "predicted" : "predictedSearched"; }

  has(name) { return this.columns[name] !== undefined; }

  // The value of a column in words, as chips, tips and the table show it.
  say(name, value) {
    if (Number.isNaN(value)) return "–";
    const choices = this.choices[name];
    return choices ? choices[Math.round(value)] : shortNumber(value);
  }

  csvOf(mask) {
    const kept = this.lines.filter((_, i) => mask[i]);
    return [this.headerLine, ...kept].map((line) => line + "\n").join("");
  }

  jsonOf(mask) {
    const words = new Set(["state", "heads", "candidate", "reason"]);
    const numeric = new Set(this.header.filter((name) => !words.has(name) &&
      this.text[name].every((cell) => cell === "" || !Number.isNaN(Number(cell))) && this.text[name].some((cell) => cell !== "")));
    const value = (name, cell) => {
      if (cell === "") return name === "reason" ? "" : null;
      if (name === "drawn_evenly") return cell === "True";
      return numeric.has(name) ? Number(cell) : cell;
    };
    const rows = [];
    for (let i = 0; i < this.n; i++) {
      if (mask[i]) rows.push(Object.fromEntries(this.header.map((name) => [name, value(name, this.text[name][i])])));
    }
    return JSON.stringify(rows, null, 1) + "\n";
  }
}

function shortNumber(value) {
  const size = Math.abs(value);
  for (const [unit, letter] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (size >= unit) return `${trimmed(value / (unit === 1e4 ? 1e3 : unit))}${letter}`;
  }
  return trimmed(value);
}

function trimmed(value) { return String(Number(value.toPrecision(4))); }
