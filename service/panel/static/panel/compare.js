// Jobs side by side, all from the API's /comparisons: one chart, a table of figures, a table of differences.
"use strict";

// Okabe and Ito's colours, told apart with any colour vision; dashes tell lines apart that share one.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f"];
const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3]];
const FIRST_SHOWN = ["validation_accuracy", "validation_loss", "train_loss"];

const main = document.querySelector(".panel-compare");
const live = JSON.parse(main.dataset.live);
const element = (id) => document.getElementById(id);
let found = null;
let chart = null;

const isDark = () => document.documentElement.classList.contains("dark");
const colourOf = (place) => COLOURS[place % COLOURS.length];
const dashOf = (place) => DASHES[Math.floor(place / COLOURS.length) % DASHES.length];
const words = (name) => name.replaceAll("_", " ");

function make(tag, content, properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...[content].flat().filter((part) => part !== null));
  return made;
}

// Figures -----------------------------------------------------------------------------------------------------------

const PREFIXES = ["", "k", "M", "G", "T", "P", "E"];

// 5.06 kFLOPs: three digits and the prefix that fits.
function scaled(value, unit) {
  const step = value ? Math.max(0, Math.min(Math.floor(Math.log10(Math.abs(value)) / 3), PREFIXES.length - 1)) : 0;
  return `${(value / 1000 ** step).toLocaleString("en", { maximumSignificantDigits: 3 })} ${PREFIXES[step]}${unit}`;
}

function shown(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "B" || unit === "FLOPs") return scaled(value, unit);
  const text = value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(2)
    : Number.isInteger(value) ? value.toLocaleString("en") : value.toLocaleString("en", { maximumSignificantDigits: 4 });
  if (unit === "1/s") return `${text} a second`;
  return unit ? `${text} ${unit}` : text;
}

// A pointer may go on in the next line after a slash or an underscore.
const breakable = (pointer) => pointer.split(/(?<=[/_])/).flatMap((part) => [part, document.createElement("wbr")]);

function value(difference, id) {
  if (!(id in difference.values)) return "–";
  const found = difference.values[id];
  return typeof found === "string" ? found : JSON.stringify(found);
}

function heads() {
  const row = make("tr", make("th", "", { scope: "col" }));
  for (const job of found.jobs) {
    const link = make("a", job.label, { href: live.job_page.replace("JOB", job.id), title: job.sentence });
    row.append(make("th", [link, make("small", job.state)], { scope: "col" }));
  }
  return row;
}

function fillFigures() {
  document.querySelector("#figures thead").replaceChildren(heads());
  document.querySelector("#figures tbody").replaceChildren(...found.figures.map((figure) => {
    const row = make("tr", make("th", words(figure.name), { scope: "row" }));
    for (const job of found.jobs) {
      const isBest = figure.best.includes(job.id);
      const text = shown(figure.values[job.id], figure.unit);
      row.append(make("td", isBest ? `★ ${text}` : text, { className: isBest ? "panel-best" : "" }));
    }
    return row;
  }));
}

function fillDifferences() {
  element("alike").hidden = found.differences.length > 0;
  document.querySelector("#differences thead").replaceChildren(...(found.differences.length ? [heads()] : []));
  document.querySelector("#differences tbody").replaceChildren(...found.differences.map((difference) => {
    const row = make("tr", make("th", make("code", breakable(difference.pointer)), { scope: "row" }));
    for (const job of found.jobs) row.append(make("td", make("code", value(difference, job.id))));
    return row;
  }));
}

// Curves ------------------------------------------------------------------------------------------------------------

function lines(curve, axis) {
  return found.jobs.flatMap((job, place) => {
    const series = curve.series.find((each) => each.job === job.id);
    if (!series || series[axis] === null) return [];
    const points = series[axis].map((x, i) => ({ x, y: series.value[i] }));
    return [{
      label: job.label, data: points, borderColor: colourOf(place), backgroundColor: colourOf(place),
      borderDash: dashOf(place), borderWidth: 2, pointRadius: points.length > 40 ? 0 : 2.5, tension: 0,
    }];
  });
}

function drawChart() {
  const curve = found.curves.find((each) => each.name === element("curve").value);
  const axis = element("axis").value;
  const ink = isDark() ? "#d5d9e2" : "#333a47", grid = isDark() ? "#2c313b" : "#e6e8ee";
  const scale = (text) => ({ title: { display: true, text, color: ink }, ticks: { color: ink }, grid: { color: grid } });
  const drawn = lines(curve, axis);
  chart?.destroy();
  chart = new Chart(element("chart"), {
    type: "line", data: { datasets: drawn },
    options: {
      animation: false, maintainAspectRatio: false, parsing: false, interaction: { mode: "nearest", intersect: false },
      scales: {
        x: { type: "linear", ...scale(element("axis").selectedOptions[0].text) },
        y: { type: curve.name.endsWith("loss") ? "logarithmic" : "linear", grace: "5%", ...scale(words(curve.name)) },
      },
      plugins: { legend: { display: false } },
    },
  });
  element("chart").setAttribute("aria-label", `${words(curve.name)} against ${axis}: ` + drawn.map((line) =>
    `${line.label} ends at ${shown(line.data.at(-1)?.y ?? null)}`).join("; "));
  const absent = found.jobs.filter((job) => !drawn.some((line) => line.label === job.label)).map((job) => job.label);
  element("absent").textContent = absent.length ? `Not here: ${absent.join(", ")}${axis === "flops" ? " (FLOPs are known once a job has succeeded)" : ""}.` : "";
}

function fillLegend() {
  element("legend").replaceChildren(...found.jobs.map((job, place) => {
    const sample = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [name, text] of Object.entries({ width: 34, height: 8, "aria-hidden": "true" })) sample.setAttribute(name, text);
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    const look = { x1: 0, x2: 34, y1: 4, y2: 4, stroke: colourOf(place), "stroke-width": 2.5, "stroke-dasharray": dashOf(place).join(" ") };
    for (const [name, text] of Object.entries(look)) line.setAttribute(name, text);
    sample.append(line);
    return make("li", [sample, `${job.label} (${job.state})`]);
  }));
}

function fillCurves() {
  const names = found.curves.map((curve) => curve.name);
  element("curve").replaceChildren(...names.map((name) => make("option", words(name), { value: name })));
  const first = FIRST_SHOWN.find((name) => names.includes(name)) ?? names[0];
  if (first === undefined) return;
  element("curve").value = first;
  fillLegend();
  drawChart();
}

// The page ----------------------------------------------------------------------------------------------------------

async function show() {
  const response = await fetch(live.comparison, { headers: { Accept: "application/json" } });
  const body = await response.json();
  if (!response.ok) {
    element("said").textContent = body.detail;
    return;
  }
  found = body;
  element("said").textContent = `${found.jobs.length} jobs, as they stand now.`;
  element("notes").replaceChildren(...found.notes.map((note) => make("li", note)));
  element("notes").hidden = found.notes.length === 0;
  for (const part of document.querySelectorAll("[data-part]")) part.hidden = false;
  document.querySelector("[aria-labelledby=curves]").hidden = found.curves.length === 0;
  fillFigures();
  fillDifferences();
  fillCurves();
}

for (const id of ["curve", "axis"]) element(id).addEventListener("change", drawChart);
show().catch((error) => { element("said").textContent = `The service does not answer: ${error.message}`; });
