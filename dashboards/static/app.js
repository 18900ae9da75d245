// Draws the charts of a page from its data, and lets its controls choose what they and the tables show.
"use strict";

const views = (window.views = {});
const root = document.documentElement;
const token = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();

// Vega's colours are no CSS, so they are put in from the tokens whenever a chart is drawn.
function config(width) {
  const [ink, quiet, line, text] = ["ink", "quiet", "line", "text"].map(token);
  const series = Array.from({ length: 8 }, (_, n) => token(`series-${n + 1}`));
  const small = { labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" };
  return {
    background: null,
    font: text,
    view: { stroke: null },
    mark: { color: series[0] },
    range: { category: series, heatmap: { scheme: "blues" }, ramp: [line, series[0]] },
    line: { strokeWidth: 2, strokeJoin: "round", strokeCap: "round" },
    // Narrow bars with gaps between them flicker.
    bar: width < 700 ? { timeUnitBandSize: 1, binSpacing: 0 } : { timeUnitBandSize: 0.8 },
    scale: { bandPaddingInner: 0.2, bandPaddingOuter: 0.1 },
    axis: { labelColor: quiet, titleColor: quiet, gridColor: line, domainColor: line, tickColor: line, ...small },
    axisX: { grid: false, labelPadding: 6, titlePadding: 8 },
    // The unit is written level above its axis.
    axisYQuantitative: { domain: false, ticks: false, tickCount: 5, labelPadding: 8, titleAngle: 0, titleAlign: "left", titleAnchor: "end", titleX: 0, titleY: -6, titleBaseline: "bottom" },
    axisYDiscrete: { domain: false, ticks: false, labelPadding: 8, labelLimit: Math.round(Math.min(220, width * 0.4)) },
    axisXQuantitative: { grid: true, domain: false, ticks: false, tickCount: width < 420 ? 4 : 8 },
    legend: { labelColor: ink, titleColor: quiet, ...small, columns: Math.max(2, Math.floor(width / 110)), symbolType: "circle", gridAlign: "each", rowPadding: 4, columnPadding: 14, offset: 26 },
  };
}

const options = {
  ast: true, actions: false, renderer: "svg", defaultStyle: false, mode: "vega-lite",
  tooltip: { disableDefaultStyle: true },
};

async function draw(page, plot) {
  const { spec, aspect, rows } = page.charts[plot.dataset.chart];
  const width = plot.clientWidth;
  const own = structuredClone(spec);
  own.datasets = page.data;
  own.width = width;
  own.height = rows ? Math.max(180, rows * 24 + 60) : Math.max(220, Math.min(460, Math.round(width * aspect)));
  own.autosize = { type: "fit", contains: "padding" };
  for (const part of [own, ...(own.layer || [])]) {
    if (part.data && part.data.url) part.data.url = page.outlines[part.data.url];
    // Circles on a small map of the world are smaller.
    const range = own.projection && part.encoding?.size?.scale?.range;
    if (range && aspect < 1) part.encoding.size.scale.range = range.map((area) => area * Math.min(1, width / 760));
    if (part.mark && ["land", "sea"].includes(part.mark.style)) part.mark.fill = token(part.mark.style);
  }
  const before = views[plot.dataset.chart];
  try {
    const drawn = await vegaEmbed(plot, own, { ...options, config: config(width) });
    if (before) before.finalize();
    views[plot.dataset.chart] = drawn.view;
    plot.dataset.drawn = "yes";
  } catch (error) {
    plot.classList.add("failed");
    plot.textContent = "This chart could not be drawn; its numbers are in the table below.";
    console.error(error);
  }
}

// What every control of a section says now: numbers for ranges, text for all others.
const chosen = (section) =>
  [...section.querySelectorAll("[data-control]")].map((one) => ({
    name: one.name,
    field: one.dataset.field,
    kind: one.dataset.control,
    value: one.type === "range" ? Number(one.value) : one.value,
  }));

function shows(row, choice) {
  if (choice.value === "" || (choice.kind === "select" && choice.value === "all")) return true;
  if (choice.kind === "search") {
    const words = choice.value.toLowerCase().split(/\s+/).filter(Boolean);
    const text = row.textContent.toLowerCase();
    return words.every((word) => text.includes(word));
  }
  const value = row.dataset[choice.field];
  if (value === undefined) return true;
  if (choice.kind === "select") return value === choice.value;
  if (value === "") return false;
  return choice.kind === "least" ? Number(value) >= choice.value : Number(value) <= choice.value;
}

async function apply(section) {
  const choices = chosen(section);
  for (const plot of section.querySelectorAll("[data-chart]")) {
    const view = views[plot.dataset.chart];
    if (!view) continue;
    const known = view.getState().signals;
    for (const { name, value } of choices) if (name in known) view.signal(name, value);
    await view.runAsync();
  }
  for (const rows of section.querySelectorAll("table[data-filtered]")) {
    let shown = 0;
    for (const row of rows.tBodies[0].rows) {
      row.hidden = !choices.every((choice) => shows(row, choice));
      shown += !row.hidden;
    }
    const told = rows.closest(".table").querySelector("[data-shown]");
    told.textContent = `${shown.toLocaleString("en")} of ${rows.tBodies[0].rows.length.toLocaleString("en")} rows`;
  }
}

function controls() {
  for (const section of document.querySelectorAll("section")) {
    for (const one of section.querySelectorAll("[data-control]")) {
      one.addEventListener("input", () => {
        const told = one.closest("label").querySelector("output");
        if (told) told.textContent = one.value;
        apply(section);
      });
    }
  }
}

function age() {
  for (const one of document.querySelectorAll("time[data-age]")) {
    const minutes = Math.max(0, Math.floor((Date.now() - Date.parse(one.dateTime)) / 60000));
    const [count, unit] = minutes < 60 ? [minutes, "minute"] : minutes < 2880 ? [Math.floor(minutes / 60), "hour"] : [Math.floor(minutes / 1440), "day"];
    one.textContent = `${count} ${unit}${count === 1 ? "" : "s"} ago`;
    one.parentElement.classList.toggle("old", minutes > Number(one.dataset.age));
  }
}

function theme(name) {
  root.dataset.theme = name;
  for (const button of document.querySelectorAll("[data-toggle]")) {
    button.textContent = name === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", name === "dark" ? "Use light colours" : "Use dark colours");
  }
}

async function main() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  let own = localStorage.getItem("theme");
  theme(own || (system.matches ? "dark" : "light"));
  // On a phone the navigation may be wider than the screen.
  document.querySelector("header [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
  age();
  setInterval(age, 60000);
  const page = await (await fetch(document.body.dataset.page)).json();
  const plots = [...document.querySelectorAll("[data-chart]")];
  const all = async () => {
    for (const plot of plots) await draw(page, plot);
    for (const section of document.querySelectorAll("section")) await apply(section);
  };
  controls();
  await all();
  document.body.dataset.ready = "yes";
  const again = async (name) => { theme(name); await all(); };
  system.addEventListener("change", () => own || again(system.matches ? "dark" : "light"));
  for (const button of document.querySelectorAll("[data-toggle]")) {
    button.addEventListener("click", () => {
      own = root.dataset.theme === "dark" ? "light" : "dark";
      localStorage.setItem("theme", own);
      again(own);
    });
  }
  let width = innerWidth;
  let waiting;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(all, 200);
  });
}

main();
