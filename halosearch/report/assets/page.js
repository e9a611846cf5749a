// From an opened file to a page that answers. The answer, the tables and a static front are there without this script.

async function library(text) {
  const packed = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  document.head.append(make("script", { textContent: await new Response(stream).text() }));
}

const read = (id) => document.getElementById(id).textContent;
const breath = () => new Promise((done) => { setTimeout(done, 0); });

async function copyText(text) {
  try { await navigator.clipboard.writeText(text); return true; } catch { /* a page from a file may not be allowed to */ }
  const area = make("textarea", { value: text });
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

function copyButtons() {
  for (const button of document.querySelectorAll("button[data-copy]")) {
    const label = button.textContent;
    button.addEventListener("click", async () => {
      button.textContent = (await copyText(button.dataset.copy)) ? "copied" : "press Ctrl-C";
      setTimeout(() => { button.textContent = label; }, 1500);
    });
  }
}

function save(name, kind, text) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: kind })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function downloads(trials, selection, name) {
  const all = new Uint8Array(trials.n).fill(1);
  const on = (id, action) => document.getElementById(id).addEventListener("click", action);
  on("csv-all", () => save(`${name}.csv`, "text/csv", trials.csv));
  on("json-all", () => save(`${name}.json`, "application/json", trials.jsonOf(all)));
  on("csv-selection", () => save(`${name}-selection.csv`, "text/csv", trials.csvOf(selection.mask)));
}

function studyFile() {
  const button = document.getElementById("study-file");
  if (button) button.addEventListener("click", () => save("study.yaml", "application/yaml", read("study-yaml")));
}

// Links to sections scroll without touching the address, which holds the selection.
function sections() {
  for (const link of document.querySelectorAll('nav a[href^="#"]')) {
    link.addEventListener("click", (event) => {
      const heading = document.getElementById(link.hash.slice(1));
      event.preventDefault();
      const folded = heading.closest("details");
      if (folded) folded.open = true;
      heading.tabIndex = -1;
      heading.focus({ preventScroll: true });
      heading.scrollIntoView();
    });
  }
}

function themes(charts) {
  const button = document.getElementById("theme"), root = document.documentElement;
  const order = ["auto", "light", "dark"];
  let now = root.dataset.theme || "auto";
  const set = (theme) => {
    now = theme;
    if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
    button.setAttribute("aria-label", `theme: ${theme}`);
    button.title = `theme: ${theme}`;
    charts.retheme();
  };
  button.addEventListener("click", () => set(order[(order.indexOf(now) + 1) % order.length]));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.retheme(), { signal: life.signal });
}

// Charts below the first screen are drawn when their section is first opened.
async function unfolding(charts, data) {
  const busy = new Set();
  const openUp = async (section) => {
    if (!section.open || busy.has(section)) return;
    busy.add(section);
    for (const holder of section.querySelectorAll(".chart")) {
      if (!data.figures[holder.id] || charts.drawn.has(holder.id)) continue;
      await breath();
      try { await charts.draw(holder.id); } catch (error) {
        holder.append(make("p", { className: "soft", textContent: `This chart could not be drawn here (${error.message}).` }));
      }
    }
    busy.delete(section);
    section.dataset.drawn = "yes";
    charts.update();
  };
  const sections = [...document.querySelectorAll("section > details")];
  for (const section of sections) {
    section.addEventListener("toggle", () => openUp(section));
  }
  // Paper cannot wait for a chart: sections whose charts are not drawn stay folded.
  const shut = new Set();
  const whole = (section) => [...section.querySelectorAll(".chart")].every((holder) => !data.figures[holder.id] || charts.drawn.has(holder.id));
  window.addEventListener("beforeprint", () => {
    for (const section of sections.filter((one) => !one.open && whole(one))) { section.open = true; shut.add(section); }
  }, { signal: life.signal });
  window.addEventListener("afterprint", () => { for (const section of shut) section.open = false; shut.clear(); }, { signal: life.signal });
  for (const section of sections) await openUp(section);
}

// The drawings of the trials that are pinned, beside those that are always there.
function drawings(selection) {
  const holders = [...document.querySelectorAll(".network[data-trial]")];
  const note = document.getElementById("no-drawing");
  if (!note) return;
  const usual = new Set(holders.filter((holder) => !holder.hidden));
  const known = new Set(holders.map((holder) => Number(holder.dataset.trial)));
  return () => {
    for (const holder of holders) holder.hidden = !usual.has(holder) && !selection.pins.has(Number(holder.dataset.trial));
    const without = [...selection.pins].filter((number) => number >= 0 && !known.has(number));
    note.hidden = without.length === 0;
    note.textContent = `Not drawn here: trial ${without.join(", ")}; halosearch show STUDY#${without[0]} --figure network.svg draws it.`;
  };
}

// A page without trials of its own: charts as they are.
async function drawAlone(data) {
  document.documentElement.classList.replace("plain", "live");
  await breath();
  if (!window.Plotly) await library(read("plotly"));
  const charts = new Charts(null, null, { curves: [], ...data }, () => {});
  for (const id of Object.keys(data.figures)) {
    const holder = document.getElementById(id);
    if (holder && !holder.closest("section > details:not([open])")) await charts.draw(id);
  }
  await unfolding(charts, data);
  themes(charts);
  document.documentElement.classList.add("drawn");
  document.documentElement.dataset.ready = "yes";
}

const ADDRESS_AFTER_MS = 200; // browsers ignore addresses that change hundreds of times in a few seconds

async function start() {
  life.abort();
  life = new AbortController();
  const mine = life;
  copyButtons();
  sections();
  studyFile();
  if (!document.getElementById("data")) { // nothing to draw
    document.documentElement.classList.replace("plain", "live");
    themes({ retheme() {} });
    document.documentElement.dataset.ready = "yes";
    return;
  }
  const data = JSON.parse(read("data"));
  if (data.csv === undefined) { await drawAlone(data); return; }
  const trials = new Trials(data.csv, data.columns);
  const axes = trials.shown.filter((one) => one.kind === "cost" && one.distinct.length).map((one) => one.name);
  const selection = new Selection(trials, { axis: axes[0] || "step_time_s" });
  selection.fromFragment(location.hash);
  let charts, filters, table, pending = 0, writing = 0;

  const update = () => {
    pending = 0;
    if (mine !== life) return; // the page has been drawn anew since
    selection.refresh();
    filters.update();
    charts.update();
    table.update();
    if (shown) shown();
    clearTimeout(writing);
    writing = setTimeout(address, ADDRESS_AFTER_MS);
  };
  const address = () => {
    const fragment = selection.toFragment();
    if (fragment !== location.hash.slice(1)) history.replaceState(null, "", fragment ? `#${fragment}` : location.pathname + location.search);
  };
  const changed = (what = {}) => {
    if (what.pin !== undefined && !selection.pins.delete(what.pin)) selection.pins.add(what.pin);
    if (what.axis) { selection.refresh(); charts.setAxis(); }
    if (!pending) pending = requestAnimationFrame(update); // one update per frame, however fast a slider moves
  };

  charts = new Charts(trials, selection, data, changed);
  filters = new Filters(trials, selection, changed);
  table = new Table(trials, selection, data.table, changed, (i) => charts.highlight(i));
  const shown = drawings(selection);
  filters.update();
  table.update();
  if (shown) shown();
  downloads(trials, selection, data.name);
  document.documentElement.classList.replace("plain", "live");
  performance.mark("halosearch-filters");
  await breath();
  if (!window.Plotly) await library(read("plotly"));
  const axis = selection.axis;
  selection.axis = selection.defaultAxis;
  selection.refresh();
  await charts.draw("front");
  if (axis !== selection.axis) { selection.axis = axis; selection.refresh(); charts.setAxis(); }
  document.documentElement.classList.add("drawn");
  performance.mark("halosearch-front");
  themes(charts);
  window.addEventListener("hashchange", () => {
    if (location.hash && !location.hash.includes("=")) return;
    const before = selection.axis;
    selection.fromFragment(location.hash);
    filters.search.value = selection.query;
    if (before !== selection.axis) charts.setAxis();
    update();
  }, { signal: life.signal });
  performance.mark("halosearch-ready");
  // For the console and for tests: what is selected, as trial numbers.
  window.halosearch = {
    selected: () => trials.number.filter((_, i) => selection.mask[i]),
    front: () => selection.frontRows.map((i) => trials.number[i]),
    address: () => { address(); return location.hash; },
  };
  document.documentElement.dataset.ready = "yes";
  await unfolding(charts, data);
}

const plainTable = document.getElementById("trials") && document.getElementById("trials").cloneNode(true);
start().then(() => { if (document.documentElement.dataset.live) follow(); }).catch((error) => {
  document.documentElement.className = "plain";
  if (plainTable) document.getElementById("trials").replaceWith(plainTable);
  const note = document.getElementById("broken");
  note.hidden = false;
  note.textContent = `The interactive charts could not be drawn in this browser (${error.message}); the tables and the static front below hold the same numbers.`;
});
