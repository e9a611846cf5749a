// A page that a server on this machine shows asks it for news and takes them over; what the reader has chosen stays.

const ASK_MS = 1000;
const REPLACED = ["header", "#subtitle", "#sentence", "main", "#data"];
let life = new AbortController(); // ends the listeners of what was drawn before

const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });

async function follow() {
  for (;;) {
    await pause(ASK_MS);
    const text = await news();
    if (text === null) continue;
    try { await takeOver(text); } catch { location.reload(); return; }
  }
}

// The page as it is now; null where it is as it was, or where the server does not answer.
async function news() {
  try {
    const said = await fetch("version", { cache: "no-store" });
    if (!said.ok || (await said.text()) === document.documentElement.dataset.live) return null;
    const page = await fetch("./", { cache: "no-store" });
    return page.ok ? await page.text() : null;
  } catch { return null; }
}

async function takeOver(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  if (REPLACED.some((part) => !document.querySelector(part) || !fresh.querySelector(part))) { location.reload(); await pause(60000); }
  if (window.halosearch) window.halosearch.address();
  const unfolded = [...document.querySelectorAll("details[id][open]")].map((one) => one.id);
  const folded = [...document.querySelectorAll("details[id]:not([open])")].map((one) => one.id);
  const focused = document.activeElement && document.activeElement.id, top = window.scrollY;
  document.body.style.minHeight = `${document.body.scrollHeight}px`;
  const old = [...document.querySelectorAll(".js-plotly-plot")];
  for (const part of REPLACED) document.querySelector(part).replaceWith(document.importNode(fresh.querySelector(part), true));
  for (const plot of old) Plotly.purge(plot); // after its listeners have left with the page
  for (const id of unfolded) if (document.getElementById(id)) document.getElementById(id).open = true;
  for (const id of folded) if (document.getElementById(id)) document.getElementById(id).open = false;
  document.documentElement.dataset.live = fresh.documentElement.dataset.live;
  await start();
  document.body.style.minHeight = "";
  window.scrollTo(0, top);
  if (focused && document.getElementById(focused)) document.getElementById(focused).focus({ preventScroll: true });
}
